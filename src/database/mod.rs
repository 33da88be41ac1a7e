//! Connecting to PostgreSQL, deadlines of statements, and migrating the schema.

mod deadline;
mod liveness;
mod own_connection;
mod session;
mod sqlstate;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, PgPool};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::config::{DatabaseSettings, DatabaseUrl};
use crate::identifiers;
pub use deadline::{LONG, SHORT, in_time};
pub use own_connection::{OwnConnection, StatementWatch};
use session::CONNECT_TIME_MAX;
pub use session::{open, plan_once};
pub use sqlstate::{is_passing, is_unique_violation};

/// The migrations that this program knows.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// Oldest supported major version of PostgreSQL that has every feature in use.
const OLDEST_MAJOR: i32 = 14;

/// Name under which sessions of the program are shown in `pg_stat_activity`.
pub(crate) const APPLICATION_NAME: &str = "hooksentry";

/// Pause after the first failed attempt to connect; it doubles with each attempt.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Time a query may wait for a connection. Longer: callers time out first.
const ACQUIRE_TIME_MAX: Duration = Duration::from_secs(10);
/// Time after which an unused connection is closed.
const IDLE_TIME_MAX: Duration = Duration::from_secs(600);
/// Time after which any connection is closed: the memory that the server holds for it grows with its age.
const LIFETIME_MAX: Duration = Duration::from_secs(1_800);
/// Advisory lock that is held while the schema is migrated: "hookmigr" in ASCII.
const MIGRATION_LOCK: i64 = 0x686f_6f6b_6d69_6772;

/// Refusal of a server that cannot be written.
const READ_ONLY: &str = "the server is read-only: it is a standby, or default_transaction_read_only is on";

/// SQLSTATE codes (PostgreSQL manual, appendix A).
const INVALID_AUTHORIZATION: &str = "28000";
const INVALID_PASSWORD: &str = "28P01";
const NO_SUCH_DATABASE: &str = "3D000";
const UNDEFINED_TABLE: &str = "42P01";
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Error of connecting to the database or migrating its schema.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DatabaseFailure {
    #[error("PostgreSQL could not be reached within {within:?} ({database})")]
    Unreachable {
        database: DatabaseUrl,
        /// Time during which it was tried.
        within: Duration,
        source: sqlx::Error,
    },
    #[error("PostgreSQL refuses the connection ({database})")]
    Refused { database: DatabaseUrl, source: sqlx::Error },
    #[error("PostgreSQL {found} is too old: version {OLDEST_MAJOR} or newer is needed ({database})")]
    TooOld { database: DatabaseUrl, found: i32 },
    #[error("PostgreSQL did not answer")]
    Query(#[from] sqlx::Error),
    #[error("migration {version} of the database schema failed")]
    Migration { version: i64, source: sqlx::Error },
    /// The applied migrations are not those of this program.
    #[error("the database schema cannot be migrated")]
    Schema(#[source] MigrateError),
    #[error("the database schema lacks {missing} migrations: run `hooksentry migrate` first")]
    MigrationsMissing { missing: usize },
    #[error(
        "the database schema lacks {missing} migrations and this user may not change it: run `hooksentry \
         migrate` as the owner of the database"
    )]
    MigrationsForbidden { missing: usize, source: sqlx::Error },
}

impl From<MigrateError> for DatabaseFailure {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Execute(source) => Self::Query(source),
            MigrateError::ExecuteMigration(source, version) => Self::Migration { version, source },
            other => Self::Schema(other),
        }
    }
}

/// Returns a pool of connections once the database accepts one. Retries with growing pauses until `within`
/// has passed.
///
/// # Errors
/// [`DatabaseFailure::Unreachable`] after that time; [`DatabaseFailure::Refused`] and
/// [`DatabaseFailure::TooOld`] at once.
pub async fn connect(
    settings: &DatabaseSettings,
    url: &DatabaseUrl,
    within: Duration,
) -> Result<PgPool, DatabaseFailure> {
    let options = options(url);
    let mut connection = first_connection(&options, url, within).await?;
    let pool = pool_options(settings.connections)
        .after_connect(|connection, _| Box::pin(session::configure(connection)))
        .connect_lazy_with(options);
    warn_of_weak_commits(&mut connection).await?;
    warn_if_too_many(connection, settings.connections).await?;
    Ok(pool)
}

