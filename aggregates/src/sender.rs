//! A sender is a named source of one destination, with an ingest token of its own and perhaps a
//! mapping that reshapes what it sends. It lives until it is deleted; its events stay.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::{DestinationId, TenantId};
use crate::sealed::TokenHash;

/// The life of a sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sender {
    /// Never registered.
    #[default]
    Unknown,
    /// Registered, with or without a mapping.
    Registered {
        /// Whether a mapping is set.
        has_mapping: bool,
    },
    /// Gone.
    Deleted,
}

/// What can be asked of a sender.
#[derive(Clone, Debug)]
pub enum SenderCommand {
    /// Register it. Repeated: refused.
    Register {
        /// Whose sender it is.
        tenant_id: TenantId,
        /// Where its events go.
        destination_id: DestinationId,
        /// What people call it.
        label: Option<String>,
        /// Hash of its ingest token.
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// Give it a new ingest token; the old one is dead. Repeated: a newer token.
    RegenerateIngestToken {
        /// Hash of the new token.
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// Set its mapping. Refused while one is set: it is removed first.
    SetMapping {
        /// The mapping's JSON text, checked, keys in the order given.
        mapping: String,
        at: DateTime<Utc>,
    },
    /// Remove its mapping. Repeated: ignored.
    RemoveMapping { at: DateTime<Utc> },
    /// Delete it. Repeated: refused, as the contract answers "not found".
    Delete { at: DateTime<Utc> },
}

/// What happened to a sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum SenderFact {
    /// The sender exists.
    SenderRegistered {
        /// Whose sender it is.
        tenant_id: TenantId,
        /// Where its events go.
        destination_id: DestinationId,
        /// What people call it.
        label: Option<String>,
        /// Hash of its ingest token.
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// The old ingest token is dead, a new one lives.
    SenderIngestTokenRegenerated {
        /// Hash of the new token.
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// What it sends is reshaped from now on.
    MappingSet {
        /// The mapping's JSON text, keys in the order given.
        mapping: String,
        at: DateTime<Utc>,
    },
    /// What it sends is delivered as received from now on.
    MappingRemoved { at: DateTime<Utc> },
    /// The sender is gone and its token dead.
    SenderDeleted { at: DateTime<Utc> },
}

stored_facts!(SenderFact {
    SenderRegistered,
    SenderIngestTokenRegenerated,
    MappingSet,
    MappingRemoved,
    SenderDeleted,
});

/// Why a sender does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SenderRefusal {
    /// It exists already.
    #[error("the sender was registered before")]
    AlreadyRegistered,
    /// It does not exist, or is deleted.
    #[error("there is no sender of this id")]
    NotRegistered,
    /// A mapping is set already.
    #[error("a mapping is set; remove it before setting another")]
    MappingIsSet,
}

aggregate!(Sender, SenderCommand, SenderFact, SenderRefusal);

impl Decide for Sender {
    fn decide(&self, command: SenderCommand) -> Result<Vec<SenderFact>, SenderRefusal> {
        use SenderCommand as Command;
        let has_mapping = match (self, &command) {
            (Self::Unknown, Command::Register { .. }) => false,
            (_, Command::Register { .. }) => return Err(SenderRefusal::AlreadyRegistered),
            (Self::Registered { has_mapping }, _) => *has_mapping,
            (Self::Unknown | Self::Deleted, _) => return Err(SenderRefusal::NotRegistered),
        };
        Ok(match command {
            Command::Register { tenant_id, destination_id, label, ingest_token_hash, at } => {
                vec![SenderFact::SenderRegistered { tenant_id, destination_id, label, ingest_token_hash, at }]
            }
            Command::RegenerateIngestToken { ingest_token_hash, at } => {
                vec![SenderFact::SenderIngestTokenRegenerated { ingest_token_hash, at }]
            }
            Command::SetMapping { .. } if has_mapping => return Err(SenderRefusal::MappingIsSet),
            Command::SetMapping { mapping, at } => vec![SenderFact::MappingSet { mapping, at }],
            Command::RemoveMapping { at } if has_mapping => vec![SenderFact::MappingRemoved { at }],
            Command::RemoveMapping { .. } => vec![],
            Command::Delete { at } => vec![SenderFact::SenderDeleted { at }],
        })
    }
}

impl Sender {
    fn fold(&mut self, fact: SenderFact) {
        match fact {
            SenderFact::SenderRegistered { .. } | SenderFact::MappingRemoved { .. } => {
                *self = Self::Registered { has_mapping: false };
            }
            SenderFact::MappingSet { .. } => *self = Self::Registered { has_mapping: true },
            SenderFact::SenderIngestTokenRegenerated { .. } => {}
            SenderFact::SenderDeleted { .. } => *self = Self::Deleted,
        }
    }
}
