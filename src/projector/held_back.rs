//! Saying who holds the readers of the log back.
//!
//! Readers stay below the oldest transaction that runs and does not stand by. One that is forgotten open, in whatever
//! program and database of the cluster, stops them all, and nothing else shows why.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;

use crate::event_store::NON_APPENDING;

/// How long readers may be held back before somebody should know. Ours take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is said again.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Watches for readers that are held back for long.
#[derive(Debug, Default)]
pub(super) struct HeldBackWatch {
    since: Option<Instant>,
    said: Option<Instant>,
}

impl HeldBackWatch {
    /// Takes note of whether the last page was cut short by an older transaction.
    pub(super) fn note(&mut self, held_back: bool) {
        if held_back {
            self.since.get_or_insert_with(Instant::now);
        } else {
            *self = Self::default();
        }
    }

    /// Whether readers are held back.
    pub(super) fn lasts(&self) -> bool {
        self.since.is_some()
    }

    /// Names the oldest transaction, when it has lasted too long.
    pub(super) async fn print_error(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let lasts = self.since.is_some_and(|since| since.elapsed() >= PATIENCE);
        let said_lately = self.said.is_some_and(|said| said.elapsed() < SAY_EVERY);
        if !lasts || said_lately {
            return Ok(());
        }
        // Transactions that were prepared and abandoned have no backend.
        let oldest = sqlx::query!(
            r#"
            SELECT
                pid AS "pid!",
                coalesce(datname, '') AS "database!",
                coalesce(application_name, '') AS "application!",
                coalesce(state, '') AS "state!",
                coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8 AS "age!"
            FROM pg_stat_activity
            WHERE backend_xid IS NOT NULL
              AND NOT EXISTS (
                SELECT FROM pg_locks
                WHERE pg_locks.pid = pg_stat_activity.pid
                  AND locktype = 'advisory'
                  AND classid::bigint = hashtext($1)::bigint & 4294967295
              )
            ORDER BY age(backend_xid) DESC
            LIMIT 1
            "#,
            NON_APPENDING,
        )
        .fetch_optional(connection)
        .await?;
        match oldest {
            Some(backend) => tracing::warn!(
                backend.pid = backend.pid,
                backend.database = backend.database,
                backend.application = backend.application,
                backend.state = backend.state,
                age_seconds = backend.age,
                "an old transaction holds back every reader of the log"
            ),
            None => tracing::warn!(
                "a prepared transaction holds back every reader of the log; see pg_prepared_xacts"
            ),
        }
        self.said = Some(Instant::now());
        Ok(())
    }
}
