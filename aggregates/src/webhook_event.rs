//! A webhook event is accepted once and then delivered: attempt after attempt, until one succeeds, the
//! attempts are used up, or somebody cancels it. A failed delivery can be replayed.
//!
//! `DeliveryStarted` is the claim of an attempt. It is appended at the stream version the job carries,
//! so of two copies of a job one wins and the other finds the version taken. No request leaves that the
//! log has not announced.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::attempt_outcome::{AttemptReport, Outcome, RetryAfter};
use crate::backoff::Backoff;
use crate::ids::{DestinationId, SenderId, TenantId, UserId};

/// The life of a webhook event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookEvent {
    /// Never accepted.
    #[default]
    Unknown,
    /// Waits for its next attempt.
    Waiting(Delivery),
    /// An attempt is under way.
    Delivering(Delivery),
    /// Delivered.
    Succeeded(Delivery),
    /// Given up.
    CriticalFailure(Delivery),
    /// Cancelled.
    Cancelled(Delivery),
    /// Over in one of these ways, and its payload is forgotten: nothing can follow.
    Erased(Delivery),
}

/// The work of getting one webhook event to its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delivery {
    pub destination_id: DestinationId,
    /// Number of the last attempt that was started, over the event's whole life.
    pub attempts: u32,
    /// Failed attempts since it was accepted or replayed.
    pub failed_attempts: u32,
    /// How many of its last attempts have an unknown outcome, one after the other.
    pub unknown_in_a_row: u32,
}

/// Attempts in a row whose outcome may be unknown before each further one uses up an attempt.
///
/// A worker that vanished says nothing about the event, unless the event is what takes its workers down: then
/// it must come to an end as well. Lower, and events end that only were there when workers were restarted;
/// higher, and a poisonous event takes down as many more workers.
pub const UNKNOWN_IN_A_ROW_FREE: u32 = 4;

/// The payload as the log knows it: its bytes live beside the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PayloadDigest {
    /// SHA-256 of what is delivered, in lower-case hex.
    pub sha256: String,
    pub bytes: u64,
}

/// What a sender's mapping did to the payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MappingResult {
    /// What is delivered is the mapped object; this is the digest of what was received.
    Applied(PayloadDigest),
    /// The mapping failed for this reason; what was received is delivered as it is.
    Failed(String),
}

/// What can be asked of a webhook event.
#[derive(Clone, Debug)]
pub enum WebhookEventCommand {
    /// Accept it. Repeated: refused; the caller answers with the first.
    Accept(Acceptance),
    /// Start an attempt. Repeated: refused; the copy of the job is dropped.
    Start {
        /// The worker that makes the attempt.
        worker: String,
        /// Version of the destination's stream whose settings are used.
        destination_version: u64,
        /// Version of the tenant's stream whose secret signs.
        tenant_version: u64,
        at: DateTime<Utc>,
    },
    /// Record what came of the attempt under way. Repeated: refused.
    RecordAttempt {
        /// What came of it.
        report: AttemptReport,
        /// The schedule of retries.
        backoff: Backoff,
        max_attempts: u32,
        /// A random number from 0 to 1 for the jitter.
        jitter_sample: f64,
        at: DateTime<Utc>,
    },
    /// Cancel it while it waits. While an attempt is under way, or after the end: refused.
    Cancel { reason: String, at: DateTime<Utc> },
    /// Deliver it once more with a full set of attempts. Unless given up, payload and all: refused.
    Replay { at: DateTime<Utc> },
    /// Forget its payload. Its record stays. Without a payload there is nothing to deliver, so an event
    /// that waits is cancelled too; while an attempt is under way: refused. Repeated: a newer reason.
    ErasePayload {
        reason: String,
        /// Who, when a person asked.
        requested_by: Option<UserId>,
        at: DateTime<Utc>,
    },
}

/// How a webhook event came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acceptance {
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// Which sender it came through, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_id: Option<SenderId>,
    /// The caller's idempotency key, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    pub payload: PayloadDigest,
    /// What the sender's mapping did, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mapping: Option<MappingResult>,
    /// When it was accepted.
    pub at: DateTime<Utc>,
}