/// Returns a pool of connections for the queries of lists, whose statements have a timeout of their own. It connects
/// when the first of them is needed.
#[must_use]
pub fn list_pool(settings: &DatabaseSettings, url: &DatabaseUrl) -> PgPool {
    let list_timeout = settings.list_timeout;
    pool_options(settings.list_connections)
        .acquire_timeout(list_timeout)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                session::configure(connection).await?;
                session::set_statement_timeout(connection, list_timeout).await
            })
        })
        .connect_lazy_with(options(url))
}

fn pool_options(connections: u32) -> PgPoolOptions {
    liveness::checked(PgPoolOptions::new())
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIME_MAX)
        .idle_timeout(IDLE_TIME_MAX)
        .max_lifetime(LIFETIME_MAX)
}

/// Returns a single connection, without the timeouts of the service's sessions.
///
/// # Errors
/// As [`connect`].
pub async fn connect_once(url: &DatabaseUrl, within: Duration) -> Result<PgConnection, DatabaseFailure> {
    first_connection(&options(url), url, within).await
}

/// Applies the missing migrations and returns their number. Several processes may call this at once: one
/// applies the migrations and the others wait.
///
/// # Errors
/// When a migration fails, or the schema has migrations that differ from those of this program.
pub async fn migrate(connection: &mut PgConnection) -> Result<usize, DatabaseFailure> {
    let missing = missing_migrations(connection).await?;
    // A process whose user may not change the schema must be able to start when there is nothing to change.
    if missing == 0 {
        return Ok(0);
    }
    // During a rollout an older program may start on a newer schema. The lock is taken here, see below.
    let migrations = Migrator {
        migrations: MIGRATIONS.migrations.clone(),
        ignore_missing: true,
        locking: false,
        ..Migrator::DEFAULT
    };
    lock_migrations(connection).await?;
    let ran = migrations.run_direct(connection).await.map_err(DatabaseFailure::from);
    let unlocked = unlock_migrations(connection).await;
    match ran {
        Ok(()) => Ok(unlocked.map(|()| missing)?),
        Err(DatabaseFailure::Query(source) | DatabaseFailure::Migration { source, .. })
            if has_code(&source, INSUFFICIENT_PRIVILEGE) =>
        {
            Err(DatabaseFailure::MigrationsForbidden { missing, source })
        }
        Err(failure) => Err(failure),
    }
}

/// Waits until no other process migrates the schema. Polls: a statement that waits for the lock would hold a
/// snapshot, and a process that holds the lock and builds an index concurrently would wait for that snapshot
/// to end.
///
/// # Errors
/// When the database fails.
pub async fn lock_migrations(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    while !sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock($1) AS "locked!""#, MIGRATION_LOCK)
        .fetch_one(&mut *connection)
        .await?
    {
        sleep(PAUSE_FIRST).await;
    }
    Ok(())
}

async fn unlock_migrations(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT pg_advisory_unlock($1) AS "unlocked!""#, MIGRATION_LOCK)
        .fetch_one(connection)
        .await
        .map(drop)
}

/// Checks that no migration is missing. Changes nothing.
///
/// # Errors
/// [`DatabaseFailure::MigrationsMissing`] when a migration is missing.
pub async fn require_current(connection: &mut PgConnection) -> Result<(), DatabaseFailure> {
    match missing_migrations(connection).await? {
        0 => Ok(()),
        missing => Err(DatabaseFailure::MigrationsMissing { missing }),
    }
}

/// Returns the number of migrations that have not been applied. A migration that was changed after it was
/// applied is an error: the schema is unknown then.
async fn missing_migrations(connection: &mut PgConnection) -> Result<usize, MigrateError> {
    let applied: HashMap<i64, Cow<'_, [u8]>> = match connection.list_applied_migrations().await {
        Ok(applied) => applied.into_iter().map(|migration| (migration.version, migration.checksum)).collect(),
        Err(MigrateError::Execute(error)) if has_code(&error, UNDEFINED_TABLE) => HashMap::new(),
        Err(error) => return Err(error),
    };
    let mut missing = 0;
    for known in MIGRATIONS.iter() {
        match applied.get(&known.version) {
            None => missing += 1,
            Some(checksum) if *checksum == known.checksum => {}
            Some(_) => return Err(MigrateError::VersionMismatch(known.version)),
        }
    }
    if applied.len() + missing > MIGRATIONS.iter().count() {
        tracing::warn!("the database schema is newer than this program");
    }
    Ok(missing)
}

