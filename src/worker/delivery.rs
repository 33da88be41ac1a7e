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
use chrono::{DateTime, Utc};
use thiserror::Error;

use super::AttemptBatches;
use super::claim_monitor::ClaimMonitor;
use super::outbound_client::OutboundClient;
use super::request::{Attempted, Request};
use super::settings::{Settings, SettingsCache, SettingsFailure};
use crate::clock::{self, BootTime, Present};
use crate::event_store::group_commit::CommitFailure;
use crate::event_store::{
    AttemptClaim, AttemptClaimItem, AttemptClaimOutcome, ClaimedEvent, ClaimedPayload, Metadata,
    StoredResponse, StreamAppendItem, StreamAppendResult,
};
use crate::identifiers;
use crate::queue::Job;
use crate::secrets::salt::Salt;

/// How often settings that change concurrently are read again before the job is requeued.
const SETTINGS_READ_MAX: u32 = 10;
/// First and longest pause before reading a payload or recording an outcome is tried again. The pauses of recording
/// double in between.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(250);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Processes jobs; shared by all attempts of a worker.
pub(super) struct AttemptRunner {
    /// Name of the worker in facts.
    pub(super) name: String,
    pub(super) client: OutboundClient,
    pub(super) settings: SettingsCache,
    pub(super) batches: AttemptBatches,
    pub(super) claim_monitor: ClaimMonitor,
    pub(super) backoff: Backoff,
    /// Time limit of an attempt, from its claim.
    pub(super) timeout: Duration,
    /// Time between the claim and the request after which the request is not sent any more.
    pub(super) delay_max: Duration,
    /// Time for which recording an outcome is tried.
    pub(super) record_timeout: Duration,
}

/// A claim that was granted, with what the attempt needs.
pub(super) struct Claimed {
    settings: Arc<Settings>,
    at: DateTime<Utc>,
    /// When the claim began. The dispatcher reads of the claim later, and waits for as long as the time limit from
    /// then on.
    began: BootTime,
}

