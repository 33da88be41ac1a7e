//! Time stamps over checkpoints of the installation's log, written once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use projections::BigInt;
use sqlx::PgConnection;
use uuid::Uuid;

use super::checkpoints::StoredCheckpoint;

/// A checkpoint of the installation's log that has no time stamp.
#[derive(Clone, Debug)]
pub(crate) struct Unstamped {
    log_id: Uuid,
    size: u64,
    /// The signed note without cosignatures, which may still be added.
    pub(crate) note: String,
}

/// Returns the checkpoint of the installation's log that is shown; `None` if there is none, or if it has a time stamp.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.checkpoint_timestamps.missing",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn unstamped_checkpoint(
    connection: &mut PgConnection,
) -> Result<Option<Unstamped>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT checkpoint.log_id, checkpoint.size AS "size: BigInt", checkpoint.note
        FROM evidence_trees AS tree
        JOIN evidence_checkpoints AS checkpoint
            ON checkpoint.log_id = tree.log_id AND checkpoint.size = coalesce(tree.published_size, tree.sealed_size)
        WHERE tree.log_id = (SELECT log_id FROM evidence_trees WHERE tenant_id IS NULL ORDER BY era DESC LIMIT 1)
          AND NOT EXISTS (
              SELECT
              FROM checkpoint_timestamps AS stamped
              WHERE stamped.log_id = checkpoint.log_id AND stamped.size = checkpoint.size
          )
        "#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Unstamped { log_id: row.log_id, size: row.size.0, note: row.note }))
}

/// Inserts the time stamp of a checkpoint.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.checkpoint_timestamps.insert",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn insert_timestamp(
    connection: &mut PgConnection,
    checkpoint: &Unstamped,
    answer: &[u8],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO checkpoint_timestamps (log_id, size, answer) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        checkpoint.log_id,
        BigInt(checkpoint.size) as BigInt,
        answer,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns when a time stamp was received last; `None`: never.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.checkpoint_timestamps.last",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn last_stamped_at(
    connection: &mut PgConnection,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT received_at FROM checkpoint_timestamps ORDER BY received_at DESC LIMIT 1")
        .fetch_optional(connection)
        .await
}

/// Returns how long ago a time stamp was received last, by the clock of the database; `None`: never.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.checkpoint_timestamps.age", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn last_stamp_age(connection: &mut PgConnection) -> Result<Option<Duration>, sqlx::Error> {
    let seconds = sqlx::query_scalar!(
        r#"
        SELECT greatest(extract(epoch FROM clock_timestamp() - received_at), 0)::float8 AS "seconds!"
        FROM checkpoint_timestamps
        ORDER BY received_at DESC
        LIMIT 1
        "#
    )
    .fetch_optional(connection)
    .await?;
    Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)))
}

/// A checkpoint of the installation's log with a time stamp.
#[derive(Clone, Debug)]
pub(crate) struct Stamped {
    /// With all its cosignatures.
    pub(crate) checkpoint: StoredCheckpoint,
    /// What was stamped: the note without cosignatures.
    pub(crate) note: String,
    /// Answer of the authority: `TimeStampResp` of RFC 3161.
    pub(crate) answer: Vec<u8>,
}

/// Returns the first checkpoint with a time stamp that covers an entry of a log of the installation; `None` if there is
/// none.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.checkpoint_timestamps.first",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(crate) async fn first_stamped(
    connection: &mut PgConnection,
    log_id: Uuid,
    index: u64,
) -> Result<Option<Stamped>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT
            stamped.size AS "size: BigInt", stamped.answer, checkpoint.note,
            (
                SELECT coalesce(string_agg(cosignature || E'\n', '' ORDER BY vkey), '')
                FROM checkpoint_cosignatures AS cosigned
                WHERE cosigned.log_id = stamped.log_id AND cosigned.size = stamped.size
            ) AS "cosignatures!"
        FROM checkpoint_timestamps AS stamped
        JOIN evidence_checkpoints AS checkpoint USING (log_id, size)
        WHERE stamped.log_id = $1 AND stamped.size > $2
        ORDER BY stamped.size
        LIMIT 1
        "#,
        log_id,
        BigInt(index) as BigInt,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Stamped {
        checkpoint: StoredCheckpoint {
            size: row.size.0,
            note: format!("{}{}", row.note, row.cosignatures),
            installation: None,
        },
        note: row.note,
        answer: row.answer,
    }))
}
