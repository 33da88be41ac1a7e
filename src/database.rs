//! Reaching PostgreSQL and bringing its schema up to date.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use sqlx::migrate::{Migrate, MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection, Executor, PgPool};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use crate::config::{DatabaseSettings, DatabaseUrl};
use crate::identifiers;

/// The schema, as this program knows it.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// The oldest PostgreSQL that has what we use and that its makers still mend.
const OLDEST_MAJOR: i32 = 14;

/// How long one attempt to connect may take: a firewall that swallows packets says nothing.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// The pause after the first failed attempt to connect; it doubles.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How long a query may wait for a connection. Longer, and callers have given up before they fail.
const ACQUIRE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an unused connection is kept.
const IDLE_TIME_MAX: Duration = Duration::from_secs(600);
/// How long any connection is kept: what a server holds for a connection grows with its age.
const LIFETIME_MAX: Duration = Duration::from_secs(1_800);
/// No statement of ours is to take as long; one that does is stuck. An open transaction holds back every
/// reader of the log, so one that waits for a process that hangs is ended by the server.
const SESSION: &str = "SET statement_timeout = '60s';
SET idle_in_transaction_session_timeout = '60s'";

/// The advisory lock of whoever changes the schema: "hookmigr" in ASCII.
const MIGRATION_LOCK: i64 = 0x686f_6f6b_6d69_6772;

/// Codes of PostgreSQL's errors, from the appendix of its manual.
const INVALID_AUTHORIZATION: &str = "28000";
const INVALID_PASSWORD: &str = "28P01";
const NO_SUCH_DATABASE: &str = "3D000";
const UNDEFINED_TABLE: &str = "42P01";
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Why there is no database to work with.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DatabaseFailure {
    /// It does not answer.
    #[error("PostgreSQL could not be reached within {within:?} ({database})")]
    Unreachable {
        database: DatabaseUrl,
        /// For how long it was tried.
        within: Duration,
        source: sqlx::Error,
    },
    /// It answers and does not let us in.
    #[error("PostgreSQL refuses the connection ({database})")]
    Refused { database: DatabaseUrl, source: sqlx::Error },
    /// It lacks what we use.
    #[error("PostgreSQL {found} is too old: version {OLDEST_MAJOR} or newer is needed ({database})")]
    TooOld { database: DatabaseUrl, found: i32 },
    /// It stopped answering.
    #[error("PostgreSQL did not answer")]
    Query(#[from] sqlx::Error),
    /// A migration does not run.
    #[error("migration {version} of the database schema failed")]
    Migration {
        version: i64,
        /// What the server said.
        source: sqlx::Error,
    },
    /// The schema is not what this program made of it.
    #[error("the database schema cannot be brought up to date")]
    Schema(#[source] MigrateError),
    /// The schema is older than this program.
    #[error("the database schema lacks {missing} migrations: run `hooksentry migrate` first")]
    SchemaOld {
        /// How many migrations are missing.
        missing: usize,
    },
    /// The schema is behind and this user may not change it.
    #[error(
        "the database schema lacks {missing} migrations and this user may not change it: run `hooksentry \
         migrate` as the owner of the database"
    )]
    SchemaBehind {
        /// How many migrations are missing.
        missing: usize,
        /// What the server said.
        source: sqlx::Error,
    },
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

/// A pool of connections to a database that answers. It is tried for a time, with growing pauses.
pub async fn connect(
    settings: &DatabaseSettings,
    url: &DatabaseUrl,
    within: Duration,
) -> Result<PgPool, DatabaseFailure> {
    let options = options(url);
    let connection = first_connection(&options, url, within).await?;
    let pool = PgPoolOptions::new()
        .max_connections(settings.connections)
        .acquire_timeout(ACQUIRE_TIME_MAX)
        .idle_timeout(IDLE_TIME_MAX)
        .max_lifetime(LIFETIME_MAX)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SESSION).await.map(drop) }))
        .connect_lazy_with(options);
    warn_if_too_many(connection, settings.connections).await?;
    Ok(pool)
}

/// A single connection, without the limits that statements of the service have.
pub async fn connect_once(url: &DatabaseUrl, within: Duration) -> Result<PgConnection, DatabaseFailure> {
    first_connection(&options(url), url, within).await
}

/// Brings the schema up to date, if it is not. Several processes may do so at once: the first one works
/// and the others wait. Answers how many migrations were missing.
pub async fn migrate(connection: &mut PgConnection) -> Result<usize, DatabaseFailure> {
    let missing = missing_migrations(connection).await?;
    // A process that may not change the schema must be able to start when there is nothing to change.
    if missing == 0 {
        return Ok(0);
    }
    // While versions change, an older program may start on a newer schema. The lock is ours.
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
            Err(DatabaseFailure::SchemaBehind { missing, source })
        }
        Err(failure) => Err(failure),
    }
}

/// Waits until nobody else changes the schema. Asks again and again: a statement that waits for the lock
/// would have a snapshot meanwhile, and whoever holds the lock and builds an index concurrently would wait
/// for that snapshot to end.
async fn lock_migrations(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
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

/// Refuses a schema that is older than this program. Changes nothing.
pub async fn require_current(connection: &mut PgConnection) -> Result<(), DatabaseFailure> {
    match missing_migrations(connection).await? {
        0 => Ok(()),
        missing => Err(DatabaseFailure::SchemaOld { missing }),
    }
}

/// How many migrations this program knows and the database does not. A migration that was changed after
/// it was applied is a failure: nobody knows what the schema is then.
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
            Ok(Ok(connection)) => return checked(connection, database).await,
            Ok(Err(refusal)) => refusal,
            Err(_) => sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
        };
        // Who we are and what we want is no matter of waiting.
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
            again_in = %humantime::format_duration(Duration::from_millis(next.as_millis() as u64)),
            "PostgreSQL cannot be reached; trying again"
        );
        sleep(next).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn checked(
    mut connection: PgConnection,
    database: &DatabaseUrl,
) -> Result<PgConnection, DatabaseFailure> {
    let version: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(&mut connection)
        .await?;
    let found = version / 10_000;
    if found < OLDEST_MAJOR {
        return Err(DatabaseFailure::TooOld { database: database.clone(), found });
    }
    Ok(connection)
}

/// Says so when the server will refuse some of the connections that this process may want.
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
            "HOOKSENTRY_DATABASE_CONNECTIONS is more than the server allows all its clients together"
        );
    }
    Ok(connection.close().await?)
}

fn options(url: &DatabaseUrl) -> PgConnectOptions {
    url.options().clone().application_name("hooksentry")
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().is_some_and(|found| found == code))
}
