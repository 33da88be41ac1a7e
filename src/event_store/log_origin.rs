//! Whether the log was written by the database cluster that it is in, and how it continues in another one.
//!
//! The order of the log rests on the cluster's transaction counter. A log that was restored from a dump has ids
//! of another cluster's counter: its next facts could come before its last ones, where no reader looks. So
//! nothing may be appended until a new era begins, whose facts come after all facts of the earlier ones.

use aggregates::Decide;
use aggregates::ids::TenantId;
use aggregates::installation::{Installation, InstallationCommand, LastFact};
use cqrs_es::Aggregate;
use projections::{BigInt, LogPosition, TransactionId};
use sqlx::{Connection, Executor, PgConnection};
use thiserror::Error;
use uuid::Uuid;

use super::append::{self, AppendFailure, StreamAppend};
use super::metadata::Metadata;
use crate::clock;

/// What a new era adds to the epochs of all roles. The backup may be older than the last epoch, and the jobs of
/// epochs that it does not know may still be in the queue.
const EPOCHS_SKIPPED: i64 = 1_000_000;

/// Reason why the log cannot be continued.
#[derive(Debug, Error)]
pub enum LogOriginFailure {
    #[error(
        "the event log was written in another PostgreSQL cluster and was not prepared for this one: stop all \
         processes, then run `hooksentry restore`"
    )]
    OtherCluster,
    #[error("the origin of the event log cannot be read")]
    Database(#[from] sqlx::Error),
}

/// The beginning of an era.
#[derive(Clone, Copy, Debug)]
pub struct BegunEra {
    pub era: u16,
    /// Last fact of the eras before; `None`: the log was empty.
    pub last: Option<LastFact>,
}

/// Checks that the log was written by this cluster. A cluster whose identifier the user may not read is recognised
/// as another one only if its transaction counter is behind the log.
///
/// # Errors
/// [`LogOriginFailure::OtherCluster`], or the database fails.
#[tracing::instrument(name = "db.events.require_own_log", level = "debug", skip_all, err(level = "debug"))]
pub async fn require_own_log(connection: &mut PgConnection) -> Result<(), LogOriginFailure> {
    let is_foreign = sqlx::query_scalar!(
        r#"
        SELECT
            coalesce(system_identifier <> this_cluster(), false)
            OR coalesce(
                (
                    SELECT transaction_id
                    FROM events
                    ORDER BY transaction_id DESC, position DESC
                    LIMIT 1
                ) >= log_transaction_id(era, pg_snapshot_xmax(pg_current_snapshot())),
                false
            ) AS "is_foreign!"
        FROM log_eras
        ORDER BY era DESC
        LIMIT 1
        "#
    )
    .fetch_one(connection)
    .await?;
    if is_foreign { Err(LogOriginFailure::OtherCluster) } else { Ok(()) }
}

/// Returns the era in which facts are appended.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.log_eras.current", level = "debug", skip_all, err(level = "debug"))]
pub async fn current_era(connection: &mut PgConnection) -> Result<i16, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT max(era) AS "era!" FROM log_eras"#).fetch_one(connection).await
}

/// Returns whether the leader of `role` leads on the server of `connection`. After a failover, new connections of a
/// pool lead to another server. It has the same epoch, but may lack the last facts, and must not store a position
/// beyond them.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.leaderships.is_connected", level = "trace", skip_all, err(level = "debug"))]
pub async fn leader_is_connected(connection: &mut PgConnection, role: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT leader_is_connected($1) AS "connected!""#, role).fetch_one(connection).await
}

/// Begins the next era: its first fact is `LogRestored`, and the jobs of all earlier epochs are void. Does
/// everything or nothing. No process of the service may run.
///
/// # Errors
/// When the database fails, or the user does not own the table `events`.
#[tracing::instrument(name = "db.events.begin_era", level = "debug", skip_all, err(level = "debug"))]
pub async fn begin_era(connection: &mut PgConnection) -> Result<BegunEra, AppendFailure> {
    let mut transaction = connection.begin().await?;
    let begun = sqlx::query_scalar!(
        r#"
        INSERT INTO log_eras (era, system_identifier)
        SELECT max(era) + 1, this_cluster()
        FROM log_eras
        RETURNING era
        "#
    )
    .fetch_one(&mut *transaction)
    .await?;
    let last = last_fact(&mut transaction).await?;
    // Not a parameter: PostgreSQL stores the expression.
    let default = format!(
        "ALTER TABLE events ALTER COLUMN transaction_id
         SET DEFAULT log_transaction_id({begun}::smallint, pg_current_xact_id())"
    );
    transaction.execute(default.as_str()).await?;
    sqlx::query!("UPDATE leaderships SET epoch = epoch + $1, holder = NULL", EPOCHS_SKIPPED)
        .execute(&mut *transaction)
        .await?;
    let era = u16::try_from(begun).unwrap_or_default();
    append_log_restored(&mut transaction, era, last).await?;
    transaction.commit().await?;
    Ok(BegunEra { era, last })
}

async fn last_fact(connection: &mut PgConnection) -> Result<Option<LastFact>, sqlx::Error> {
    let last = sqlx::query!(
        r#"
        SELECT transaction_id AS "transaction_id: TransactionId", position, recorded_at
        FROM events
        ORDER BY transaction_id DESC, position DESC
        LIMIT 1
        "#
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.map(|row| LastFact {
        transaction_id: row.transaction_id.0,
        position: row.position,
        recorded_at: row.recorded_at,
    }))
}

async fn append_log_restored(
    connection: &mut PgConnection,
    era: u16,
    last: Option<LastFact>,
) -> Result<LogPosition, AppendFailure> {
    let version = sqlx::query_scalar!(
        r#"SELECT version AS "version!: BigInt" FROM stream_versions(ARRAY[$1], ARRAY[$2])"#,
        Installation::TYPE,
        Installation::ID.to_string(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let before = Installation { era: era.saturating_sub(1) };
    let Ok(facts) = before.decide(InstallationCommand::RecordRestore { era, last, at: clock::now() });
    let metadata = Metadata::of_role(TenantId(Uuid::nil()), "restore");
    let append = StreamAppend::new::<Installation>(Installation::ID, version.0, &facts, &metadata)?;
    append::append_atomically(connection, &[append]).await
}
