//! Leader election for roles that only one process may perform at a time.
//!
//! The leader holds a PostgreSQL advisory lock on a connection of its own: when its process dies, the server
//! releases the lock and another process takes over within seconds. The server also closes the connection of
//! a leader that is paused. The lock alone is not sufficient (a paused process does not know that it has lost
//! it), so each leader also gets an epoch, a fencing token that every write checks.
//!
//! A task of its own confirms the lead every second, however long the steps of the role take. A leader drops its
//! term when [`Leadership::lost`] resolves: within about six seconds after the connection has died, silently or
//! not.

mod terms;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use projections::BigInt;
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::database;
pub(crate) use terms::{LEAD_AGAIN_AFTER, LedRole, Outage, perform};

/// Interval at which a standby process tries to acquire leadership.
const ACQUIRE_INTERVAL: Duration = Duration::from_millis(500);
/// Time the server may take to answer a confirmation before leadership counts as lost.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between confirmations.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);
/// Idle timeout of the leader's connection. Shorter: a process that is too busy to confirm loses leadership.
/// Longer: the role of a paused process is not performed for as long.
const IDLE_TIMEOUT: &str = "20s";

/// Leadership of a role, held until it is dropped.
#[derive(Debug)]
pub struct Leadership {
    epoch: u64,
    /// Why it was lost.
    lost: watch::Receiver<Option<LeadershipFailure>>,
    status: LeadershipStatus,
    // Owns the connection that holds the lock.
    _keeper: JoinSet<()>,
}

/// Leadership could not be acquired or is lost.
#[derive(Clone, Debug, Error)]
pub enum LeadershipFailure {
    #[error("leadership cannot be held without the database")]
    Database(#[source] Arc<sqlx::Error>),
    #[error("the database has not answered for {CONFIRM_TIMEOUT:?}; leadership may be lost")]
    Timeout,
}

impl From<sqlx::Error> for LeadershipFailure {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// What a process last knew about its lead, for health checks. Clones share it.
#[derive(Clone, Debug)]
pub struct LeadershipStatus(Arc<Mutex<Observed>>);

#[derive(Debug)]
struct Observed {
    leads: bool,
    answered_at: Instant,
}

impl Default for LeadershipStatus {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Observed { leads: false, answered_at: Instant::now() })))
    }
}

impl LeadershipStatus {
    /// Returns whether this process leads, as far as it knows.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.lock().leads
    }

    /// Returns how long ago the database confirmed the lead, or that another process has it.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.lock().answered_at.elapsed()
    }

    fn record(&self, leads: bool) {
        *self.lock() = Observed { leads, answered_at: Instant::now() };
    }

    fn record_loss(&self) {
        self.lock().leads = false;
    }

    fn lock(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Leadership {
    /// Waits until this process leads `role`, and reports to `status`. Safe to cancel.
    ///
    /// # Errors
    /// When the database fails or does not answer.
    pub async fn acquire(
        pool: &PgPool,
        role: &'static str,
        status: &LeadershipStatus,
    ) -> Result<Self, LeadershipFailure> {
        let mut connection = database::open(&pool.connect_options()).await?;
        // The server detects a leader whose machine is gone by TCP keep-alives, which all sessions have, and a
        // leader that hangs by the idle timeout.
        in_time(
            sqlx::query("SELECT set_config('idle_session_timeout', $1, false)")
                .bind(IDLE_TIMEOUT)
                .execute(&mut connection),
        )
        .await?;
        while !in_time(try_lock(&mut connection, role)).await? {
            status.record(false);
            tokio::time::sleep(ACQUIRE_INTERVAL).await;
        }
        let epoch = database::in_time(database::SHORT, next_epoch(&mut connection, role)).await?;
        tracing::info!(role, epoch, "leadership acquired");
        status.record(true);
        let (loss, lost) = watch::channel(None);
        let mut keeper = JoinSet::new();
        keeper.spawn(keep(connection, loss, status.clone()));
        Ok(Self { epoch, lost, status: status.clone(), _keeper: keeper })
    }

    /// Fencing epoch: how many times leadership of this role has been acquired.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Waits until leadership is lost, or may be, and returns the reason.
    pub fn lost(&self) -> impl Future<Output = LeadershipFailure> + Send + use<> {
        let mut lost = self.lost.clone();
        async move {
            // An error means that the task of the keeper has panicked.
            let reason = lost.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
            reason.unwrap_or(LeadershipFailure::Timeout)
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        self.status.record_loss();
    }
}

async fn try_lock(connection: &mut PgConnection, role: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT pg_try_advisory_lock(hashtext('hooksentry.leadership'), hashtext($1)) AS "leads!""#,
        role
    )
    .fetch_one(connection)
    .await
}

async fn next_epoch(connection: &mut PgConnection, role: &str) -> Result<u64, sqlx::Error> {
    // Waits until all writers under the old epoch have committed; later ones see the new epoch.
    let BigInt(epoch) = sqlx::query_scalar!(
        r#"SELECT begin_epoch($1, $2) AS "epoch!: BigInt""#,
        role,
        format!("process {}", std::process::id()),
    )
    .fetch_one(connection)
    .await?;
    Ok(epoch)
}

/// Confirms the lead until it is lost, and reports that.
async fn keep(
    mut connection: PgConnection,
    loss: watch::Sender<Option<LeadershipFailure>>,
    status: LeadershipStatus,
) {
    let reason = loop {
        tokio::time::sleep(CONFIRM_INTERVAL).await;
        match in_time(connection.ping()).await {
            Ok(()) => status.record(true),
            Err(reason) => break reason,
        }
    };
    status.record_loss();
    loss.send_replace(Some(reason));
}

/// Waits for an answer of the database to a statement that it answers at once.
async fn in_time<T>(answer: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, LeadershipFailure> {
    match timeout(CONFIRM_TIMEOUT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(LeadershipFailure::Timeout),
    }
}
