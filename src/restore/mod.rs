//! Preparing a database that was restored from a dump.
//!
//! A dump holds the tables of one database. It lacks what belongs to the cluster (the role of tenants, and with it
//! the policies and privileges that name the role), and its log continues only in a new era
//! ([`event_store::begin_era`]). Every step may be repeated, so a restore that was interrupted is started again.

use std::time::Duration;

use sqlx::{Executor, PgConnection};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::database;
use crate::event_store::{self, AppendFailure, BegunEra, LogOriginFailure};

/// Time within which the sessions of processes that were stopped must have ended.
const SESSIONS_END_WITHIN: Duration = Duration::from_secs(10);
/// Interval at which they are counted.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Creates the role of tenants, and the policies and privileges that a dump could not restore without it.
const TENANT_SCOPE: &str = include_str!("tenant_scope.sql");

/// Reason why the database was not prepared. It is as it was, or the same command continues.
#[derive(Debug, Error)]
pub(crate) enum RestoreFailure {
    #[error("{sessions} sessions of HookSentry use the database: stop all of its processes first")]
    InUse { sessions: i64 },
    #[error("the role hooksentry_tenant cannot be created or granted; an administrator can do so")]
    TenantRole(#[source] sqlx::Error),
    #[error("the next era of the log cannot begin; this needs the user who owns the table events")]
    Era(#[from] AppendFailure),
    #[error("database error")]
    Database(#[from] sqlx::Error),
}

/// Makes the service able to continue on the restored database of `connection`, which must have the
/// [migration lock](database::lock_migrations). Returns the era that has begun; `None` if the log belongs to
/// this cluster already. With `force` an era begins in any case.
///
/// # Errors
/// See [`RestoreFailure`].
pub(crate) async fn prepare(
    connection: &mut PgConnection,
    force: bool,
) -> Result<Option<BegunEra>, RestoreFailure> {
    require_no_process(connection).await?;
    connection.execute(TENANT_SCOPE).await.map_err(RestoreFailure::TenantRole)?;
    match event_store::require_own_log(connection).await {
        Ok(()) if !force => Ok(None),
        Ok(()) | Err(LogOriginFailure::OtherCluster) => Ok(Some(event_store::begin_era(connection).await?)),
        Err(LogOriginFailure::Database(error)) => Err(error.into()),
    }
}

/// Checks that no other session of the program uses this database. Those of a process that has just ended may need
/// a moment.
async fn require_no_process(connection: &mut PgConnection) -> Result<(), RestoreFailure> {
    let deadline = Instant::now() + SESSIONS_END_WITHIN;
    loop {
        let sessions = sqlx::query_scalar!(
            r#"
            SELECT count(*) AS "sessions!"
            FROM pg_stat_activity
            WHERE datname = current_database()
              AND application_name = $1
              AND pid <> pg_backend_pid()
            "#,
            database::APPLICATION_NAME,
        )
        .fetch_one(&mut *connection)
        .await?;
        match sessions {
            0 => return Ok(()),
            sessions if Instant::now() >= deadline => return Err(RestoreFailure::InUse { sessions }),
            _ => sleep(POLL_INTERVAL).await,
        }
    }
}
