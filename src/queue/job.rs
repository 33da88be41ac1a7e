//! The job: the only message of the queue.

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of the format below. A change that older workers would misread needs a new version; they park such
/// jobs, and the dispatcher publishes them again later.
const FORMAT_VERSION: u8 = 1;

/// A request to attempt a webhook event now, at a version of its stream.
///
/// Everything else (payload, address, credentials, secret, limit) is read when the attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "Message", try_from = "Message")]
pub struct Job {
    pub event_id: WebhookEventId,
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// Version of the event's stream that `DeliveryStarted` must follow.
    pub stream_version: u64,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Number of failed attempts since the event was accepted or replayed, for the backoff.
    pub failed_attempts: u32,
    /// Number of consecutive attempts before this one whose outcome is unknown.
    pub unknown_in_a_row: u32,
    /// Epoch of the dispatcher that released the job; jobs of a former leader are void.
    pub epoch: u64,
    /// Version at which the destination entered its current stage (active, half open) or got its limit. Once
    /// it has entered another or got another, the job is void and the dispatcher releases the event again.
    pub stage_version: u64,
}

/// Error of a message that is not a valid job. Does not repeat the message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("message is not a valid job: {kind} at line {line}, column {column}")]
pub struct UnreadableJob {
    kind: &'static str,
    line: usize,
    column: usize,
}

impl Job {
    /// Appends the job as JSON to `buffer`.
    pub fn write_to(&self, buffer: &mut Vec<u8>) {
        serde_json::to_writer(buffer, self)
            .expect("numbers and ids have a JSON form, and writing to memory does not fail");
    }

    /// Parses a job from JSON.
    ///
    /// # Errors
    /// When the bytes are not a job of this version of the format.
    pub fn read(bytes: &[u8]) -> Result<Self, UnreadableJob> {
        serde_json::from_slice(bytes).map_err(|error| UnreadableJob {
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

/// Wire format of a job. Names are short because a job is copied and stored several times on its way.
#[derive(Serialize, Deserialize)]
struct Message {
    v: u8,
    event: WebhookEventId,
    tenant: TenantId,
    destination: DestinationId,
    stream: u64,
    attempt: u32,
    failed: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    unknown: u32,
    epoch: u64,
    stage: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
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
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
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
        }
    }

    /// Literal, because processes of different releases share a queue.
    const WRITTEN: &str = concat!(
        r#"{"v":1,"event":"00000000-0000-0000-0000-000000000001","#,
        r#""tenant":"00000000-0000-0000-0000-000000000002","#,
        r#""destination":"00000000-0000-0000-0000-000000000003","#,
        r#""stream":4,"attempt":2,"failed":1,"epoch":9,"stage":1}"#,
    );

    #[test]
    fn a_job_is_written_as_compact_json() {
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
    fn unknown_outcomes_are_written_if_there_are_any() {
        let with = WRITTEN.replace(r#","epoch""#, r#","unknown":3,"epoch""#);
        let expected = Job { unknown_in_a_row: 3, ..job() };
        assert_eq!(Job::read(with.as_bytes()), Ok(expected));
        let mut bytes = Vec::new();
        expected.write_to(&mut bytes);
        assert_eq!(String::from_utf8(bytes).unwrap(), with);
    }

    #[test]
    fn the_acceptance_time_of_an_earlier_release_is_ignored() {
        let earlier = WRITTEN.replace(r#""stage":1"#, r#""stage":1,"accepted":1700000000000"#);
        assert_eq!(Job::read(earlier.as_bytes()), Ok(job()));
    }

    #[test]
    fn an_invalid_message_is_described_and_not_repeated() {
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

    proptest! {
        #[test]
        fn foreign_bytes_as_a_job(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Job::read(&bytes).is_err());
        }

        /// A job with a few other bytes is refused, or it is a job that is written and read again.
        #[test]
        fn foreign_bytes_within_a_job(changes in prop::collection::vec((0..WRITTEN.len(), 0x20u8..0x7f), 1..4)) {
            let mut bytes = WRITTEN.as_bytes().to_vec();
            for (index, byte) in changes {
                bytes[index] = byte;
            }
            if let Ok(job) = Job::read(&bytes) {
                let mut written = Vec::new();
                job.write_to(&mut written);
                prop_assert_eq!(Job::read(&written), Ok(job));
            }
        }
    }
}
