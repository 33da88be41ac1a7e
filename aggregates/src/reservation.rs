//! A claim makes a name or an email unique on the whole platform: its stream's id is derived from what
//! is claimed, so two claimants meet in one stream and the log lets one of them through.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::Decide;
use crate::email::Email;

/// Namespace of claim streams. Stored ids depend on it: it never changes.
const RESERVATION_NAMESPACE: Uuid = Uuid::from_u128(0x1c6e_93f2_57a4_5d0b_8a3c_e0f1_9b72_4d68);

/// Whether a unique name is taken, and by whom.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reservation {
    /// Nobody holds it.
    #[default]
    Free,
    /// Held by the tenant or user of this id.
    Held(Uuid),
}

impl Reservation {
    /// The stream that makes a tenant name unique. Names are compared exactly.
    #[must_use]
    pub fn on_tenant_name(name: &str) -> Uuid {
        Uuid::new_v5(&RESERVATION_NAMESPACE, format!("tenant-name:{name}").as_bytes())
    }

    /// The stream that makes an email unique.
    #[must_use]
    pub fn on_email(email: &Email) -> Uuid {
        Uuid::new_v5(&RESERVATION_NAMESPACE, format!("email:{email}").as_bytes())
    }

    fn fold(&mut self, fact: ReservationFact) {
        *self = match fact {
            ReservationFact::ReservationMade { holder, .. } => Self::Held(holder),
            ReservationFact::ReservationReleased { .. } => Self::Free,
        };
    }
}

/// What can be asked of a claim.
#[derive(Clone, Debug)]
pub enum ReservationCommand {
    /// Take it. Repeated by the holder: ignored.
    Reserve { holder: Uuid, at: DateTime<Utc> },
    /// Give it back. Repeated, or by another than the holder: ignored.
    Release {
        /// Who gives it back.
        holder: Uuid,
        at: DateTime<Utc>,
    },
}

/// What happened to a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ReservationFact {
    /// Somebody holds the name now.
    ReservationMade {
        /// The tenant or user that holds it.
        holder: Uuid,
        at: DateTime<Utc>,
    },
    /// Nobody holds the name any more.
    ReservationReleased {
        /// The tenant or user that held it.
        holder: Uuid,
        at: DateTime<Utc>,
    },
}

stored_facts!(ReservationFact { ReservationMade, ReservationReleased });

/// Why a claim was not given.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReservationRefusal {
    /// Somebody else holds it.
    #[error("is already taken")]
    Taken,
}

aggregate!(Reservation, ReservationCommand, ReservationFact, ReservationRefusal);

impl Decide for Reservation {
    fn decide(&self, command: ReservationCommand) -> Result<Vec<ReservationFact>, ReservationRefusal> {
        match (self, command) {
            (Self::Free, ReservationCommand::Reserve { holder, at }) => {
                Ok(vec![ReservationFact::ReservationMade { holder, at }])
            }
            (Self::Held(by), ReservationCommand::Reserve { holder, .. }) if *by != holder => {
                Err(ReservationRefusal::Taken)
            }
            (Self::Held(by), ReservationCommand::Release { holder, at }) if *by == holder => {
                Ok(vec![ReservationFact::ReservationReleased { holder, at }])
            }
            (Self::Held(_), ReservationCommand::Reserve { .. }) | (_, ReservationCommand::Release { .. }) => {
                Ok(vec![])
            }
        }
    }
}
