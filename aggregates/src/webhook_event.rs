//! Webhook event: accepted once, then delivered in one or more attempts until an attempt succeeds, the attempts are
//! used up, or a user cancels the delivery. A failed delivery can be replayed.
//!
//! `DeliveryStarted` is the claim of an attempt. A worker appends it at the stream version that the job carries, so
//! only one of several copies of a job succeeds; the others find the version taken. No request is sent before its
//! `DeliveryStarted` is in the log.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::attempt_outcome::{AttemptReport, Outcome};
use crate::backoff::Backoff;
use crate::ids::{DestinationId, SenderId, TenantId, UserId};

/// State of a webhook event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookEvent {
    /// Never accepted.
    #[default]
    Unknown,
    Waiting(Delivery),
    /// An attempt is in progress.
    Delivering(Delivery),
    Succeeded(Delivery),
    /// The attempts are used up.
    CriticalFailure(Delivery),
    Cancelled(Delivery),
    /// The delivery has ended and the payload is erased. This state is final.
    Erased(Delivery),
}

/// Delivery of one webhook event to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub destination_id: DestinationId,
    /// Number of attempts started since the event was accepted.
    pub attempts: u32,
    /// Number of failed attempts since the event was accepted or last replayed.
    pub failed_attempts: u32,
    /// Number of consecutive attempts with unknown outcome up to the last one.
    pub unknown_in_a_row: u32,
}

/// Number of consecutive attempts with unknown outcome that use up no attempt; each further one does.
///
/// A worker that disappears usually says nothing about the event. But an event that crashes its workers must come to
/// an end as well. Lower: events fail because workers were restarted. Higher: an event that crashes its workers
/// crashes more of them.
pub const UNKNOWN_IN_A_ROW_TOLERATED: u32 = 4;

/// Commitment to a payload. The log contains the commitment; the bytes and the salt are in the table `payloads`. When
/// they are erased, the log does not show what they were, and a guess cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PayloadCommitment {
    /// HMAC-SHA256 of the payload, with the salt as key, in lower-case hex. `None` in facts of version 1, which had a
    /// digest without salt.
    pub hmac_sha256: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
}

/// Result of applying a sender's mapping to the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MappingResult {
    /// The mapped object is delivered; this is the commitment to the received payload, with the same salt.
    Applied(PayloadCommitment),
    /// The mapping failed for this reason; the received payload is delivered unchanged.
    Failed(String),
}

/// Command to a webhook event.
#[derive(Clone, Debug)]
pub enum WebhookEventCommand {
    /// Accepts the event. Repeated: refused; the caller responds with the first one.
    Accept(Acceptance),
    /// Claims an attempt. Repeated: refused; the copy of the job is dropped.
    Start {
        /// Name of the worker that makes the attempt.
        worker: String,
        /// Version of the destination's stream whose settings are used.
        destination_version: u64,
        /// Version of the tenant's stream whose secret signs the request.
        tenant_version: u64,
        /// Time limit of the attempt in milliseconds, from its claim.
        timeout_ms: u64,
        at: DateTime<Utc>,
    },
    /// Records the outcome of the attempt in progress. Repeated: refused.
    RecordAttempt {
        report: AttemptReport,
        backoff: Backoff,
        /// The first attempt included; at least 1.
        max_attempts: u32,
        /// Random number from 0 to 1.
        jitter_sample: f64,
        at: DateTime<Utc>,
    },
    /// Cancels the delivery. Refused while an attempt is in progress or after the delivery has ended.
    Cancel { reason: String, at: DateTime<Utc> },
    /// Delivers the event again, with the full number of attempts. Refused unless it is in `CriticalFailure`.
    Replay { at: DateTime<Utc> },
    /// Erases the payload; the facts remain. A waiting event is cancelled as well, since it cannot be delivered
    /// without its payload. Refused while an attempt is in progress. Repeated: ignored, because only the first one erased
    /// something.
    ErasePayload {
        reason: String,
        /// `None` if no user requested it.
        requested_by: Option<UserId>,
        at: DateTime<Utc>,
    },
}

/// Accepted webhook event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acceptance {
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// `None`: it was sent with the token of the destination itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<SenderId>,
    /// Commitment to the delivered payload.
    pub payload: PayloadCommitment,
    /// `None` without a mapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingResult>,
    pub at: DateTime<Utc>,
}

