//! Erasure of the payloads of many events: requested once, then carried out in steps. Each event has its own
//! `PayloadErased`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::{DestinationId, UserId};

/// State of an erasure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Erasure {
    /// Never requested.
    #[default]
    Unknown,
    Requested(ErasureRequest),
    Completed(ErasureRequest, ErasureResult),
}

/// Which events an erasure is for: those that match all that is present, of those accepted until the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasureScope {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_id: Option<DestinationId>,
    /// Name of the status that an event has when the erasure reaches it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Earliest time of acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<DateTime<Utc>>,
    /// Latest time of acceptance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<DateTime<Utc>>,
}

/// Request of an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasureRequest {
    pub scope: ErasureScope,
    pub reason: String,
    pub requested_by: UserId,
    /// Number of events in the scope at the request.
    pub events: u64,
    pub at: DateTime<Utc>,
}

/// Result of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErasureResult {
    /// Number of payloads that were erased.
    pub erased: u64,
    /// Number of payloads that legal holds on destinations have kept.
    pub kept: u64,
    pub at: DateTime<Utc>,
}

/// Command to an erasure.
#[derive(Clone, Debug)]
pub enum ErasureCommand {
    /// Requests the erasure. Repeated: refused.
    Request(ErasureRequest),
    /// Records that it has reached all events in its scope. Repeated: ignored.
    Complete(ErasureResult),
}

/// Fact about an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ErasureFact {
    ErasureRequested(ErasureRequest),
    ErasureCompleted(ErasureResult),
}

stored_facts!(ErasureFact { ErasureRequested, ErasureCompleted });

/// Reason why an erasure refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ErasureRefusal {
    #[error("the erasure is already requested")]
    AlreadyRequested,
    #[error("no erasure has this id")]
    NotRequested,
}

aggregate!(Erasure, ErasureCommand, ErasureFact, ErasureRefusal);

impl Decide for Erasure {
    fn decide(&self, command: ErasureCommand) -> Result<Vec<ErasureFact>, ErasureRefusal> {
        match (self, command) {
            (Self::Unknown, ErasureCommand::Request(request)) => {
                Ok(vec![ErasureFact::ErasureRequested(request)])
            }
            (_, ErasureCommand::Request(_)) => Err(ErasureRefusal::AlreadyRequested),
            (Self::Unknown, ErasureCommand::Complete(_)) => Err(ErasureRefusal::NotRequested),
            (Self::Requested(_), ErasureCommand::Complete(result)) => {
                Ok(vec![ErasureFact::ErasureCompleted(result)])
            }
            (Self::Completed(..), ErasureCommand::Complete(_)) => Ok(vec![]),
        }
    }
}

impl Erasure {
    fn fold(&mut self, fact: ErasureFact) {
        *self = match (std::mem::take(self), fact) {
            (_, ErasureFact::ErasureRequested(request)) => Self::Requested(request),
            (Self::Requested(request), ErasureFact::ErasureCompleted(result)) => {
                Self::Completed(request, result)
            }
            (state, ErasureFact::ErasureCompleted(_)) => state,
        };
    }
}
