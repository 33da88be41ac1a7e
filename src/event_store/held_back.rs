//! Readers that are held back: when they read again, which transactions they need not wait for, and what is
//! reported.
//!
//! A transaction that stays open holds every reader back, in whichever program and database of the cluster it
//! runs. One that runs in another database cannot append to this log, because a backend never changes its
//! database. PostgreSQL does not say in one consistent answer which transaction runs where: a row of
//! `pg_stat_activity` names a backend's database first and its transaction a moment later, when another backend
//! may have its place. So a transaction is skipped only after two queries have found it in another database. The
//! second query sees the backend that runs it, if it still runs.

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use projections::{NON_APPENDING, TransactionId};
use sqlx::PgConnection;
use tokio::time::Instant;

use super::log_reader::LogPage;

/// First and longest pause before a reader that is held back reads again. The transaction that holds it back
/// need not be an append, so no notification may follow its end.
const WAIT_MIN: Duration = Duration::from_millis(2);
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Time after which a reader looks for transactions that it need not wait for. Appends take less.
const LOOK_AFTER: Duration = Duration::from_millis(20);
/// Time after which the transaction is logged. Transactions of the service take milliseconds.
const LOG_AFTER: Duration = Duration::from_secs(5);
/// Interval at which it is logged again.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// State of one reader of the log.
#[derive(Debug)]
pub struct HeldBack {
    reader: &'static str,
    wait: Option<Duration>,
    /// Since when it has read nothing although there are facts.
    since: Option<Instant>,
    logged: Option<Instant>,
    /// Transactions that the last query has found in other databases.
    found: HashSet<TransactionId>,
    /// Those of them that an earlier query has found as well.
    elsewhere: Vec<TransactionId>,
}

/// The oldest transaction that holds readers back.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockingTransaction {
    pub pid: i32,
    pub application: String,
    pub state: String,
    pub age: Duration,
}

impl fmt::Display for BlockingTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let application = if self.application.is_empty() { "an unnamed program" } else { &self.application };
        write!(f, "process {} of {application}, open for {} s", self.pid, self.age.as_secs())
    }
}

impl HeldBack {
    /// Returns the state of the reader called `reader`, which is not held back.
    #[must_use]
    pub fn new(reader: &'static str) -> Self {
        let found = HashSet::new();
        Self { reader, wait: None, since: None, logged: None, found, elsewhere: vec![] }
    }

    /// Returns the running transactions that cannot append to this log.
    #[must_use]
    pub fn elsewhere(&self) -> &[TransactionId] {
        &self.elsewhere
    }

    /// Returns the pause after which to read again without a notification; `None` when `page` was not held
    /// back.
    pub fn after(&mut self, page: &LogPage) -> Option<Duration> {
        self.wait = match (page.held_back, self.wait) {
            (false, _) => None,
            (true, Some(wait)) if page.rows.is_empty() => Some((wait * 2).min(WAIT_MAX)),
            (true, _) => Some(WAIT_MIN),
        };
        if page.held_back && page.rows.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        } else if self.since.take().is_some() {
            self.logged = None;
            self.gauge().set(0.0);
        }
        self.wait
    }

    /// Looks for transactions that need not be waited for, once the reader was held back for [`LOOK_AFTER`], and
    /// logs which one holds it back, after [`LOG_AFTER`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn look(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some(waited) = self.since.map(|since| since.elapsed()) else { return Ok(()) };
        if waited < LOOK_AFTER {
            return Ok(());
        }
        self.gauge().set(waited.as_secs_f64());
        let found: HashSet<TransactionId> = running_elsewhere(connection).await?.into_iter().collect();
        self.elsewhere.retain(|id| found.contains(id));
        let known: HashSet<TransactionId> = self.elsewhere.iter().copied().collect();
        self.elsewhere.extend(found.intersection(&self.found).filter(|id| !known.contains(id)));
        self.found = found;
        let is_logged = self.logged.is_some_and(|logged| logged.elapsed() < LOG_EVERY);
        if waited >= LOG_AFTER && !is_logged {
            self.log(blocking_transaction(connection).await?.as_ref());
            self.logged = Some(Instant::now());
        }
        Ok(())
    }

    fn log(&self, blocking: Option<&BlockingTransaction>) {
        match blocking {
            Some(backend) => tracing::warn!(
                reader = self.reader,
                backend.pid = backend.pid,
                backend.application,
                backend.state,
                age_seconds = backend.age.as_secs_f64(),
                "an old transaction holds back the readers of the log"
            ),
            None => tracing::warn!(
                reader = self.reader,
                "a prepared transaction holds back the readers of the log; see pg_prepared_xacts"
            ),
        }
    }

    fn gauge(&self) -> metrics::Gauge {
        metrics::gauge!("hooksentry_readers_held_back_seconds", "reader" => self.reader)
    }
}

impl Drop for HeldBack {
    /// Only a leader reads: its figure must not outlive its term.
    fn drop(&mut self) {
        self.gauge().set(0.0);
    }
}

/// Returns the running transactions that seem to run in other databases of the cluster.
#[tracing::instrument(name = "db.activity.elsewhere", level = "debug", skip_all, err(level = "debug"))]
async fn running_elsewhere(connection: &mut PgConnection) -> Result<Vec<TransactionId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT running AS "running!: TransactionId"
        FROM pg_snapshot_xip(pg_current_snapshot()) AS running
        WHERE EXISTS (
            SELECT
            FROM pg_stat_activity
            WHERE backend_xid = running::xid
              AND datid <> (SELECT oid FROM pg_database WHERE datname = current_database())
        )
        OR EXISTS (
            SELECT
            FROM pg_prepared_xacts
            WHERE transaction = running::xid
              AND database <> current_database()
        )
        "#
    )
    .fetch_all(connection)
    .await
}

/// Returns the oldest transaction of this database that may append and holds readers back; `None`: a prepared one, or
/// none at all.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.activity.blocking", level = "debug", skip_all, err(level = "debug"))]
pub async fn blocking_transaction(
    connection: &mut PgConnection,
) -> Result<Option<BlockingTransaction>, sqlx::Error> {
    let oldest = sqlx::query!(
        r#"
        SELECT
            pid AS "pid!",
            coalesce(application_name, '') AS "application!",
            coalesce(state, '') AS "state!",
            coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float8 AS "age!"
        FROM pg_stat_activity
        WHERE datname = current_database()
          AND backend_xid IS NOT NULL
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
    Ok(oldest.map(|row| BlockingTransaction {
        pid: row.pid,
        application: row.application,
        state: row.state,
        age: Duration::try_from_secs_f64(row.age).unwrap_or_default(),
    }))
}
