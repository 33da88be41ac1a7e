//! Processing of one job: claim the attempt, make it, record its outcome.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use aggregates::Decide;
use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::backoff::Backoff;
use aggregates::webhook_event::{
    Delivery as EventDelivery, WebhookEvent, WebhookEventCommand, WebhookEventFact,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use thiserror::Error;

use super::concurrency_limit::Permit;
use super::outbound_client::OutboundClient;
use super::request::Request;
use super::settings::{Settings, SettingsCache, SettingsFailure};
use crate::event_store::group_commit::{CommitFailure, GroupCommit};
use crate::event_store::{
    AttemptClaim, AttemptClaimBatch, AttemptClaimItem, AttemptClaimOutcome, Metadata, StreamAppendBatch,
    StreamAppendItem, StreamAppendResult,
};
use crate::queue::Job;
use crate::{clock, identifiers};

/// How often settings that change concurrently are read again before the job is requeued.
const SETTINGS_READ_MAX: u32 = 40;
/// Pause before reading the settings again when the read model lags behind the dispatcher.
const READ_MODEL_WAIT: Duration = Duration::from_millis(25);
/// Time during which recording an outcome is retried, and the pause between two attempts.
const RECORD_TIMEOUT: Duration = Duration::from_secs(60);
const RECORD_RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Processes jobs; shared by all attempts of a worker.
pub(super) struct AttemptRunner {
    /// Name of the worker in facts.
    pub(super) name: String,
    pub(super) client: OutboundClient,
    pub(super) settings: SettingsCache,
    pub(super) claims: GroupCommit<AttemptClaimBatch>,
    pub(super) outcomes: GroupCommit<StreamAppendBatch>,
    pub(super) backoff: Backoff,
}

/// Error of processing a job. Except for `Outcome`, no request was sent.
#[derive(Debug, Error)]
pub(super) enum DeliveryFailure {
    #[error("the settings of the attempt cannot be read")]
    Settings(#[from] SettingsFailure),
    #[error("the attempt cannot be claimed")]
    AttemptClaim(#[source] CommitFailure),
    /// The settings changed each time they were read.
    #[error("the destination's settings keep changing")]
    SettingsKeepChanging,
    /// The request was sent. The dispatcher finds an attempt without an outcome and retries the event.
    #[error("the outcome of the attempt cannot be recorded")]
    Outcome(#[source] CommitFailure),
    #[error("a fact cannot be written as JSON")]
    Fact(#[from] serde_json::Error),
}

impl DeliveryFailure {
    /// Returns whether the attempt was not claimed, so that the job is still valid.
    pub(super) fn is_before_attempt(&self) -> bool {
        !matches!(self, Self::Outcome(_))
    }
}

/// Result of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobResult {
    /// An attempt was made and recorded.
    Attempted(Outcome),
    /// The job was a duplicate, or void; nothing was sent.
    Void,
    /// An attempt was made, but the dispatcher had given it up before the outcome was recorded.
    TooLate,
}

impl AttemptRunner {
    /// Claims the attempt, makes it, and records its outcome.
    ///
    /// # Errors
    /// When the attempt was not made, or its outcome was not recorded.
    pub(super) async fn run(&self, job: &Job, permit: &mut Permit) -> Result<JobResult, DeliveryFailure> {
        let claimed = self.claim(job).await;
        let payload = claimed.as_ref().ok().and_then(|claimed| claimed.as_ref()?.1.as_ref());
        permit.claimed(payload.map_or(0, Vec::len));
        let Some((settings, payload, started)) = claimed? else { return Ok(JobResult::Void) };
        let report = self.attempt(job, &settings, payload, started).await;
        let outcome = report.outcome;
        metrics::counter!("hooksentry_attempts_total", "outcome" => outcome.name()).increment(1);
        metrics::histogram!("hooksentry_attempt_seconds")
            .record(Duration::from_millis(report.duration_ms).as_secs_f64());
        match self.record(job, &settings, report).await? {
            StreamAppendResult::Recorded => Ok(JobResult::Attempted(outcome)),
            StreamAppendResult::Conflict => Ok(JobResult::TooLate),
        }
    }

    /// Claims the attempt with the current settings. Returns the settings, the payload and the time of the
    /// claim; `None` when the job is void.
    async fn claim(
        &self,
        job: &Job,
    ) -> Result<Option<(Arc<Settings>, Option<Vec<u8>>, DateTime<Utc>)>, DeliveryFailure> {
        let mut settings = self.settings.get(job.destination_id).await?;
        for _ in 0..SETTINGS_READ_MAX {
            match settings.stage_version.cmp(&job.stage_version) {
                Ordering::Equal => {}
                // The destination was suspended, probed, disabled or enabled since: the job is void, and the
                // dispatcher has taken it back.
                Ordering::Greater => return Ok(None),
                // The cached settings are older than those that the dispatcher used.
                Ordering::Less => {
                    settings = self.settings.read(job.destination_id).await?;
                    if settings.stage_version < job.stage_version {
                        tokio::time::sleep(READ_MODEL_WAIT).await;
                    }
                    continue;
                }
            }
            let at = clock::now();
            let fact = WebhookEventFact::DeliveryStarted {
                destination_id: job.destination_id,
                attempt: job.attempt,
                worker: self.name.clone(),
                destination_version: settings.destination_version,
                tenant_version: settings.tenant_version,
                at,
            };
            let claim = AttemptClaim {
                event_id: job.event_id,
                expected_version: job.stream_version,
                epoch: job.epoch,
                destination_id: job.destination_id,
                destination_version: settings.destination_version,
                tenant_id: job.tenant_id,
                tenant_version: settings.tenant_version,
            };
            let item = AttemptClaimItem::new(claim, &fact, &Metadata::of_role(job.tenant_id, "worker"))?;
            match self.claims.commit(item).await.map_err(DeliveryFailure::AttemptClaim)? {
                AttemptClaimOutcome::Won(payload) => return Ok(Some((settings, payload, at))),
                AttemptClaimOutcome::Lost => return Ok(None),
                AttemptClaimOutcome::SettingsChanged => {
                    settings = self.settings.read(job.destination_id).await?
                }
            }
        }
        Err(DeliveryFailure::SettingsKeepChanging)
    }

    async fn attempt(
        &self,
        job: &Job,
        settings: &Settings,
        payload: Option<Vec<u8>>,
        at: DateTime<Utc>,
    ) -> AttemptReport {
        let Some(payload) = payload else {
            let detail = Some("the payload was erased".to_owned());
            return AttemptReport::without_answer(Outcome::PayloadErased, 0, detail);
        };
        let sending = match &settings.sending {
            Ok(sending) => sending,
            Err(reason) => {
                return AttemptReport::without_answer(Outcome::Credentials, 0, Some(reason.clone()));
            }
        };
        let request = Request {
            destination_id: job.destination_id,
            event_id: job.event_id,
            attempt: job.attempt,
            url: sending.url.clone(),
            body: Bytes::from(payload),
            secrets: sending.secrets_at(at),
            credentials: sending.credentials.clone(),
            traceparent: Some(traceparent(job)),
            at,
        };
        self.client.attempt(&request).await
    }

    /// Records the outcome; retries while the database is unavailable.
    async fn record(
        &self,
        job: &Job,
        settings: &Settings,
        report: AttemptReport,
    ) -> Result<StreamAppendResult, DeliveryFailure> {
        let delivering = WebhookEvent::Delivering(EventDelivery {
            destination_id: job.destination_id,
            attempts: job.attempt,
            failed_attempts: job.failed_attempts,
            unknown_in_a_row: job.unknown_in_a_row,
        });
        let facts = delivering
            .decide(WebhookEventCommand::RecordAttempt {
                report,
                backoff: self.backoff,
                max_attempts: settings.max_attempts,
                jitter_sample: identifiers::random_fraction(),
                at: clock::now(),
            })
            // Never refused: the event is in delivery.
            .unwrap_or_default();
        let metadata = Metadata::of_role(job.tenant_id, "worker");
        let item = StreamAppendItem::new(job.event_id, job.stream_version + 1, &facts, &metadata)?;
        let deadline = tokio::time::Instant::now() + RECORD_TIMEOUT;
        loop {
            match self.outcomes.commit(item.clone()).await {
                Ok(result) => return Ok(result),
                Err(failure @ CommitFailure::Database(_)) if tokio::time::Instant::now() < deadline => {
                    tracing::warn!(error = ?failure, event.id = %job.event_id, "recording an outcome failed, retrying");
                    tokio::time::sleep(RECORD_RETRY_INTERVAL).await;
                }
                Err(failure) => return Err(DeliveryFailure::Outcome(failure)),
            }
        }
    }
}

/// Returns the W3C trace context of an attempt. The trace id is the id of the webhook event, so all attempts
/// of an event, and the spans of its receivers, are in one trace that can be found by the event's id.
///
/// The trace of the request that was accepted is not continued: its id is only in the metadata of
/// `EventAccepted`, and reading it would cost every attempt a lookup in the log.
fn traceparent(job: &Job) -> String {
    let span = u64::from(job.attempt).to_be_bytes();
    let event = job.event_id.0.as_bytes();
    let span: Vec<u8> = span.iter().zip(&event[8..]).map(|(attempt, id)| attempt ^ id).collect();
    format!("00-{}-{}-01", hex::encode(event), hex::encode(span))
}
