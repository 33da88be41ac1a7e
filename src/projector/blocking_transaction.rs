//! Logging which transaction holds the readers of the log back.
//!
//! Readers stay below the oldest running transaction that may append. A transaction that is forgotten open, in any
//! program and database of the cluster, stops them all, and nothing else shows why.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::Instant;

use crate::event_store::NON_APPENDING;

/// Time after which the transaction is logged. Transactions of the service take milliseconds.
const LOG_AFTER: Duration = Duration::from_secs(5);
/// Interval at which it is logged again.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Watches for a transaction that holds readers back for long.
#[derive(Debug, Default)]
pub(super) struct BlockingTransactionWatch {
    since: Option<Instant>,
    logged: Option<Instant>,
}

impl BlockingTransactionWatch {
    /// Records whether the last page was cut short by an older transaction.
    pub(super) fn record(&mut self, held_back: bool) {
        if held_back {
            self.since.get_or_insert_with(Instant::now);
        } else {
            *self = Self::default();
        }
    }

    /// Whether the last page was cut short.
    pub(super) fn is_blocked(&self) -> bool {
        self.since.is_some()
    }

    /// Logs the oldest transaction, once it has held readers back for [`LOG_AFTER`].
    pub(super) async fn log_if_long(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let is_long = self.since.is_some_and(|since| since.elapsed() >= LOG_AFTER);
        let is_logged = self.logged.is_some_and(|logged| logged.elapsed() < LOG_EVERY);
        if !is_long || is_logged {
            return Ok(());
        }
        // A prepared transaction has no backend.
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
        self.logged = Some(Instant::now());
        Ok(())
    }
}
