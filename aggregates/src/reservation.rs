//! Reservation: makes a tenant name or an email address unique on the whole platform, and an invitation valid once.
//!
//! The id of its stream is derived from the reserved value. Two concurrent reservations of the same value therefore
//! append to the same stream, and the log accepts only one of them. That of an email address is derived with a secret of the
//! installation, which the domain does not have: otherwise a reader of the log could test whether an address is in use.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::Decide;

/// Namespace of the ids of reservation streams. It must not change: stored ids depend on it.
const RESERVATION_NAMESPACE: Uuid = Uuid::from_u128(0x1c6e_93f2_57a4_5d0b_8a3c_e0f1_9b72_4d68);

/// State of a reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reservation {
    #[default]
    Available,
    /// Reserved by the tenant or user with this id.
    Reserved(Uuid),
}

impl Reservation {
    /// Returns the id of the stream that makes a tenant name unique. Names are compared exactly.
    #[must_use]
    pub fn on_tenant_name(name: &str) -> Uuid {
        Uuid::new_v5(&RESERVATION_NAMESPACE, format!("tenant-name:{name}").as_bytes())
    }

    /// Returns the id of the stream that lets an invitation to register a tenant be used once.
    #[must_use]
    pub fn on_tenant_invitation(invitation: Uuid) -> Uuid {
        Uuid::new_v5(&RESERVATION_NAMESPACE, format!("tenant-invitation:{invitation}").as_bytes())
    }

    fn fold(&mut self, fact: ReservationFact) {
        *self = match fact {
            ReservationFact::ReservationMade { holder, .. } => Self::Reserved(holder),
            ReservationFact::ReservationReleased { .. } => Self::Available,
        };
    }
}

/// Command to a reservation. `holder` is the id of a tenant or user.
#[derive(Clone, Debug)]
pub enum ReservationCommand {
    /// Reserves the value. Repeated by the holder: ignored.
    Reserve { holder: Uuid, at: DateTime<Utc> },
    /// Makes the value available again. Repeated, or by another than the holder: ignored.
    Release { holder: Uuid, at: DateTime<Utc> },
}

/// Fact about a reservation. `holder` is the id of a tenant or user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ReservationFact {
    ReservationMade { holder: Uuid, at: DateTime<Utc> },
    ReservationReleased { holder: Uuid, at: DateTime<Utc> },
}

stored_facts!(ReservationFact { ReservationMade, ReservationReleased });

/// Reason why a reservation refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReservationRefusal {
    #[error("is already in use")]
    Taken,
}

aggregate!(Reservation, ReservationCommand, ReservationFact, ReservationRefusal);

impl Decide for Reservation {
    fn decide(&self, command: ReservationCommand) -> Result<Vec<ReservationFact>, ReservationRefusal> {
        match (self, command) {
            (Self::Available, ReservationCommand::Reserve { holder, at }) => {
                Ok(vec![ReservationFact::ReservationMade { holder, at }])
            }
            (Self::Reserved(by), ReservationCommand::Reserve { holder, .. }) if *by != holder => {
                Err(ReservationRefusal::Taken)
            }
            (Self::Reserved(by), ReservationCommand::Release { holder, at }) if *by == holder => {
                Ok(vec![ReservationFact::ReservationReleased { holder, at }])
            }
            (Self::Reserved(_), ReservationCommand::Reserve { .. })
            | (_, ReservationCommand::Release { .. }) => Ok(vec![]),
        }
    }
}
