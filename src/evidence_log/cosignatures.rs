//! Cosignatures of witnesses over checkpoints of the installation's log, written once.

use chrono::{DateTime, Utc};
use projections::BigInt;
use sqlx::PgConnection;
use uuid::Uuid;

/// A cosignature to store. It was verified.
#[derive(Clone, Debug)]
pub(crate) struct NewCosignature {
    pub(crate) log_id: Uuid,
    pub(crate) size: u64,
    /// Public key of the witness.
    pub(crate) vkey: String,
    /// Line of a signed note.
    pub(crate) line: String,
    /// By the clock of the witness.
    pub(crate) cosigned_at: DateTime<Utc>,
}

/// Inserts a cosignature, unless there is one of the same witness.
///
/// # Errors
/// When the database fails, or does not have the checkpoint.
#[tracing::instrument(
    name = "db.checkpoint_cosignatures.insert",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn insert_cosignature(
    connection: &mut PgConnection,
    new: &NewCosignature,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO checkpoint_cosignatures (log_id, size, vkey, cosignature, cosigned_at)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
        new.log_id,
        BigInt(new.size) as BigInt,
        new.vkey,
        new.line,
        new.cosigned_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the cosignatures of a checkpoint, each the line of a signed note.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.checkpoint_cosignatures.list",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn cosignatures(
    connection: &mut PgConnection,
    log_id: Uuid,
    size: u64,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT cosignature FROM checkpoint_cosignatures WHERE log_id = $1 AND size = $2 ORDER BY vkey",
        log_id,
        BigInt(size) as BigInt,
    )
    .fetch_all(connection)
    .await
}

/// Returns the size of the last checkpoint of a log that a witness has cosigned; 0 if there is none.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.checkpoint_cosignatures.last",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn last_cosigned_size(
    connection: &mut PgConnection,
    log_id: Uuid,
    vkey: &str,
) -> Result<u64, sqlx::Error> {
    let last = sqlx::query_scalar!(
        r#"
        SELECT size AS "size: BigInt"
        FROM checkpoint_cosignatures
        WHERE log_id = $1 AND vkey = $2
        ORDER BY size DESC
        LIMIT 1
        "#,
        log_id,
        vkey,
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.map_or(0, |size| size.0))
}
