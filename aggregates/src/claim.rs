//! A claim makes a name or an email unique on the whole platform: its stream's id is derived from what
//! is claimed, so two claimants meet in one stream and the log lets one of them through.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::Decide;
use crate::email::Email;

/// Namespace of claim streams. Stored ids depend on it: it never changes.
const CLAIM_NAMESPACE: Uuid = Uuid::from_u128(0x1c6e_93f2_57a4_5d0b_8a3c_e0f1_9b72_4d68);

/// Whether a unique name is taken, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Claim {
    /// Nobody holds it.
    #[default]
    Free,
    /// Held by the tenant or user of this id.
    Held(Uuid),
}

impl Claim {
    /// The stream that makes a tenant name unique. Names are compared exactly.
    #[must_use]
    pub fn on_tenant_name(name: &str) -> Uuid {
        Uuid::new_v5(&CLAIM_NAMESPACE, format!("tenant-name:{name}").as_bytes())
    }

    /// The stream that makes an email unique.
    #[must_use]
    pub fn on_email(email: &Email) -> Uuid {
        Uuid::new_v5(&CLAIM_NAMESPACE, format!("email:{email}").as_bytes())
    }

    fn fold(&mut self, fact: ClaimFact) {
        *self = match fact {
            ClaimFact::ClaimTaken { holder, .. } => Self::Held(holder),
            ClaimFact::ClaimReleased { .. } => Self::Free,
        };
    }
}

/// What can be asked of a claim.
#[derive(Clone, Debug)]
pub enum ClaimCommand {
    /// Take it. Repeated by the holder: ignored.
    Take {
        /// Who wants it.
        holder: Uuid,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Give it back. Repeated, or by another than the holder: ignored.
    Release {
        /// Who gives it back.
        holder: Uuid,
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened to a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ClaimFact {
    /// Somebody holds the name now.
    ClaimTaken {
        /// The tenant or user that holds it.
        holder: Uuid,
        /// When.
        at: DateTime<Utc>,
    },
    /// Nobody holds the name any more.
    ClaimReleased {
        /// The tenant or user that held it.
        holder: Uuid,
        /// When.
        at: DateTime<Utc>,
    },
}

stored_facts!(ClaimFact { ClaimTaken, ClaimReleased });

/// Why a claim was not given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ClaimRefusal {
    /// Somebody else holds it.
    #[error("is already taken")]
    Taken,
}

aggregate!(Claim, ClaimCommand, ClaimFact, ClaimRefusal);

impl Decide for Claim {
    fn decide(&self, command: ClaimCommand) -> Result<Vec<ClaimFact>, ClaimRefusal> {
        match (self, command) {
            (Self::Free, ClaimCommand::Take { holder, at }) => Ok(vec![ClaimFact::ClaimTaken { holder, at }]),
            (Self::Held(by), ClaimCommand::Take { holder, .. }) if *by != holder => Err(ClaimRefusal::Taken),
            (Self::Held(by), ClaimCommand::Release { holder, at }) if *by == holder => {
                Ok(vec![ClaimFact::ClaimReleased { holder, at }])
            }
            (Self::Held(_), ClaimCommand::Take { .. }) | (_, ClaimCommand::Release { .. }) => Ok(vec![]),
        }
    }
}
