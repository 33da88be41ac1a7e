//! Legal hold: nothing that belongs to a tenant or a destination is erased until it is lifted, neither on request nor by
//! retention.
//!
//! Its stream has the id of the tenant or the destination. A second hold on the same one is refused: its reason would be
//! forgotten when the first is lifted.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;

/// State of the legal hold on a tenant or a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegalHold {
    /// Never placed, or lifted.
    #[default]
    NotHeld,
    Held(HeldSubject),
}

/// What a legal hold is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HeldSubject {
    Tenant,
    Destination,
}

/// Command to a legal hold.
#[derive(Clone, Debug)]
pub enum LegalHoldCommand {
    /// Places the hold. While held: refused.
    Place {
        subject: HeldSubject,
        /// Checked.
        reason: String,
        at: DateTime<Utc>,
    },
    /// Lifts the hold. Unless held: ignored.
    Lift {
        /// Checked.
        reason: String,
        at: DateTime<Utc>,
    },
}

/// Fact about a legal hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum LegalHoldFact {
    LegalHoldPlaced { subject: HeldSubject, reason: String, at: DateTime<Utc> },
    LegalHoldLifted { subject: HeldSubject, reason: String, at: DateTime<Utc> },
}

stored_facts!(LegalHoldFact { LegalHoldPlaced, LegalHoldLifted });

/// Reason why a legal hold refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LegalHoldRefusal {
    #[error("there is a legal hold already")]
    AlreadyHeld,
}

aggregate!(LegalHold, LegalHoldCommand, LegalHoldFact, LegalHoldRefusal);

impl Decide for LegalHold {
    fn decide(&self, command: LegalHoldCommand) -> Result<Vec<LegalHoldFact>, LegalHoldRefusal> {
        use LegalHoldCommand as Command;
        match (self, command) {
            (Self::NotHeld, Command::Place { subject, reason, at }) => {
                Ok(vec![LegalHoldFact::LegalHoldPlaced { subject, reason, at }])
            }
            (Self::Held(_), Command::Place { .. }) => Err(LegalHoldRefusal::AlreadyHeld),
            (Self::NotHeld, Command::Lift { .. }) => Ok(vec![]),
            (Self::Held(subject), Command::Lift { reason, at }) => {
                Ok(vec![LegalHoldFact::LegalHoldLifted { subject: *subject, reason, at }])
            }
        }
    }
}

impl LegalHold {
    fn fold(&mut self, fact: LegalHoldFact) {
        *self = match fact {
            LegalHoldFact::LegalHoldPlaced { subject, .. } => Self::Held(subject),
            LegalHoldFact::LegalHoldLifted { .. } => Self::NotHeld,
        };
    }
}
