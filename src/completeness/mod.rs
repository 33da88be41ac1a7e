//! The completeness check: every accepted event has ended, or will be delivered.
//!
//! Accepted = succeeded + critically failed + cancelled + in progress. The check finds the events that break this
//! equation, for any reason. It compares three sources that are written independently of each other: the log,
//! the read model `webhook_events`, and the dispatcher's table `due_deliveries`. Two walks are repeated, in steps:
//!
//! 1. Along the log: each `EventAccepted` has a row in the read model, unless retention removed it. It lags by five to
//!    ten minutes.
//! 2. Along the unfinished events of the read model: each has a row in `due_deliveries`, from which the dispatcher
//!    releases it.
//!
//! A difference is judged only when it cannot be a delay: both readers have read all facts that are older than
//! [`SETTLED_AFTER`], and the event has had no fact since. While a reader is further behind, nothing is judged; its
//! lag is reported elsewhere. Events that break the equation are in the table `unaccounted_events` until a later step
//! finds that they are accounted for again, for example after a rebuild. The API's health and a metric show their
//! number.
//!
//! The check reads the log by itself, with a position of its own: it shares no cache with the readers that it checks.
//! It runs in every process with the role `projector`, and one of them makes each step.

mod judgement;
mod walks;

use std::time::Duration;

use chrono::{DateTime, Utc};
use projections::checkpoints;
use projections::{LogPosition, Projection, TransactionId};
use sqlx::{PgConnection, PgPool};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::dispatcher;
use crate::event_store;
use judgement::judge;
use walks::{LogProgress, accepted_without_row, unfinished_and_not_due};

/// Time after which a difference is no delay. Longer than any statement or lease of the service lasts.
const SETTLED_AFTER: Duration = Duration::from_secs(300);
/// Time between two steps, over all processes.
const STEP_INTERVAL: Duration = Duration::from_secs(2);
/// Time within which a step must end.
const STEP_TIME_MAX: Duration = Duration::from_secs(30);
/// Number of unaccounted events from which no further ones are searched for.
const UNACCOUNTED_MAX: usize = 1_000;

/// The completeness check of one process.
#[derive(Debug)]
pub struct CompletenessCheck {
    pool: PgPool,
}

/// Result of the completeness check, by all processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completeness {
    /// Number of unaccounted events.
    pub unaccounted: u64,
    /// When every event had been examined; `None`: never yet.
    pub completed_at: Option<DateTime<Utc>>,
}

/// Progress of the two walks.
struct Progress {
    log: LogProgress,
    /// The last unfinished event that was examined.
    unfinished: UnfinishedPosition,
}

/// Position in the order of unfinished events.
#[derive(Clone, Copy, Default)]
struct UnfinishedPosition {
    tenant_id: Uuid,
    destination_id: Uuid,
    event_id: Uuid,
}

impl CompletenessCheck {
    /// Creates a check of the database of `pool`.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    /// Makes steps until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(STEP_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_logged = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let step = tokio::select! {
                () = stop.cancelled() => return,
                step = timeout(STEP_TIME_MAX, self.measured_step()) => step,
            };
            let failure: anyhow::Error = match step {
                Ok(Ok(())) => {
                    is_logged = false;
                    continue;
                }
                Ok(Err(failure)) => failure.into(),
                Err(elapsed) => elapsed.into(),
            };
            if !is_logged {
                tracing::warn!(error = ?failure, "a step of the completeness check failed, will retry");
            }
            is_logged = true;
        }
    }

    async fn measured_step(&self) -> Result<(), sqlx::Error> {
        self.step().await?;
        let completeness = look(&self.pool).await?;
        metrics::gauge!("hooksentry_unaccounted_events").set(completeness.unaccounted as f64);
        if let Some(completed_at) = completeness.completed_at {
            let completed_at = completed_at.timestamp_millis() as f64 / 1_000.0;
            metrics::gauge!("hooksentry_completeness_checked_timestamp_seconds").set(completed_at);
        }
        Ok(())
    }

    /// Makes one step, unless another process has just made one or a reader of the log is behind.
    async fn step(&self) -> Result<(), sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        // Progress that is lost in a crash is made again.
        sqlx::query!("SELECT set_config('synchronous_commit', 'off', true) AS commit")
            .fetch_one(&mut *transaction)
            .await?;
        event_store::mark_non_appending(&mut transaction).await?;
        let Some(progress) = begin_step(&mut transaction).await? else { return Ok(()) };
        let Some(settled_before) = settled_before(&mut transaction).await? else {
            return transaction.commit().await;
        };
        let known = unaccounted_events(&mut transaction).await?;
        let mut suspects = known.clone();
        if known.len() < UNACCOUNTED_MAX {
            let log = accepted_without_row(&mut transaction, progress.log, settled_before).await?;
            let unfinished =
                unfinished_and_not_due(&mut transaction, progress.unfinished, settled_before).await?;
            let is_complete = log.is_last && unfinished.is_last;
            let progress = Progress { log: log.until, unfinished: unfinished.until };
            save(&mut transaction, &progress, is_complete).await?;
            suspects.extend(log.suspects.into_iter().chain(unfinished.suspects));
        }
        if !suspects.is_empty() {
            judge(&mut transaction, &known, &suspects, settled_before).await?;
        }
        transaction.commit().await
    }
}

