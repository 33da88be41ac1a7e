//! Sender: a named source of webhook events for one destination, with its own ingest token and optionally a mapping
//! that transforms its payloads. Its events remain when it is deleted.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::{DestinationId, TenantId};
use crate::sealed::TokenHash;

/// State of a sender.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sender {
    /// Never registered.
    #[default]
    Unknown,
    Registered {
        has_mapping: bool,
    },
    Deleted,
}

/// Command to a sender.
#[derive(Clone, Debug)]
pub enum SenderCommand {
    /// Registers the sender. Repeated: refused.
    Register {
        tenant_id: TenantId,
        destination_id: DestinationId,
        label: Option<String>,
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// Replaces the ingest token. Repeated: replaced again.
    RegenerateIngestToken { ingest_token_hash: TokenHash, at: DateTime<Utc> },
    /// Sets the mapping. Refused if one is set: it has to be removed first.
    SetMapping {
        /// JSON text of a checked mapping, its keys in their original order.
        mapping: String,
        at: DateTime<Utc>,
    },
    /// Sets the mapping in place of the one that is set, if any. Repeated: replaced again.
    ReplaceMapping {
        /// As in `SetMapping`.
        mapping: String,
        at: DateTime<Utc>,
    },
    /// Removes the mapping. Repeated: ignored.
    RemoveMapping { at: DateTime<Utc> },
    /// Deletes the sender. Repeated: refused, since the API answers 404.
    Delete { at: DateTime<Utc> },
}

/// Fact about a sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum SenderFact {
    SenderRegistered {
        tenant_id: TenantId,
        destination_id: DestinationId,
        label: Option<String>,
        ingest_token_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// The ingest token was replaced; the previous one is no longer accepted.
    SenderIngestTokenRegenerated { ingest_token_hash: TokenHash, at: DateTime<Utc> },
    MappingSet {
        /// JSON text of the mapping, its keys in their original order. Text, because JSON trees sort the keys of
        /// objects, and their order is part of the mapping.
        mapping: String,
        at: DateTime<Utc>,
    },
    /// Payloads are delivered unchanged from now on.
    MappingRemoved { at: DateTime<Utc> },
    /// The ingest token is no longer accepted.
    SenderDeleted { at: DateTime<Utc> },
}

stored_facts!(SenderFact {
    SenderRegistered,
    SenderIngestTokenRegenerated,
    MappingSet,
    MappingRemoved,
    SenderDeleted,
});

/// Reason why a sender refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SenderRefusal {
    #[error("the sender is already registered")]
    AlreadyRegistered,
    #[error("no sender has this id")]
    NotRegistered,
    #[error("a mapping is already set; remove it before setting another")]
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
            Command::ReplaceMapping { mapping, at } if has_mapping => {
                vec![SenderFact::MappingRemoved { at }, SenderFact::MappingSet { mapping, at }]
            }
            Command::SetMapping { mapping, at } | Command::ReplaceMapping { mapping, at } => {
                vec![SenderFact::MappingSet { mapping, at }]
            }
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