/// Error of processing a job. Except for `Outcome`, no request was sent.
#[derive(Debug, Error)]
pub(super) enum DeliveryFailure {
    #[error("the settings of the attempt cannot be read")]
    Settings(#[from] SettingsFailure),
    #[error("the attempt cannot be claimed")]
    AttemptClaim(#[source] CommitFailure),
    /// The attempt is claimed: the dispatcher finds it without an outcome and retries the event.
    #[error("the payload of the attempt cannot be read")]
    Payload(#[source] CommitFailure),
    /// The settings changed each time they were read.
    #[error("the destination's settings keep changing")]
    SettingsKeepChanging,
    /// The request was sent. The dispatcher finds an attempt without an outcome and retries the event.
    #[error("the outcome of the attempt cannot be recorded")]
    Outcome(#[source] CommitFailure),
    #[error("a fact cannot be written as JSON")]
    Fact(#[from] serde_json::Error),
}

/// Result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobResult {
    /// An attempt was made and recorded.
    Attempted(Outcome),
    /// An attempt was made, but the dispatcher had given it up before the outcome was recorded.
    TooLate,
}

impl AttemptRunner {
    /// Makes an attempt that was claimed, with its payload unless that was erased, and records its outcome.
    ///
    /// # Errors
    /// When its outcome was not recorded.
    pub(super) async fn attempt_and_record(
        &self,
        job: &Job,
        claimed: Claimed,
        payload: Option<ClaimedPayload>,
    ) -> Result<JobResult, DeliveryFailure> {
        let settings = Arc::clone(&claimed.settings);
        let attempted = self.attempt(job, claimed, payload).await;
        let report = &attempted.report;
        let outcome = report.outcome;
        metrics::counter!("hooksentry_attempts_total", "outcome" => outcome.name()).increment(1);
        metrics::histogram!("hooksentry_attempt_seconds")
            .record(Duration::from_millis(report.duration_ms).as_secs_f64());
        match self.record(job, &settings, attempted).await? {
            StreamAppendResult::Recorded => Ok(JobResult::Attempted(outcome)),
            StreamAppendResult::Conflict => Ok(JobResult::TooLate),
        }
    }

    /// Claims the attempt with the current settings; `None` when the job is a duplicate or void.
    ///
    /// # Errors
    /// When the attempt cannot be claimed now. The job is still valid.
    pub(super) async fn claim(&self, job: &Job) -> Result<Option<Claimed>, DeliveryFailure> {
        let mut settings = self.settings.get(job.destination_id).await?;
        for _ in 0..SETTINGS_READ_MAX {
            match settings.stage_version.cmp(&job.stage_version) {
                Ordering::Equal => {}
                // The destination was suspended, probed, disabled or enabled since, or got another limit: the job
                // is void, and the dispatcher has taken it back.
                Ordering::Greater => return Ok(None),
                // The cached settings are older than those that the dispatcher used.
                Ordering::Less => {
                    settings = self.settings.read(job.destination_id).await?;
                    // So is the read model. The delivery does not wait for it.
                    if settings.stage_version < job.stage_version {
                        settings = self.settings.read_from_log(job.destination_id).await?;
                    }
                    continue;
                }
            }
            if settings.tenant_is_suspended {
                // The cached settings and the read model may be older than a resumption.
                settings = self.settings.read_from_log(job.destination_id).await?;
                if settings.tenant_is_suspended {
                    return Ok(None);
                }
                continue;
            }
            let Present { wall: at, boot: began } = Present::read();
            let item = self.claim_item(job, &settings, at)?;
            match self.batches.claims.commit(item).await.map_err(DeliveryFailure::AttemptClaim)? {
                AttemptClaimOutcome::Won => return Ok(Some(Claimed { settings, at, began })),
                AttemptClaimOutcome::Lost => return Ok(None),
                AttemptClaimOutcome::SettingsChanged => {
                    settings = self.settings.read(job.destination_id).await?
                }
            }
        }
        Err(DeliveryFailure::SettingsKeepChanging)
    }

    /// Returns the claim of an attempt that starts at `at`.
    fn claim_item(
        &self,
        job: &Job,
        settings: &Settings,
        at: DateTime<Utc>,
    ) -> Result<AttemptClaimItem, serde_json::Error> {
        let fact = WebhookEventFact::DeliveryStarted {
            destination_id: job.destination_id,
            attempt: job.attempt,
            worker: self.name.clone(),
            destination_version: settings.destination_version,
            tenant_version: settings.tenant_version,
            timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
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
        AttemptClaimItem::new(claim, &fact, &Metadata::of_role(job.tenant_id, "worker"))
    }

    /// Returns the claim of the first attempt of an event that is about to be accepted, with what the attempt needs; `None` if
    /// it cannot be made before something is read.
    pub(super) fn first_claim(&self, job: &Job) -> Option<(AttemptClaimItem, Claimed)> {
        let settings = self.settings.cached(job.destination_id)?;
        if settings.stage_version != job.stage_version || settings.tenant_is_suspended {
            return None;
        }
        let Present { wall: at, boot: began } = Present::read();
        let item = self.claim_item(job, &settings, at).ok()?;
        Some((item, Claimed { settings, at, began }))
    }

    /// Reads the payload of an attempt that was claimed; `None` when it was erased. Retries for as long as the request may
    /// still be sent.
    ///
    /// # Errors
    /// When it cannot be read. The attempt has no outcome then.
    pub(super) async fn payload(
        &self,
        job: &Job,
        claimed: &Claimed,
    ) -> Result<Option<ClaimedPayload>, DeliveryFailure> {
        let event = ClaimedEvent { event_id: job.event_id, tenant_id: job.tenant_id };
        if let Some(payload) = self.batches.recent_payloads.take(event) {
            return Ok(Some(payload));
        }
        loop {
            match self.batches.payloads.commit(event).await {
                Ok(payload) => return Ok(payload),
                Err(CommitFailure::Database(_) | CommitFailure::Away)
                    if claimed.began.elapsed() < self.delay_max =>
                {
                    tokio::time::sleep(RETRY_PAUSE_MIN).await;
                }
                Err(failure) => return Err(DeliveryFailure::Payload(failure)),
            }
        }
    }

    /// Sends the request, unless the claim is so old that too little of its time limit is left.
    async fn attempt(&self, job: &Job, claimed: Claimed, payload: Option<ClaimedPayload>) -> Attempted {
        let Claimed { settings, at, began } = claimed;
        let Some(payload) = payload else {
            let detail = Some("the payload was erased".to_owned());
            return AttemptReport::without_answer(Outcome::PayloadErased, 0, detail).into();
        };
        let sending = match &settings.sending {
            Ok(sending) => sending,
            Err(reason) => {
                return AttemptReport::without_answer(Outcome::Credentials, 0, Some(reason.clone())).into();
            }
        };
        let request = Request {
            tenant_id: job.tenant_id,
            destination_id: job.destination_id,
            event_id: job.event_id,
            attempt: job.attempt,
            url: sending.url.clone(),
            body: payload.bytes,
            hops: payload.hops,
            secrets: sending.secrets_at(at),
            credentials: sending.credentials.clone(),
            traceparent: Some(traceparent(job)),
            at,
        };
        let delay = began.elapsed();
        if delay > self.delay_max {
            let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(event.id = %job.event_id, delay_ms, "an attempt was claimed too long ago to be sent");
            let detail = Some("the worker was held up after it claimed the attempt".to_owned());
            return AttemptReport::without_answer(Outcome::NotSent, delay_ms, detail).into();
        }
        self.client.attempt_within(&request, self.timeout.saturating_sub(delay)).await
    }

    /// Records the outcome; retries while the database is unavailable.
    async fn record(
        &self,
        job: &Job,
        settings: &Settings,
        attempted: Attempted,
    ) -> Result<StreamAppendResult, DeliveryFailure> {
        let response = stored_response(job, &attempted)?;
        let response_hmac_sha256 =
            response.as_ref().map(|kept| kept.salt.commitment_to(kept.json.as_bytes()));
        let report = AttemptReport { response_hmac_sha256, ..attempted.report };
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
        let item = StreamAppendItem::new(job.event_id, job.stream_version + 1, &facts, &metadata)?
            .with_response(response);
        let (began, mut pause) = (BootTime::now(), RETRY_PAUSE_MIN);
        loop {
            match self.batches.outcomes.commit(item.clone()).await {
                Ok(result) => return Ok(result),
                Err(failure @ (CommitFailure::Database(_) | CommitFailure::Away))
                    if began.elapsed() < self.record_timeout =>
                {
                    if pause == RETRY_PAUSE_MIN {
                        tracing::warn!(error = ?failure, event.id = %job.event_id, "recording an outcome failed, retrying");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(RETRY_PAUSE_MAX);
                }
                Err(failure) => return Err(DeliveryFailure::Outcome(failure)),
            }
        }
    }
}

/// Returns what to store of the response to an attempt; `None` if that is nothing.
fn stored_response(job: &Job, attempted: &Attempted) -> Result<Option<StoredResponse>, serde_json::Error> {
    if attempted.response.is_empty() {
        return Ok(None);
    }
    Ok(Some(StoredResponse {
        event_id: job.event_id,
        attempt: job.attempt,
        tenant_id: job.tenant_id,
        json: serde_json::to_string(&attempted.response)?,
        salt: Salt::random(),
    }))
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
