//! Leader election for roles that only one process may perform at a time.
//!
//! The leader holds a PostgreSQL advisory lock on a connection of its own: when its process dies, the server
//! releases the lock and another process takes over within seconds. The server also closes the connection of
//! a leader that is paused, or too busy to confirm its leadership. The lock alone is not sufficient (a paused
//! process does not know that it has lost it), so each leader also gets an epoch, a fencing token that every
//! write checks.

use std::time::Duration;

use projections::BigInt;
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::time::Instant;

/// Interval at which a standby process tries to acquire leadership.
const ACQUIRE_INTERVAL: Duration = Duration::from_millis(500);
/// Time the server may take to answer a confirmation before leadership counts as lost.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);

/// Minimum interval between confirmations.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);
/// Idle timeout of the leader's connection. Shorter: a slow step loses leadership. Longer: the role of a
/// paused process is not performed for as long.
const IDLE_TIMEOUT: &str = "20s";

/// Leadership of a role, held until it is dropped.
#[derive(Debug)]
pub struct Leadership {
    connection: PgConnection,
    epoch: u64,
    confirmed: Instant,
}

/// Leadership could not be acquired or is lost.
#[derive(Debug, Error)]
pub enum LeadershipFailure {
    #[error("leadership cannot be held without the database")]
    Database(#[from] sqlx::Error),
    #[error("the database has not answered for {CONFIRM_TIMEOUT:?}; leadership may be lost")]
    Timeout,
}

impl Leadership {
    /// Waits until this process leads `role`. Safe to cancel.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn acquire(pool: &PgPool, role: &'static str) -> Result<Self, LeadershipFailure> {
        let options = pool.connect_options();
        let mut connection = PgConnection::connect_with(&options).await?;
        // The server detects a leader whose machine is gone within about ten seconds by TCP keep-alives, and
        // a leader that hangs by the idle timeout.
        sqlx::query!(
            r#"
            SELECT
                set_config('idle_session_timeout', $1, false) AS silence,
                set_config('tcp_keepalives_idle', '4', false) AS idle,
                set_config('tcp_keepalives_interval', '2', false) AS interval,
                set_config('tcp_keepalives_count', '3', false) AS count
            "#,
            IDLE_TIMEOUT,
        )
        .fetch_one(&mut connection)
        .await?;
        loop {
            let leads = sqlx::query_scalar!(
                r#"SELECT pg_try_advisory_lock(hashtext('hooksentry.leadership'), hashtext($1)) AS "leads!""#,
                role
            )
            .fetch_one(&mut connection)
            .await?;
            if leads {
                break;
            }
            tokio::time::sleep(ACQUIRE_INTERVAL).await;
        }
        // Waits until all writers under the old epoch have committed; later ones see the new epoch.
        let BigInt(epoch) = sqlx::query_scalar!(
            r#"SELECT begin_epoch($1, $2) AS "epoch!: BigInt""#,
            role,
            format!("process {}", std::process::id()),
        )
        .fetch_one(&mut connection)
        .await?;
        tracing::info!(role, epoch, "leadership acquired");
        Ok(Self { connection, epoch, confirmed: Instant::now() })
    }

    /// Fencing epoch: how many times leadership of this role has been acquired.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Confirms leadership if the last confirmation is not recent. To be called between the steps of a
    /// leader's work.
    ///
    /// # Errors
    /// When leadership is lost, or may be.
    pub async fn keep(&mut self) -> Result<(), LeadershipFailure> {
        if self.confirmed.elapsed() < CONFIRM_INTERVAL {
            return Ok(());
        }
        self.confirm().await
    }

    /// Asks the server whether the connection, which holds the lock, is still open.
    ///
    /// # Errors
    /// When leadership is lost, or may be.
    pub async fn confirm(&mut self) -> Result<(), LeadershipFailure> {
        match tokio::time::timeout(CONFIRM_TIMEOUT, self.connection.ping()).await {
            Ok(answer) => {
                answer?;
                self.confirmed = Instant::now();
                Ok(())
            }
            Err(_) => Err(LeadershipFailure::Timeout),
        }
    }
}