/// Fact about a webhook event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum WebhookEventFact {
    EventAccepted(Acceptance),
    /// A worker claimed an attempt and is about to send the request.
    DeliveryStarted {
        destination_id: DestinationId,
        /// Number of the attempt since the event was accepted, from 1.
        attempt: u32,
        worker: String,
        /// Version of the destination's stream whose settings are used.
        destination_version: u64,
        /// Version of the tenant's stream whose secret signs the request.
        tenant_version: u64,
        /// Time limit of the attempt in milliseconds. No request is in progress that long after the claim.
        timeout_ms: u64,
        at: DateTime<Utc>,
    },
    /// An attempt ended.
    DeliveryAttempted {
        destination_id: DestinationId,
        attempt: u32,
        /// Number of failed attempts since the event was accepted or last replayed, including this one.
        failed_attempts: u32,
        /// Number of consecutive attempts with unknown outcome up to this one. Omitted if 0; the oldest facts do not
        /// have it.
        #[serde(default, skip_serializing_if = "is_zero")]
        unknown_in_a_row: u32,
        report: AttemptReport,
        at: DateTime<Utc>,
    },
    RetryScheduled {
        destination_id: DestinationId,
        failed_attempts: u32,
        /// Earliest time of the next attempt.
        retry_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// The attempts are used up, or no further attempt can succeed.
    CriticalFailure {
        destination_id: DestinationId,
        failed_attempts: u32,
        at: DateTime<Utc>,
    },
    /// The event was replayed; it has the full number of attempts again.
    Replayed {
        destination_id: DestinationId,
        /// Number of attempts before. The numbers of further attempts continue from it.
        attempts: u32,
        at: DateTime<Utc>,
    },
    Cancelled {
        destination_id: DestinationId,
        reason: String,
        at: DateTime<Utc>,
    },
    PayloadErased {
        reason: String,
        /// `None` if no user requested it.
        requested_by: Option<UserId>,
        at: DateTime<Utc>,
    },
}

stored_facts!(WebhookEventFact {
    EventAccepted: 3,
    DeliveryStarted: 2,
    DeliveryAttempted: 2,
    RetryScheduled,
    CriticalFailure,
    Replayed,
    Cancelled,
    PayloadErased,
});

/// Reason why a webhook event refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WebhookEventRefusal {
    #[error("the event was already accepted")]
    AlreadyAccepted,
    #[error("no event has this id")]
    NotAccepted,
    #[error("the event is not waiting for an attempt")]
    NotWaiting,
    #[error("no attempt of the event is in progress")]
    NoAttemptInProgress,
    #[error("an attempt of the event is in progress")]
    AttemptInProgress,
    #[error("only an event in CriticalFailure can be replayed")]
    NotInCriticalFailure,
    #[error("the payload of the event no longer exists: it was erased, or its retention period is over")]
    PayloadIsErased,
}

aggregate!(WebhookEvent, WebhookEventCommand, WebhookEventFact, WebhookEventRefusal);

impl Decide for WebhookEvent {
    fn decide(&self, command: WebhookEventCommand) -> Result<Vec<WebhookEventFact>, WebhookEventRefusal> {
        use WebhookEventCommand as Command;
        use WebhookEventRefusal as Refusal;
        match (self, command) {
            (Self::Unknown, Command::Accept(acceptance)) => {
                Ok(vec![WebhookEventFact::EventAccepted(acceptance)])
            }
            (_, Command::Accept(_)) => Err(Refusal::AlreadyAccepted),
            (Self::Unknown, _) => Err(Refusal::NotAccepted),

            (
                Self::Waiting(delivery),
                Command::Start { worker, destination_version, tenant_version, timeout_ms, at },
            ) => Ok(vec![WebhookEventFact::DeliveryStarted {
                destination_id: delivery.destination_id,
                attempt: delivery.attempts + 1,
                worker,
                destination_version,
                tenant_version,
                timeout_ms,
                at,
            }]),
            (_, Command::Start { .. }) => Err(Refusal::NotWaiting),

            (
                Self::Delivering(delivery),
                Command::RecordAttempt { report, backoff, max_attempts, jitter_sample, at },
            ) => Ok(delivery.record(report, backoff, max_attempts, jitter_sample, at)),
            (_, Command::RecordAttempt { .. }) => Err(Refusal::NoAttemptInProgress),

            (Self::Waiting(delivery), Command::Cancel { reason, at }) => {
                let destination_id = delivery.destination_id;
                Ok(vec![WebhookEventFact::Cancelled { destination_id, reason, at }])
            }
            (Self::Delivering(_), Command::Cancel { .. }) => Err(Refusal::AttemptInProgress),
            (_, Command::Cancel { .. }) => Err(Refusal::NotWaiting),

            (Self::CriticalFailure(delivery), Command::Replay { at }) => {
                let Delivery { destination_id, attempts, .. } = *delivery;
                Ok(vec![WebhookEventFact::Replayed { destination_id, attempts, at }])
            }
            (Self::Erased(_), Command::Replay { .. }) => Err(Refusal::PayloadIsErased),
            (_, Command::Replay { .. }) => Err(Refusal::NotInCriticalFailure),

            (Self::Delivering(_), Command::ErasePayload { .. }) => Err(Refusal::AttemptInProgress),
            (Self::Erased(_), Command::ErasePayload { .. }) => Ok(vec![]),
            (Self::Waiting(delivery), Command::ErasePayload { reason, requested_by, at }) => {
                let destination_id = delivery.destination_id;
                let cancelled = WebhookEventFact::Cancelled { destination_id, reason: reason.clone(), at };
                Ok(vec![cancelled, WebhookEventFact::PayloadErased { reason, requested_by, at }])
            }
            (_, Command::ErasePayload { reason, requested_by, at }) => {
                Ok(vec![WebhookEventFact::PayloadErased { reason, requested_by, at }])
            }
        }
    }
}

