//! Settings of the service's sessions, and single connections with them.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Executor};
use tokio::time::timeout;

use super::deadline;

/// Settings of every session.
///
/// - No statement of the service takes as long as the timeout unless it is stuck.
/// - An open transaction holds back every reader of the log, so the server ends one whose process hangs.
/// - The server closes the connection of a client that is gone, or that has stopped reading, within about ten
///   seconds, and with it ends its transaction and releases its locks. It also ends a statement whose client
///   has closed the connection. (Linux only. sqlx cannot set these options on the client's socket; there,
///   [`super::in_time`] does this work.)
/// - The log relies on READ COMMITTED, and a 202 on commits that wait for the disk; the defaults of a role or a
///   database may be others. A stronger `synchronous_commit` is kept.
/// - Payloads from about 2 KiB on are compressed. The default, pglz, takes 18 ms for a megabyte of JSON, and LZ4 one, for
///   the same size. A server may be built without it.
const SESSION: &str = "
SELECT set_config('statement_timeout', '60s', false),
       set_config('idle_in_transaction_session_timeout', '5s', false),
       set_config('default_transaction_isolation', 'read committed', false);
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') IN ('off', 'local');
SELECT set_config(name, 'lz4', false)
FROM pg_settings
WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals);
SELECT set_config('tcp_keepalives_idle', '4', false),
       set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('tcp_user_timeout', '10s', false),
       set_config('client_connection_check_interval', '2s', false)
WHERE version() LIKE '%linux%'";

/// Timeout of an attempt to connect: a firewall may drop packets without an answer.
pub(super) const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Applies the settings to a session.
pub(super) async fn configure(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(SESSION).await.map(drop)
}

/// Sets the timeout of the statements of a session.
pub(super) async fn set_statement_timeout(
    connection: &mut PgConnection,
    timeout: Duration,
) -> Result<(), sqlx::Error> {
    let statement = format!("SET statement_timeout = {}", timeout.as_millis());
    connection.execute(statement.as_str()).await.map(drop)
}

/// Opens a connection outside the pool, with the settings of the service's sessions.
///
/// # Errors
/// When PostgreSQL refuses the connection, or does not answer within 5 s.
pub async fn open(options: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let opening = async {
        let mut connection = PgConnection::connect_with(options).await?;
        configure(&mut connection).await?;
        Ok(connection)
    };
    timeout(CONNECT_TIME_MAX, opening).await.unwrap_or_else(|_| Err(deadline::exceeded()))
}

/// Makes PostgreSQL plan each statement of a session once, and read rows in the order of an index instead of sorting them:
/// a plan that was made while a table was small would sort all of it, and is kept while the table grows. A sort that
/// remains counts as expensive then, so PostgreSQL must not compile the statements that seem to be.
///
/// # Errors
/// When the database fails.
pub async fn plan_once(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let statement = "SELECT set_config('plan_cache_mode', 'force_generic_plan', false),
                            set_config('enable_sort', 'off', false),
                            set_config('jit', 'off', false)";
    connection.execute(statement).await.map(drop)
}
