//! One job, from the queue to its outcome in the log.

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

/// How often settings that change under our hands are read again before the job goes back.
const SETTINGS_READ_MAX: u32 = 40;
/// How long to wait for the read model when the dispatcher knows more than it shows.
const READ_MODEL_WAIT: Duration = Duration::from_millis(25);
/// How long an outcome that cannot be recorded is tried again, and how often.
const RECORD_FOR: Duration = Duration::from_secs(60);
const RECORD_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Everything an attempt needs, shared by all attempts of a worker.
pub(super) struct Deliverer {
    pub(super) name: String,
    pub(super) client: OutboundClient,
    pub(super) settings: SettingsCache,
    pub(super) claims: GroupCommit<AttemptClaimBatch>,
    pub(super) outcomes: GroupCommit<StreamAppendBatch>,
    pub(super) backoff: Backoff,
}

/// Why a job is not done. Nothing was sent unless it says so.
#[derive(Debug, Error)]
pub(super) enum DeliveryFailure {
    /// The attempt never began: the job may go back to the queue.
    #[error("the attempt did not begin")]
    Settings(#[from] SettingsFailure),
    /// The attempt was not announced: the job may go back to the queue.
    #[error("the attempt was not announced")]
    AttemptClaim(#[source] CommitFailure),
    /// The settings changed each time they were read.
    #[error("the destination's settings keep changing")]
    SettingsKeepChanging,
    /// The request was made and its outcome could not be recorded. The dispatcher will find an attempt
    /// without outcome and retry the event.
    #[error("the outcome of an attempt could not be recorded")]
    Outcome(#[source] CommitFailure),
    /// A fact has no JSON form.
    #[error("a fact cannot be written")]
    Fact(#[from] serde_json::Error),
}

impl DeliveryFailure {
    /// Whether nothing was announced yet, so that the job is still worth something.
    pub(super) fn is_before_the_attempt(&self) -> bool {
        !matches!(self, Self::Outcome(_))
    }
}

/// What became of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// An attempt was made and recorded.
    Attempted(Outcome),
    /// The job was a copy, or void: there was nothing to do.
    Dropped,
    /// The attempt was made, but the dispatcher had given it up before the outcome was recorded.
    TooLate,
}

impl Deliverer {
    /// Announces, attempts, records. Once announced, it sees the attempt through.
    pub(super) async fn deliver(&self, job: &Job, place: &mut Permit) -> Result<Done, DeliveryFailure> {
        let announced = self.announce(job).await;
        let payload = announced.as_ref().ok().and_then(|announced| announced.as_ref()?.1.as_ref());
        place.announced(payload.map_or(0, Vec::len));
        let Some((settings, payload, started)) = announced? else { return Ok(Done::Dropped) };
        let report = self.attempt(job, &settings, payload, started).await;
        let outcome = report.outcome;
        metrics::counter!("hooksentry_attempts_total", "outcome" => outcome.name()).increment(1);
        metrics::histogram!("hooksentry_attempt_seconds")
            .record(Duration::from_millis(report.duration_ms).as_secs_f64());
        match self.record(job, &settings, report).await? {
            StreamAppendResult::Recorded => Ok(Done::Attempted(outcome)),
            StreamAppendResult::Conflict => Ok(Done::TooLate),
        }
    }

    /// Wins the claim, by the settings in force, or finds that there is nothing to do.
    async fn announce(
        &self,
        job: &Job,
    ) -> Result<Option<(Arc<Settings>, Option<Vec<u8>>, DateTime<Utc>)>, DeliveryFailure> {
        let mut settings = self.settings.get(job.destination_id).await?;
        for _ in 0..SETTINGS_READ_MAX {
            match settings.stage_version.cmp(&job.stage_version) {
                Ordering::Equal => {}
                // The destination was suspended, probed, switched off or on since: the job is void, and
                // the dispatcher has taken it back.
                Ordering::Greater => return Ok(None),
                // The settings at hand are older than what the dispatcher went by.
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

    /// Records the outcome, again and again while the database is away.
    async fn record(
        &self,
        job: &Job,
        settings: &Settings,
        report: AttemptReport,
    ) -> Result<StreamAppendResult, DeliveryFailure> {
        let under_way = WebhookEvent::Delivering(EventDelivery {
            destination_id: job.destination_id,
            attempts: job.attempt,
            failed_attempts: job.failed_attempts,
            unknown_in_a_row: job.unknown_in_a_row,
        });
        let facts = under_way
            .decide(WebhookEventCommand::RecordAttempt {
                report,
                backoff: self.backoff,
                max_attempts: settings.max_attempts,
                jitter_sample: identifiers::random_fraction(),
                at: clock::now(),
            })
            // An event in delivery takes an outcome: the state above says that it is.
            .unwrap_or_default();
        let metadata = Metadata::of_role(job.tenant_id, "worker");
        let item = StreamAppendItem::new(job.event_id, job.stream_version + 1, &facts, &metadata)?;
        let deadline = tokio::time::Instant::now() + RECORD_FOR;
        loop {
            match self.outcomes.commit(item.clone()).await {
                Ok(result) => return Ok(result),
                Err(failure @ CommitFailure::Database(_)) if tokio::time::Instant::now() < deadline => {
                    tracing::warn!(error = ?failure, event.id = %job.event_id, "an outcome is not recorded yet; trying again");
                    tokio::time::sleep(RECORD_AGAIN_AFTER).await;
                }
                Err(failure) => return Err(DeliveryFailure::Outcome(failure)),
            }
        }
    }
}

/// The W3C trace context of an attempt. The trace is the webhook event's: every attempt of it, and
/// whatever the receiver does with it, belongs together.
fn traceparent(job: &Job) -> String {
    let span = u64::from(job.attempt).to_be_bytes();
    let event = job.event_id.0.as_bytes();
    let span: Vec<u8> = span.iter().zip(&event[8..]).map(|(attempt, id)| attempt ^ id).collect();
    format!("00-{}-{}-01", hex::encode(event), hex::encode(span))
}
