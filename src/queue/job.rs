//! The job: the one message of the queue.

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of the format below. A change that older workers would misread takes a new number; they
/// park such jobs, and the dispatcher publishes them again once the old workers are gone.
const FORMAT_VERSION: u8 = 1;

/// "Attempt this webhook event now": who, and at which point of its stream.
///
/// Everything else (payload, address, credentials, secret, limit) is read when the attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Message", try_from = "Message")]
pub struct Job {
    /// The webhook event to deliver.
    pub event_id: WebhookEventId,
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// The version of the event's stream that the attempt's announcement must follow.
    pub stream_version: u64,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// How many attempts of the current set have failed, for the backoff.
    pub failed_attempts: u32,
    /// How many attempts before this one have an unknown outcome, one after the other.
    pub unknown_in_a_row: u32,
    /// The term of the dispatcher that released the job; jobs of a former leader are void.
    pub epoch: u64,
    /// The version at which the destination entered its present stage (active, half open): once it has
    /// entered another, the job is void and the dispatcher releases the event anew.
    pub stage_version: u64,
    /// When the event was accepted, in milliseconds since 1970, for measuring its way through.
    pub accepted_at_ms: Option<i64>,
}

/// Bytes that are no job this program understands. Says nothing of what the bytes were.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnreadableJob {
    /// No JSON, or a field is missing or of the wrong kind.
    #[error("the message is no job: {kind} at line {line}, column {column}")]
    Malformed {
        /// What kind of mistake it is.
        kind: &'static str,
        line: usize,
        column: usize,
    },
}

impl Job {
    /// Appends the job, as it travels, to `buffer`.
    pub fn write_to(&self, buffer: &mut Vec<u8>) {
        serde_json::to_writer(buffer, self)
            .expect("numbers and ids have a JSON form, and memory takes every write");
    }

    /// Reads a job as it travels.
    pub fn read(bytes: &[u8]) -> Result<Self, UnreadableJob> {
        serde_json::from_slice(bytes).map_err(|error| UnreadableJob::Malformed {
            kind: match error.classify() {
                serde_json::error::Category::Io => "unreadable bytes",
                serde_json::error::Category::Syntax => "not JSON",
                serde_json::error::Category::Data => "unexpected content",
                serde_json::error::Category::Eof => "an early end",
            },
            line: error.line(),
            column: error.column(),
        })
    }
}

/// The job on the wire: short names, because a job is moved, stored and confirmed many times.
#[derive(Serialize, Deserialize)]
struct Message {
    v: u8,
    event: WebhookEventId,
    tenant: TenantId,
    destination: DestinationId,
    stream: u64,
    attempt: u32,
    failed: u32,
    #[serde(default, skip_serializing_if = "is_none")]
    unknown: u32,
    epoch: u64,
    stage: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<i64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes what it asks about by reference")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

impl From<Job> for Message {
    fn from(job: Job) -> Self {
        Self {
            v: FORMAT_VERSION,
            event: job.event_id,
            tenant: job.tenant_id,
            destination: job.destination_id,
            stream: job.stream_version,
            attempt: job.attempt,
            failed: job.failed_attempts,
            unknown: job.unknown_in_a_row,
            epoch: job.epoch,
            stage: job.stage_version,
            accepted: job.accepted_at_ms,
        }
    }
}

impl TryFrom<Message> for Job {
    type Error = String;

    fn try_from(message: Message) -> Result<Self, Self::Error> {
        if message.v != FORMAT_VERSION {
            return Err(format!("format version {} is not {FORMAT_VERSION}", message.v));
        }
        Ok(Self {
            event_id: message.event,
            tenant_id: message.tenant,
            destination_id: message.destination,
            stream_version: message.stream,
            attempt: message.attempt,
            failed_attempts: message.failed,
            unknown_in_a_row: message.unknown,
            epoch: message.epoch,
            stage_version: message.stage,
            accepted_at_ms: message.accepted,
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn job() -> Job {
        Job {
            event_id: Uuid::from_u128(1).into(),
            tenant_id: Uuid::from_u128(2).into(),
            destination_id: Uuid::from_u128(3).into(),
            stream_version: 4,
            attempt: 2,
            failed_attempts: 1,
            unknown_in_a_row: 0,
            epoch: 9,
            stage_version: 1,
            accepted_at_ms: Some(1_700_000_000_000),
        }
    }

    /// Written out, because processes of different releases meet on one queue.
    const WRITTEN: &str = concat!(
        r#"{"v":1,"event":"00000000-0000-0000-0000-000000000001","#,
        r#""tenant":"00000000-0000-0000-0000-000000000002","#,
        r#""destination":"00000000-0000-0000-0000-000000000003","#,
        r#""stream":4,"attempt":2,"failed":1,"epoch":9,"stage":1,"accepted":1700000000000}"#,
    );

    #[test]
    fn a_job_travels_as_compact_json() {
        let mut bytes = Vec::new();
        job().write_to(&mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), WRITTEN);
        assert_eq!(Job::read(WRITTEN.as_bytes()), Ok(job()));
    }

    #[test]
    fn a_field_that_a_later_release_adds_is_ignored() {
        let later = WRITTEN.replace(r#","epoch""#, r#","weight":3,"epoch""#);
        assert_eq!(Job::read(later.as_bytes()), Ok(job()));
    }

    #[test]
    fn unknown_outcomes_travel_along_where_there_are_any() {
        let with = WRITTEN.replace(r#","epoch""#, r#","unknown":3,"epoch""#);
        let expected = Job { unknown_in_a_row: 3, ..job() };
        assert_eq!(Job::read(with.as_bytes()), Ok(expected));
        let mut bytes = Vec::new();
        expected.write_to(&mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), with);
    }

    #[test]
    fn the_acceptance_time_may_be_missing() {
        let bare = WRITTEN.replace(r#","accepted":1700000000000"#, "");
        assert_eq!(Job::read(bare.as_bytes()), Ok(Job { accepted_at_ms: None, ..job() }));
    }

    #[test]
    fn what_is_no_job_is_told_apart_without_being_repeated() {
        for (bytes, kind) in [
            ("", "an early end"),
            ("secret", "not JSON"),
            (r#"{"v":1}"#, "unexpected content"),
            (&WRITTEN.replace(r#""v":1"#, r#""v":2"#), "unexpected content"),
            (&WRITTEN.replace(r#""stream":4"#, r#""stream":"secret""#), "unexpected content"),
        ] {
            let error = Job::read(bytes.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(kind), "{bytes}: {error}");
            assert!(!error.to_string().contains("secret"), "{bytes}: {error}");
        }
    }
}
