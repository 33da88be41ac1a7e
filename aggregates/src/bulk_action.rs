//! Bulk action: many webhook events are replayed or cancelled. It is requested once, then carried out in steps, and can be
//! paused, resumed and cancelled meanwhile. Each event has its own `Replayed` or `Cancelled`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ids::UserId;
use crate::webhook_event::{WebhookEventCommand, WebhookEventRefusal};
use crate::{Decide, stored_enum};

/// State of a bulk action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkAction {
    /// Never requested.
    #[default]
    Unknown,
    Running(BulkActionRequest),
    Paused(BulkActionRequest),
    /// It was cancelled before it had examined all events.
    Cancelled(BulkActionRequest, BulkActionResult),
    Completed(BulkActionRequest, BulkActionResult),
}

stored_enum! {
    /// What is done to each event of a bulk action.
    pub enum EventAction {
        /// Deliver the event again.
        Replay = 0 => "Replay",
        /// Cancel the delivery of the event.
        Cancel = 1 => "Cancel",
    }
}

/// Request of a bulk action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkActionRequest {
    pub action: EventAction,
    /// Terms of the list's filter by their names. The action is for the events that match all of them, of those that are
    /// before the request in the log.
    pub filter: BTreeMap<String, String>,
    /// Most events that are replayed or cancelled in a second, on average.
    pub rate_per_second: u32,
    pub requested_by: UserId,
    /// Number of events that matched at the request, or less.
    pub events: u64,
    /// Whether more events matched: they are not counted beyond a limit.
    pub has_more_events: bool,
    pub at: DateTime<Utc>,
}

/// What became of the events that a bulk action has examined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkActionCounts {
    /// Events that were replayed or cancelled.
    pub done: u64,
    pub refused: RefusedEvents,
}

/// Numbers of events that refused the action, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedEvents {
    /// Not in `CriticalFailure`, so that it cannot be replayed.
    pub not_in_critical_failure: u64,
    /// Without a payload, so that it cannot be replayed.
    pub payload_is_erased: u64,
    /// Not waiting for an attempt, so that it cannot be cancelled.
    pub not_waiting: u64,
    /// With an attempt in progress, so that it cannot be cancelled.
    pub attempt_in_progress: u64,
}

/// Result of a bulk action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BulkActionResult {
    pub counts: BulkActionCounts,
    pub at: DateTime<Utc>,
}

/// Command to a bulk action.
#[derive(Clone, Debug)]
pub enum BulkActionCommand {
    /// Requests the action. Repeated: refused.
    Request(BulkActionRequest),
    /// Interrupts it until it is resumed. Repeated: ignored.
    Pause { at: DateTime<Utc> },
    /// Continues it. Unless paused: ignored.
    Resume { at: DateTime<Utc> },
    /// Ends it before it has examined all events. Repeated: ignored.
    Cancel(BulkActionResult),
    /// Records that it has examined all events. Repeated: ignored.
    Complete(BulkActionResult),
}

/// Fact about a bulk action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BulkActionFact {
    BulkActionRequested(BulkActionRequest),
    BulkActionPaused { at: DateTime<Utc> },
    BulkActionResumed { at: DateTime<Utc> },
    BulkActionCancelled(BulkActionResult),
    BulkActionCompleted(BulkActionResult),
}

stored_facts!(BulkActionFact {
    BulkActionRequested,
    BulkActionPaused,
    BulkActionResumed,
    BulkActionCancelled,
    BulkActionCompleted,
});

/// Reason why a bulk action refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BulkActionRefusal {
    #[error("the bulk action is already requested")]
    AlreadyRequested,
    #[error("no bulk action has this id")]
    NotRequested,
    #[error("the bulk action is paused")]
    IsPaused,
    #[error("the bulk action has ended")]
    HasEnded,
}

aggregate!(BulkAction, BulkActionCommand, BulkActionFact, BulkActionRefusal);

