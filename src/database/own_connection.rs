//! A connection for one kind of statement, outside the pool.
//!
//! Appends of a webhook's path neither wait for the pool nor pay for its checks. When the connection is lost, or
//! seems to be, it is closed and replaced. Its statements are planned once: otherwise PostgreSQL may plan one again each
//! time it is executed, which takes longer than to execute it. So they look rows up by index even in tables that are still
//! small, because the plan is kept while the tables grow.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, PgPool};
use tokio::time::{Instant, sleep, timeout};

use super::{LIFETIME_MAX, deadline, session, sqlstate};

/// Time within which the connection must be opened, and within which it must answer when it is idle.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Time after which the server is asked about a statement that has not ended, and the time within which it must
/// answer. Their sum is how long a caller waits until it learns that the database is away.
const ASK_AFTER: Duration = Duration::from_secs(1);
const ASKED_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
/// Memory of the server for a table of a statement, in KiB, unless it is configured with more. The default, 4 MiB, does not hold
/// a batch of large payloads: it is written to temporary files and read from them, which takes 3 ms a megabyte.
const TABLE_KIB: i64 = 16 << 10;
/// Timeout of a statement at the server, shorter than [`deadline::SHORT`].
const STATEMENT_TIMEOUT: &str = "12s";

/// A connection that is opened when it is needed, and replaced when it is lost.
#[derive(Debug)]
pub struct OwnConnection {
    options: Arc<PgConnectOptions>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It was never needed.
    Unused,
    Open(Box<Session>),
    Lost,
}

#[derive(Debug)]
struct Session {
    connection: PgConnection,
    backend: Backend,
    opened_at: Instant,
}

/// The server's process of a session. The time distinguishes it from a later one with the same id.
#[derive(Clone, Copy, Debug)]
struct Backend {
    id: i32,
    started_at: DateTime<Utc>,
}

impl OwnConnection {
    /// Returns a connection to the database of `pool`, which is not opened yet.
    #[must_use]
    pub fn to_database_of(pool: &PgPool) -> Self {
        Self { options: pool.connect_options(), state: State::Unused }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Returns whether it was open, or was to be opened, and is not.
    pub fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// Opens it unless it is open. Replaces one that is old: the memory that the server holds for it grows.
    ///
    /// # Errors
    /// When PostgreSQL refuses the connection, or does not answer within 2 s.
    pub async fn open(&mut self) -> Result<(), sqlx::Error> {
        if matches!(&self.state, State::Open(session) if session.opened_at.elapsed() < LIFETIME_MAX) {
            return Ok(());
        }
        self.state = State::Lost;
        let opening = async {
            let mut connection = session::open(&self.options).await?;
            let (id, started_at): (i32, DateTime<Utc>) = sqlx::query_as(
                "SELECT pid, backend_start
                 FROM pg_stat_activity,
                     set_config('statement_timeout', $1, false) AS timeout,
                     set_config('plan_cache_mode', 'force_generic_plan', false) AS plans,
                     set_config('enable_seqscan', 'off', false) AS scans,
                     set_config(
                         'work_mem', greatest(pg_size_bytes(current_setting('work_mem')) / 1024, $2) || 'kB', false
                     ) AS memory
                 WHERE pid = pg_backend_pid()",
            )
            .bind(STATEMENT_TIMEOUT)
            .bind(TABLE_KIB)
            .fetch_one(&mut connection)
            .await?;
            let backend = Backend { id, started_at };
            Ok(Box::new(Session { connection, backend, opened_at: Instant::now() }))
        };
        let opened = timeout(ANSWER_WITHIN, opening).await;
        self.state = State::Open(opened.unwrap_or_else(|_| Err(deadline::exceeded()))?);
        Ok(())
    }

    /// Checks that the server answers. Closes it otherwise.
    ///
    /// # Errors
    /// When it is closed.
    pub async fn check(&mut self) -> Result<(), sqlx::Error> {
        let State::Open(session) = &mut self.state else { return Ok(()) };
        let answer = timeout(ANSWER_WITHIN, session.connection.ping()).await;
        let answer = answer.unwrap_or_else(|_| Err(deadline::exceeded()));
        if answer.is_err() {
            self.state = State::Lost;
        }
        answer
    }

    /// Returns the connection for one statement, opened if necessary, with a watch to wait for together with the
    /// statement. The caller passes the statement's error to [`Self::note`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn watched(&mut self) -> Result<(&mut PgConnection, StatementWatch), sqlx::Error> {
        let options = Arc::clone(&self.options);
        let session = self.session().await?;
        let watch = StatementWatch { options, backend: session.backend };
        Ok((&mut session.connection, watch))
    }

    /// Returns the connection, opened if necessary, for statements whose failure ends its use.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn opened(&mut self) -> Result<&mut PgConnection, sqlx::Error> {
        Ok(&mut self.session().await?.connection)
    }

    async fn session(&mut self) -> Result<&mut Session, sqlx::Error> {
        self.open().await?;
        match &mut self.state {
            State::Open(session) => Ok(session),
            State::Unused | State::Lost => Err(deadline::exceeded()),
        }
    }

    /// Closes the connection if `error` leaves it unusable.
    pub fn note(&mut self, error: &sqlx::Error) {
        let is_usable = match error {
            sqlx::Error::Database(error) => {
                !sqlstate::is_closing(&**error) && !sqlstate::is_of_standby(&**error)
            }
            _ => false,
        };
        if !is_usable {
            self.state = State::Lost;
        }
    }
}

/// Finds out whether a statement that takes long is still running.
#[derive(Debug)]
pub struct StatementWatch {
    options: Arc<PgConnectOptions>,
    backend: Backend,
}

impl StatementWatch {
    /// Waits until the statement is lost, and returns the error of that: another connection cannot be opened, the
    /// server that answers there does not know the statement, or the deadline is over. A statement that is slow
    /// on a server that answers, such as one whose disk is busy, may continue until its deadline.
    pub async fn lost(self) -> sqlx::Error {
        let deadline = Instant::now() + deadline::SHORT;
        loop {
            sleep(ASK_AFTER).await;
            match timeout(ASKED_ANSWERS_WITHIN, self.is_running()).await {
                Ok(Ok(true)) if Instant::now() < deadline => {}
                Ok(Ok(false)) => {
                    return sqlx::Error::Io(std::io::Error::new(
                        std::io::ErrorKind::ConnectionAborted,
                        "the connection died: PostgreSQL is not running its statement",
                    ));
                }
                Ok(Err(error)) => return error,
                Ok(Ok(true)) | Err(_) => return deadline::exceeded(),
            }
        }
    }

    async fn is_running(&self) -> Result<bool, sqlx::Error> {
        let mut connection = match PgConnection::connect_with(&self.options).await {
            Ok(connection) => connection,
            // Such as "too many connections".
            Err(sqlx::Error::Database(error)) if !sqlstate::is_closing(&*error) => return Ok(true),
            Err(error) => return Err(error),
        };
        // Without a state the server does not track activity. A statement that has just ended may have an answer
        // that is on its way.
        sqlx::query_scalar(
            "SELECT EXISTS (
                SELECT FROM pg_stat_activity
                WHERE pid = $1
                  AND backend_start = $2
                  AND (coalesce(state, 'disabled') IN ('active', 'disabled')
                       OR state_change > clock_timestamp() - interval '1 second')
             )",
        )
        .bind(self.backend.id)
        .bind(self.backend.started_at)
        .fetch_one(&mut connection)
        .await
    }
}
