//! Leading a role of which there may be only one at a time.
//!
//! The leader holds a Postgres advisory lock on a connection of its own: when its process dies, the
//! server releases the lock and another process takes over within seconds. A leader that is paused, or so
//! busy that it does not find the time to confirm its lead, is cut off by the server as well. The lock alone
//! proves nothing (a paused process does not know that it has lost it), so each leader also gets an epoch,
//! and whatever it writes is fenced by that epoch.

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::time::Instant;

/// How often a follower asks whether the lead is free.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long the server may take to answer the leader's own question before the lead counts as lost.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// How often a leader confirms its lead in between its work.
const CONFIRM_EVERY: Duration = Duration::from_secs(1);
/// How long a leader may say nothing before the server takes the lead from it. Shorter, and a step that takes
/// its time costs the lead; longer, and what a paused process leads stands still as long.
const SILENCE_MAX: &str = "20s";

/// The lead, for as long as it is held.
#[derive(Debug)]
pub struct Leadership {
    connection: PgConnection,
    epoch: u64,
    confirmed: Instant,
}

/// The lead could not be taken or is lost.
#[derive(Debug, Error)]
pub enum LeadershipFailure {
    /// The database does not answer as it should.
    #[error("the lead cannot be held without the database")]
    Database(#[from] sqlx::Error),
    /// The database does not answer in time.
    #[error("the database has not answered for {ANSWER_WITHIN:?}; the lead may be lost")]
    Silence,
}

impl Leadership {
    /// Waits until this process leads `role`. Cancel by dropping.
    pub async fn acquire(pool: &PgPool, role: &'static str) -> Result<Self, LeadershipFailure> {
        let options = pool.connect_options();
        let mut connection = PgConnection::connect_with(&options).await?;
        // A leader whose machine vanished is noticed by the server within about ten seconds, and one that is
        // there and says nothing a little later.
        sqlx::query!(
            r#"
            SELECT
                set_config('idle_session_timeout', $1, false) AS silence,
                set_config('tcp_keepalives_idle', '4', false) AS idle,
                set_config('tcp_keepalives_interval', '2', false) AS interval,
                set_config('tcp_keepalives_count', '3', false) AS count
            "#,
            SILENCE_MAX,
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
            tokio::time::sleep(ASK_EVERY).await;
        }
        // Whoever writes under the old epoch holds the row FOR SHARE: this waits for them, and whoever
        // comes later sees the new epoch.
        let epoch = sqlx::query_scalar!(
            "
            INSERT INTO leaderships (role, epoch, holder, since)
            VALUES ($1, 1, $2, now())
            ON CONFLICT (role) DO UPDATE SET
                epoch = leaderships.epoch + 1,
                holder = excluded.holder,
                since = excluded.since
            RETURNING epoch
            ",
            role,
            format!("process {}", std::process::id()),
        )
        .fetch_one(&mut connection)
        .await?;
        tracing::info!(role, epoch, "leading");
        let epoch = u64::try_from(epoch).unwrap_or_default();
        Ok(Self { connection, epoch, confirmed: Instant::now() })
    }

    /// For the how-manieth time somebody leads this role.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Confirms the lead if that was not done lately. To be called between the steps of a leader's work,
    /// however long there is more to do.
    pub async fn keep(&mut self) -> Result<(), LeadershipFailure> {
        if self.confirmed.elapsed() < CONFIRM_EVERY {
            return Ok(());
        }
        self.confirm().await
    }

    /// Asks the server whether the connection, and with it the lock, still stands.
    pub async fn confirm(&mut self) -> Result<(), LeadershipFailure> {
        match tokio::time::timeout(ANSWER_WITHIN, self.connection.ping()).await {
            Ok(answer) => {
                answer?;
                self.confirmed = Instant::now();
                Ok(())
            }
            Err(_) => Err(LeadershipFailure::Silence),
        }
    }
}