impl Decide for BulkAction {
    fn decide(&self, command: BulkActionCommand) -> Result<Vec<BulkActionFact>, BulkActionRefusal> {
        use BulkActionCommand as Command;
        use BulkActionFact as Fact;
        use BulkActionRefusal as Refusal;
        match (self, command) {
            (Self::Unknown, Command::Request(request)) => Ok(vec![Fact::BulkActionRequested(request)]),
            (_, Command::Request(_)) => Err(Refusal::AlreadyRequested),
            (Self::Unknown, _) => Err(Refusal::NotRequested),

            (Self::Running(_), Command::Pause { at }) => Ok(vec![Fact::BulkActionPaused { at }]),
            (Self::Paused(_), Command::Pause { .. }) => Ok(vec![]),
            (Self::Paused(_), Command::Resume { at }) => Ok(vec![Fact::BulkActionResumed { at }]),
            (Self::Running(_), Command::Resume { .. }) => Ok(vec![]),

            (Self::Running(_) | Self::Paused(_), Command::Cancel(result)) => {
                Ok(vec![Fact::BulkActionCancelled(result)])
            }
            (Self::Cancelled(..), Command::Cancel(_)) => Ok(vec![]),

            (Self::Running(_), Command::Complete(result)) => Ok(vec![Fact::BulkActionCompleted(result)]),
            (Self::Paused(_), Command::Complete(_)) => Err(Refusal::IsPaused),
            (Self::Completed(..), Command::Complete(_)) => Ok(vec![]),

            (Self::Cancelled(..) | Self::Completed(..), _) => Err(Refusal::HasEnded),
        }
    }
}

impl BulkAction {
    fn fold(&mut self, fact: BulkActionFact) {
        use BulkActionFact as Fact;
        *self = match (std::mem::take(self), fact) {
            (_, Fact::BulkActionRequested(request)) => Self::Running(request),
            (Self::Running(request), Fact::BulkActionPaused { .. }) => Self::Paused(request),
            (Self::Paused(request), Fact::BulkActionResumed { .. }) => Self::Running(request),
            (Self::Running(request) | Self::Paused(request), Fact::BulkActionCancelled(result)) => {
                Self::Cancelled(request, result)
            }
            (Self::Running(request), Fact::BulkActionCompleted(result)) => Self::Completed(request, result),
            (state, _) => state,
        };
    }

    /// Returns the request; `None` if there was none.
    #[must_use]
    pub fn request(&self) -> Option<&BulkActionRequest> {
        match self {
            Self::Unknown => None,
            Self::Running(request)
            | Self::Paused(request)
            | Self::Cancelled(request, _)
            | Self::Completed(request, _) => Some(request),
        }
    }

    /// Returns the result; `None` if it has not ended.
    #[must_use]
    pub fn result(&self) -> Option<&BulkActionResult> {
        match self {
            Self::Unknown | Self::Running(_) | Self::Paused(_) => None,
            Self::Cancelled(_, result) | Self::Completed(_, result) => Some(result),
        }
    }
}

impl EventAction {
    /// Returns the command to each event.
    #[must_use]
    pub fn command(self, at: DateTime<Utc>) -> WebhookEventCommand {
        match self {
            Self::Replay => WebhookEventCommand::Replay { at },
            Self::Cancel => WebhookEventCommand::cancel_on_request(at),
        }
    }
}

impl RefusedEvents {
    /// Returns the number of all of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        let Self { not_in_critical_failure, payload_is_erased, not_waiting, attempt_in_progress } = self;
        not_in_critical_failure + payload_is_erased + not_waiting + attempt_in_progress
    }

    /// Counts an event that refused the action.
    ///
    /// # Errors
    /// The refusal, if it is none of a replay or a cancellation.
    pub fn count(&mut self, refusal: WebhookEventRefusal) -> Result<(), WebhookEventRefusal> {
        match refusal {
            WebhookEventRefusal::NotInCriticalFailure => self.not_in_critical_failure += 1,
            WebhookEventRefusal::PayloadIsErased => self.payload_is_erased += 1,
            WebhookEventRefusal::NotWaiting => self.not_waiting += 1,
            WebhookEventRefusal::AttemptInProgress => self.attempt_in_progress += 1,
            WebhookEventRefusal::AlreadyAccepted
            | WebhookEventRefusal::NotAccepted
            | WebhookEventRefusal::NoAttemptInProgress => return Err(refusal),
        }
        Ok(())
    }
}