/// What happened to a webhook event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum WebhookEventFact {
    /// It is stored, and will be delivered.
    EventAccepted(Acceptance),
    /// A worker is about to make an attempt.
    DeliveryStarted {
        destination_id: DestinationId,
        /// The attempt's number, from 1, over the event's whole life.
        attempt: u32,
        worker: String,
        /// Version of the destination's stream whose settings are used.
        destination_version: u64,
        /// Version of the tenant's stream whose secret signs.
        tenant_version: u64,
        at: DateTime<Utc>,
    },
    /// The attempt is over.
    DeliveryAttempted {
        destination_id: DestinationId,
        attempt: u32,
        /// Failed attempts since it was accepted or replayed, this one included.
        failed_attempts: u32,
        /// How many of the last attempts have an unknown outcome, this one included; facts from before this
        /// was counted have none.
        #[serde(default, skip_serializing_if = "is_none")]
        unknown_in_a_row: u32,
        /// What came of it.
        report: AttemptReport,
        /// When it was over.
        at: DateTime<Utc>,
    },
    /// Another attempt will be made.
    RetryScheduled {
        destination_id: DestinationId,
        /// Failed attempts so far.
        failed_attempts: u32,
        /// Not before this time.
        retry_at: DateTime<Utc>,
        /// When this was decided.
        at: DateTime<Utc>,
    },
    /// The attempts are used up.
    CriticalFailure {
        /// Where it should have gone.
        destination_id: DestinationId,
        failed_attempts: u32,
        at: DateTime<Utc>,
    },
    /// Somebody wants it delivered after all, with a full set of attempts.
    Replayed {
        destination_id: DestinationId,
        /// Number of the last attempt before; attempts go on counting from it.
        attempts: u32,
        at: DateTime<Utc>,
    },
    /// It will not be delivered.
    Cancelled {
        /// Where it should have gone.
        destination_id: DestinationId,
        reason: String,
        at: DateTime<Utc>,
    },
    /// Its payload is gone.
    PayloadErased {
        reason: String,
        /// Who asked, when a person did.
        requested_by: Option<UserId>,
        at: DateTime<Utc>,
    },
}

stored_facts!(WebhookEventFact {
    EventAccepted,
    DeliveryStarted,
    DeliveryAttempted,
    RetryScheduled,
    CriticalFailure,
    Replayed,
    Cancelled,
    PayloadErased,
});

/// Why a webhook event does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WebhookEventRefusal {
    /// It was accepted before.
    #[error("the event was accepted before")]
    AlreadyAccepted,
    /// It does not exist.
    #[error("there is no event of this id")]
    NotAccepted,
    /// It does not wait for an attempt.
    #[error("the event is not waiting for an attempt")]
    NotWaiting,
    /// No attempt is under way.
    #[error("no attempt of the event is under way")]
    NoAttemptUnderWay,
    /// An attempt is under way.
    #[error("an attempt of the event is under way")]
    AttemptUnderWay,
    /// It was not given up.
    #[error("only an event in CriticalFailure can be replayed")]
    NotGivenUp,
    /// There is nothing left to deliver.
    #[error("the payload of the event is gone: it was erased, or kept as long as its tenant keeps payloads")]
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

            (Self::Waiting(delivery), Command::Start { worker, destination_version, tenant_version, at }) => {
                Ok(vec![WebhookEventFact::DeliveryStarted {
                    destination_id: delivery.destination_id,
                    attempt: delivery.attempts + 1,
                    worker,
                    destination_version,
                    tenant_version,
                    at,
                }])
            }
            (_, Command::Start { .. }) => Err(Refusal::NotWaiting),

            (
                Self::Delivering(delivery),
                Command::RecordAttempt { report, backoff, max_attempts, jitter_sample, at },
            ) => Ok(delivery.record(report, backoff, max_attempts, jitter_sample, at)),
            (_, Command::RecordAttempt { .. }) => Err(Refusal::NoAttemptUnderWay),

            (Self::Waiting(delivery), Command::Cancel { reason, at }) => {
                let destination_id = delivery.destination_id;
                Ok(vec![WebhookEventFact::Cancelled { destination_id, reason, at }])
            }
            (Self::Delivering(_), Command::Cancel { .. }) => Err(Refusal::AttemptUnderWay),
            (_, Command::Cancel { .. }) => Err(Refusal::NotWaiting),

            (Self::CriticalFailure(delivery), Command::Replay { at }) => {
                let Delivery { destination_id, attempts, .. } = *delivery;
                Ok(vec![WebhookEventFact::Replayed { destination_id, attempts, at }])
            }
            (Self::Erased(_), Command::Replay { .. }) => Err(Refusal::PayloadIsErased),
            (_, Command::Replay { .. }) => Err(Refusal::NotGivenUp),

            (Self::Delivering(_), Command::ErasePayload { .. }) => Err(Refusal::AttemptUnderWay),
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

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it asks about by reference")]
fn is_none(count: &u32) -> bool {
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
        let uses_up = report.outcome.counts_as_failure() || unknown_in_a_row > UNKNOWN_IN_A_ROW_FREE;
        let failed_attempts = self.failed_attempts + u32::from(uses_up);
        let outcome = report.outcome;
        let wished = report.retry_after.map(|wish| RetryAfter::time(wish, at));
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
            // Unknown outcomes wait longer each time too, so that an event which takes its workers down is
            // soon alone with them.
            let failures = failed_attempts.max(self.failed_attempts + unknown_in_a_row).max(1);
            let retry_at = backoff.retry_at(at, failures, jitter_sample, wished);
            Some(WebhookEventFact::RetryScheduled { destination_id, failed_attempts, retry_at, at })
        };
        std::iter::once(attempted).chain(consequence).collect()
    }
}

impl WebhookEvent {
    fn fold(&mut self, fact: WebhookEventFact) {
        use WebhookEventFact as Fact;
        let known = self.delivery().copied();
        *self = match (known, fact) {
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

    /// Its delivery, once it was accepted.
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
