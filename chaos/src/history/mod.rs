//! History of one run: what clients were told, what receivers got, and the log at the end.
//!
//! The suite records it while it runs; [`check`](crate::checker::check) is a function of it and of nothing else.

mod print;

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use uuid::Uuid;

use crate::faults::FaultKind;
pub use print::print_event;

/// Time since the beginning of the run, by the monotonic clock of the suite.
pub type RunTime = Duration;

/// Everything that is known about one run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub seed: u64,
    /// Time limit of one delivery attempt.
    pub delivery_timeout: Duration,
    pub tenants: Vec<Tenant>,
    pub destinations: Vec<Destination>,
    pub sent: Vec<Sent>,
    pub requests: Vec<Request>,
    /// The whole log, in its total order.
    pub facts: Vec<Fact>,
    /// Facts that were committed on a primary and are not on the standby that replaced it.
    pub lost_facts: Vec<Fact>,
    /// Status of each event in the read model, by the name in the API.
    pub read_model: Vec<(Uuid, &'static str)>,
    /// Output of `hooksentry verify-projections` if it found differences or failed.
    pub drift: Option<String>,
    pub faults: Vec<FaultSpan>,
    /// Log names of processes that ended by themselves.
    pub ended_processes: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: Uuid,
    pub webhook_secret: String,
}

#[derive(Clone, Debug)]
pub struct Destination {
    pub id: Uuid,
    /// Index in [`History::tenants`].
    pub tenant: usize,
    pub behaviour: Behaviour,
    /// Maximum number of concurrent requests.
    pub limit: usize,
}

/// How a receiver treats its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers 200 at once.
    Healthy,
    /// Answers 200 after up to 1.5 s.
    Slow,
    /// Answers 500 or 503 to some requests.
    Failing,
    /// Does not answer some requests.
    Hanging,
    /// Answers 500 to all requests until the end of the load.
    Dead,
}

/// Webhook that a client sent, in one or more requests with the same idempotency key.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Index in [`History::destinations`].
    pub destination: usize,
    pub idempotency_key: Option<String>,
    /// Different for each webhook.
    pub payload: Bytes,
    pub answers: Vec<Answer>,
}

/// Answer to one request of a client.
#[derive(Clone, Debug)]
pub struct Answer {
    pub began: RunTime,
    pub ended: RunTime,
    pub result: AnswerResult,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerResult {
    /// Status 202, or 200 for a repeated idempotency key, with the id of the event.
    Accepted(Uuid),
    /// Any other status.
    Refused(u16),
    /// The connection failed, or the client's timeout elapsed.
    Missing,
}

/// Request that a receiver got.
#[derive(Clone, Debug)]
pub struct Request {
    /// Index in [`History::destinations`].
    pub destination: usize,
    /// Nil if the header is missing or malformed.
    pub event_id: Uuid,
    /// 0 if the header is missing or malformed.
    pub attempt: u32,
    pub began: RunTime,
    pub ended: RunTime,
    pub end: RequestEnd,
    pub signatures: Signatures,
    /// `None` if the connection ended before the body was complete.
    pub body: Option<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestEnd {
    /// The receiver sent an answer of this status.
    Answered(u16),
    /// The client closed the connection before.
    Aborted,
}

/// Signature headers of a request; empty if missing.
#[derive(Clone, Debug, Default)]
pub struct Signatures {
    /// `X-HookSentry-Signature`.
    pub plain: String,
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// `webhook-signature`.
    pub standard: String,
}

/// Fact of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub payload: Value,
    /// By the clock of the database, which is that of this machine.
    pub recorded: RunTime,
    /// Payload of an event that was accepted.
    pub stored: Option<StoredPayload>,
}

/// Fault that was injected.
#[derive(Clone, Debug)]
pub struct FaultSpan {
    pub kind: FaultKind,
    /// Process, connection or server, and parameters.
    pub target: String,
    pub began: RunTime,
    pub ended: RunTime,
    /// End of the last fault of the same step.
    pub step_ended: RunTime,
    /// Beginning of the next step, or end of the load.
    pub next_began: RunTime,
}

/// What is stored of a payload next to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPayload {
    /// SHA-256 of the bytes, in lower-case hex.
    pub sha256: String,
    /// Key of the commitment in the fact.
    pub salt: Vec<u8>,
}

impl Fact {
    /// Returns the value of a field of the fact.
    #[must_use]
    pub fn field(&self, name: &str) -> &Value {
        &self.payload[&self.event_type][name]
    }

    /// Returns the SHA-256 of the stored payload.
    #[must_use]
    pub fn payload_digest(&self) -> Option<&str> {
        self.stored.as_ref().map(|stored| stored.sha256.as_str())
    }

    #[must_use]
    pub fn is_of_event(&self) -> bool {
        self.aggregate_type == "WebhookEvent"
    }

    /// Returns the id of the aggregate; `None` if it is not a UUID.
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        self.aggregate_id.parse().ok()
    }

    /// Returns the number of the attempt that the fact is about.
    #[must_use]
    pub fn attempt(&self) -> Option<u32> {
        self.field("attempt").as_u64().and_then(|attempt| u32::try_from(attempt).ok())
    }

    /// Returns the outcome in a `DeliveryAttempted`.
    #[must_use]
    pub fn outcome(&self) -> Option<&str> {
        self.field("report")["outcome"].as_str()
    }

    /// Returns whether the event needs no further attempt after this fact.
    #[must_use]
    pub fn ends_event(&self) -> bool {
        self.final_status().is_some()
    }

    /// Returns the final status of the event after this fact, by the name in the API; `None` if it still waits.
    #[must_use]
    pub fn final_status(&self) -> Option<&'static str> {
        match self.event_type.as_str() {
            "DeliveryAttempted" if self.outcome() == Some("succeeded") => Some("Succeeded"),
            "CriticalFailure" => Some("CriticalFailure"),
            "Cancelled" => Some("Cancelled"),
            _ => None,
        }
    }
}

impl Request {
    /// Returns the end of the request as far as its sender is concerned: a receiver that is slower than the
    /// time limit of an attempt may still hold a connection that the sender, when paused, could not close.
    #[must_use]
    pub fn ended_for_sender(&self, delivery_timeout: Duration) -> RunTime {
        self.ended.min(self.began + delivery_timeout)
    }
}