async fn first_connection(
    options: &PgConnectOptions,
    database: &DatabaseUrl,
    within: Duration,
) -> Result<PgConnection, DatabaseFailure> {
    let began = Instant::now();
    let mut pause = PAUSE_FIRST;
    loop {
        let attempt = timeout(CONNECT_TIME_MAX, PgConnection::connect_with(options));
        let refusal = match attempt.await {
            Ok(Ok(mut connection)) => {
                check_version(&mut connection, database).await?;
                match is_writable(&mut connection).await {
                    Ok(true) => return Ok(connection),
                    Ok(false) => sqlx::Error::Configuration(READ_ONLY.into()),
                    Err(refusal) => refusal,
                }
            }
            Ok(Err(refusal)) => refusal,
            Err(_) => sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
        };
        // Wrong credentials or a wrong database name do not pass with time.
        if has_code(&refusal, INVALID_AUTHORIZATION)
            || has_code(&refusal, INVALID_PASSWORD)
            || has_code(&refusal, NO_SUCH_DATABASE)
        {
            return Err(DatabaseFailure::Refused { database: database.clone(), source: refusal });
        }
        let next = pause.mul_f64(0.75 + identifiers::random_fraction() / 2.0);
        if began.elapsed() + next >= within {
            return Err(DatabaseFailure::Unreachable { database: database.clone(), within, source: refusal });
        }
        tracing::warn!(
            %database,
            error = %refusal,
            retry_in = %humantime::format_duration(Duration::from_millis(next.as_millis() as u64)),
            "PostgreSQL cannot be reached, retrying"
        );
        sleep(next).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// During a failover the address of the primary may lead to a server that is not promoted yet.
async fn is_writable(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT current_setting('transaction_read_only') = 'off'").fetch_one(connection).await
}

async fn check_version(connection: &mut PgConnection, database: &DatabaseUrl) -> Result<(), DatabaseFailure> {
    let version: i32 =
        sqlx::query_scalar("SELECT current_setting('server_version_num')::int").fetch_one(connection).await?;
    let found = version / 10_000;
    if found < OLDEST_MAJOR {
        return Err(DatabaseFailure::TooOld { database: database.clone(), found });
    }
    Ok(())
}

/// Warns when the pool is larger than the number of connections that the server accepts.
async fn warn_if_too_many(mut connection: PgConnection, wanted: u32) -> Result<(), DatabaseFailure> {
    let allowed: i32 = sqlx::query_scalar(
        "SELECT current_setting('max_connections')::int
              - current_setting('superuser_reserved_connections')::int",
    )
    .fetch_one(&mut connection)
    .await?;
    if i64::from(wanted) > i64::from(allowed) {
        tracing::warn!(
            wanted,
            allowed,
            "HOOKSENTRY_DATABASE_CONNECTIONS is more than the server accepts from all its clients"
        );
    }
    Ok(connection.close().await?)
}

/// Warns when the server may lose commits that it has confirmed.
async fn warn_of_weak_commits(connection: &mut PgConnection) -> Result<(), DatabaseFailure> {
    let (fsync, synchronous_commit): (String, String) =
        sqlx::query_as("SELECT current_setting('fsync'), current_setting('synchronous_commit')")
            .fetch_one(connection)
            .await?;
    if fsync == "off" {
        tracing::warn!("PostgreSQL has fsync off: accepted webhooks are lost when its host crashes");
    }
    if matches!(synchronous_commit.as_str(), "off" | "local") {
        tracing::warn!(
            synchronous_commit,
            "synchronous_commit is weaker than on: HookSentry sets it to on in its own sessions"
        );
    }
    Ok(())
}

fn options(url: &DatabaseUrl) -> PgConnectOptions {
    url.options().clone().application_name(APPLICATION_NAME)
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|found| found == code))
}
