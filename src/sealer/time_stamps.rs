//! Time stamps of an authority over the checkpoints of the installation's log (RFC 3161).
//!
//! At most once in an interval, the leader has the checkpoint that is shown stamped, if it was not before. The authority sees
//! a hash and nothing else. Its answer is stored if it grants the request; the signature is verified by who relies on the
//! time. As with witnesses, nothing waits for the authority, and no connection is held while the request waits.

use std::convert::Infallible;
use std::time::Duration;

use evidence::timestamp::{QUERY_MEDIA_TYPE, TimestampError, TimestampRequest};
use projections::checkpoints::{self, CheckpointFailure};
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use sqlx::PgPool;
use thiserror::Error;
use tokio::time::sleep;
use url::Url;

use super::outbound::{Outbound, RequestFailure};
use super::standing::Standing;
use super::{ROLE, term};
use crate::config::EvidenceSettings;
use crate::database;
use crate::evidence_log::{self, Unstamped};

/// Interval at which a new checkpoint is looked for when a time stamp is due.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A time stamping authority.
#[derive(Clone, Debug)]
pub struct TimeStamping {
    url: Url,
    interval: Duration,
    outbound: Outbound,
}

/// Reason why there is no time stamp.
#[derive(Debug, Error)]
enum StampFailure {
    #[error(transparent)]
    Request(#[from] RequestFailure),
    #[error("it refused with the HTTP status {0}")]
    Status(StatusCode),
    #[error(transparent)]
    Answer(#[from] TimestampError),
    #[error("the checkpoint cannot be read or the time stamp stored")]
    Database(#[from] sqlx::Error),
    #[error("another process has the lead")]
    Lead(#[from] CheckpointFailure),
}

impl StampFailure {
    /// Label of the metric.
    fn result(&self) -> &'static str {
        match self {
            Self::Request(RequestFailure::Late(_) | RequestFailure::Unreachable(_)) => "unreachable",
            Self::Status(_) | Self::Answer(TimestampError::Refused(_)) => "refused",
            Self::Request(RequestFailure::TooLong) | Self::Answer(_) => "invalid",
            Self::Database(_) | Self::Lead(_) => "failed",
        }
    }
}

impl TimeStamping {
    /// Returns the authority of the settings; `None` if none is configured.
    ///
    /// # Errors
    /// When no trusted certificate authorities are found.
    pub fn of(settings: &EvidenceSettings) -> Result<Option<Self>, reqwest::Error> {
        let Some(url) = settings.tsa_url.clone() else { return Ok(None) };
        let outbound = Outbound::new(settings.evidence_timeout)?;
        Ok(Some(Self { url, interval: settings.tsa_interval, outbound }))
    }

    /// Has checkpoints stamped during a term, until it is dropped.
    pub(super) async fn keep_stamped(&self, pool: &PgPool, epoch: u64) -> Infallible {
        let mut standing = Standing::default();
        loop {
            let pause = match self.stamp_if_due(pool, epoch).await {
                Ok(pause) => {
                    if standing.succeeded() {
                        tracing::info!("checkpoints get time stamps again");
                    }
                    pause
                }
                Err(failure) => {
                    count(failure.result());
                    let reason = format!("{:#}", anyhow::Error::from(failure));
                    let failed = standing.failed(&reason);
                    if failed.is_new {
                        tracing::warn!(reason, "the checkpoint gets no time stamp, will retry");
                    }
                    failed.pause
                }
            };
            sleep(pause).await;
        }
    }

    /// Has the checkpoint that is shown stamped, if that is due. Returns the time until it may be due.
    async fn stamp_if_due(&self, pool: &PgPool, epoch: u64) -> Result<Duration, StampFailure> {
        let read = async {
            let mut connection = pool.acquire().await?;
            let age = evidence_log::last_stamp_age(&mut connection).await?;
            Ok::<_, sqlx::Error>((age, evidence_log::unstamped_checkpoint(&mut connection).await?))
        };
        let (age, checkpoint) = database::in_time(database::SHORT, read).await?;
        let due_in = age.map_or(Duration::ZERO, |age| self.interval.saturating_sub(age));
        let Some(checkpoint) = checkpoint.filter(|_| due_in.is_zero()) else {
            return Ok(due_in.max(LOOK_INTERVAL.min(self.interval)));
        };
        let request = TimestampRequest::new(checkpoint.note.as_bytes(), rand::random());
        let query = HeaderValue::from_static(QUERY_MEDIA_TYPE);
        let answer = self.outbound.post(&self.url, query, request.to_der()?).await?;
        if answer.status != StatusCode::OK {
            return Err(StampFailure::Status(answer.status));
        }
        request.accept(&answer.body)?;
        let stored = store(pool, epoch, &checkpoint, &answer.body);
        database::in_time(database::SHORT, stored).await?;
        count("granted");
        Ok(self.interval)
    }
}

async fn store(pool: &PgPool, epoch: u64, checkpoint: &Unstamped, answer: &[u8]) -> Result<(), StampFailure> {
    let mut connection = pool.acquire().await?;
    let mut transaction = term::begin(&mut connection).await?;
    checkpoints::keep(&mut transaction, &[ROLE], epoch).await?;
    evidence_log::insert_timestamp(&mut transaction, checkpoint, answer).await?;
    Ok(transaction.commit().await?)
}

fn count(result: &'static str) {
    metrics::counter!("hooksentry_time_stamps_total", "result" => result).increment(1);
}