impl WebhookEventCommand {
    /// Cancels the delivery because a user asked for it. The metadata of the fact names the user.
    #[must_use]
    pub fn cancel_on_request(at: DateTime<Utc>) -> Self {
        Self::Cancel { reason: "it was cancelled".to_owned(), at }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Delivery {
    fn record(
        &self,
        report: AttemptReport,
        backoff: Backoff,
        max_attempts: u32,
        jitter_sample: f64,
        at: DateTime<Utc>,
    ) -> Vec<WebhookEventFact> {
        let destination_id = self.destination_id;
        let unknown_in_a_row = match report.outcome {
            Outcome::Unknown => self.unknown_in_a_row + 1,
            _ => 0,
        };
        let uses_up = report.outcome.counts_as_failure() || unknown_in_a_row > UNKNOWN_IN_A_ROW_TOLERATED;
        let failed_attempts = self.failed_attempts + u32::from(uses_up);
        let outcome = report.outcome;
        let requested = report.retry_after.map(|retry_after| retry_after.time(at));
        let attempted = WebhookEventFact::DeliveryAttempted {
            destination_id,
            attempt: self.attempts,
            failed_attempts,
            unknown_in_a_row,
            report,
            at,
        };
        let consequence = if outcome.is_success() {
            None
        } else if outcome.is_final() || failed_attempts >= max_attempts {
            Some(WebhookEventFact::CriticalFailure { destination_id, failed_attempts, at })
        } else {
            // The delay also grows with unknown outcomes, so that an event which crashes its workers does so ever
            // more rarely.
            let failures = failed_attempts.max(self.failed_attempts + unknown_in_a_row).max(1);
            let retry_at = backoff.retry_at(at, failures, jitter_sample, requested);
            Some(WebhookEventFact::RetryScheduled { destination_id, failed_attempts, retry_at, at })
        };
        std::iter::once(attempted).chain(consequence).collect()
    }
}

impl WebhookEvent {
    fn fold(&mut self, fact: WebhookEventFact) {
        use WebhookEventFact as Fact;
        let delivery = self.delivery().copied();
        *self = match (delivery, fact) {
            (_, Fact::EventAccepted(acceptance)) => Self::Waiting(Delivery {
                destination_id: acceptance.destination_id,
                attempts: 0,
                failed_attempts: 0,
                unknown_in_a_row: 0,
            }),
            (None, _) => Self::Unknown,
            (Some(delivery), Fact::DeliveryStarted { attempt, .. }) => {
                Self::Delivering(Delivery { attempts: attempt, ..delivery })
            }
            (Some(delivery), Fact::DeliveryAttempted { failed_attempts, unknown_in_a_row, report, .. }) => {
                let delivery = Delivery { failed_attempts, unknown_in_a_row, ..delivery };
                if report.outcome.is_success() { Self::Succeeded(delivery) } else { Self::Waiting(delivery) }
            }
            (Some(delivery), Fact::RetryScheduled { .. }) => Self::Waiting(delivery),
            (Some(delivery), Fact::CriticalFailure { .. }) => Self::CriticalFailure(delivery),
            (Some(delivery), Fact::Replayed { .. }) => {
                Self::Waiting(Delivery { failed_attempts: 0, unknown_in_a_row: 0, ..delivery })
            }
            (Some(delivery), Fact::Cancelled { .. }) => Self::Cancelled(delivery),
            (Some(delivery), Fact::PayloadErased { .. }) => Self::Erased(delivery),
        };
    }

    /// Returns the delivery; `None` before the event is accepted.
    #[must_use]
    pub fn delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Unknown => None,
            Self::Waiting(delivery)
            | Self::Delivering(delivery)
            | Self::Succeeded(delivery)
            | Self::CriticalFailure(delivery)
            | Self::Cancelled(delivery)
            | Self::Erased(delivery) => Some(delivery),
        }
    }
}