/// Returns the result of the check, in any process.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.completeness.look", level = "trace", skip_all, err(level = "debug"))]
pub async fn look(pool: &PgPool) -> Result<Completeness, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT
            (SELECT count(*) FROM unaccounted_events) AS "unaccounted!",
            (SELECT completed_at FROM completeness_check) AS completed_at
        "#
    )
    .fetch_one(pool)
    .await?;
    let unaccounted = u64::try_from(row.unaccounted).unwrap_or_default();
    Ok(Completeness { unaccounted, completed_at: row.completed_at })
}

/// Begins a step and excludes others until the transaction ends. Returns `None` if it is too early for one.
#[tracing::instrument(name = "db.completeness.begin", level = "trace", skip_all, err(level = "debug"))]
async fn begin_step(connection: &mut PgConnection) -> Result<Option<Progress>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        UPDATE completeness_check
        SET stepped_at = clock_timestamp()
        WHERE is_only_row = (
            SELECT is_only_row
            FROM completeness_check
            WHERE stepped_at <= clock_timestamp() - make_interval(secs => $1)
            FOR UPDATE SKIP LOCKED
        )
        RETURNING
            transaction_id AS "transaction_id: TransactionId", position,
            bound_transaction_id AS "bound_transaction_id: TransactionId", bound_position,
            tenant_id, destination_id, event_id
        "#,
        // A little less, because the timers of the processes are not exact.
        0.9 * STEP_INTERVAL.as_secs_f64(),
    )
    .fetch_optional(connection)
    .await?;
    let position = |transaction_id, position| LogPosition { transaction_id, position };
    Ok(row.map(|row| Progress {
        log: LogProgress {
            after: position(row.transaction_id, row.position),
            bound: row.bound_transaction_id.zip(row.bound_position).map(|(id, number)| position(id, number)),
        },
        unfinished: UnfinishedPosition {
            tenant_id: row.tenant_id,
            destination_id: row.destination_id,
            event_id: row.event_id,
        },
    }))
}

/// Returns the time up to which both readers have read the log, by its own clock. Returns `None` if one of them has
/// not read everything that is older than [`SETTLED_AFTER`].
async fn settled_before(connection: &mut PgConnection) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    let settled_before = sqlx::query_scalar!(
        r#"SELECT clock_timestamp() - make_interval(secs => $1) AS "settled_before!""#,
        SETTLED_AFTER.as_secs_f64(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let readers = [Projection::WebhookEvents.name(), dispatcher::READER_NAME];
    let lags = checkpoints::lag(connection, &readers).await?;
    let is_read = lags.iter().all(|lag| lag.halted_because.is_none() && lag.age <= SETTLED_AFTER);
    Ok(is_read.then_some(settled_before))
}

#[tracing::instrument(name = "db.completeness.unaccounted", level = "trace", skip_all, err(level = "debug"))]
async fn unaccounted_events(connection: &mut PgConnection) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("SELECT event_id FROM unaccounted_events").fetch_all(connection).await
}

#[tracing::instrument(name = "db.completeness.save", level = "trace", skip_all, err(level = "debug"))]
async fn save(
    connection: &mut PgConnection,
    progress: &Progress,
    is_complete: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        UPDATE completeness_check
        SET transaction_id = $1,
            position = $2,
            tenant_id = $3,
            destination_id = $4,
            event_id = $5,
            bound_transaction_id = $6,
            bound_position = $7,
            completed_at = CASE WHEN $8 THEN clock_timestamp() ELSE completed_at END
        ",
        progress.log.after.transaction_id as TransactionId,
        progress.log.after.position,
        progress.unfinished.tenant_id,
        progress.unfinished.destination_id,
        progress.unfinished.event_id,
        progress.log.bound.map(|bound| bound.transaction_id) as Option<TransactionId>,
        progress.log.bound.map(|bound| bound.position),
        is_complete,
    )
    .execute(connection)
    .await?;
    Ok(())
}
