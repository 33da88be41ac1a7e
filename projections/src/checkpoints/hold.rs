//! Holds of checkpoints, for the replacement of a reader's rows.

use std::time::Duration;

use sqlx::PgConnection;

use crate::logged_fact::{LogPosition, TransactionId};

/// State of a checkpoint when it was held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Position of the last fact in the reader's rows.
    pub position: LogPosition,
    pub halted: bool,
    epoch: i64,
}

/// Holds the checkpoint of `reader` until it is released, at most for `lasting`. Waits for a move in progress.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.checkpoints.hold", level = "debug", skip_all, err(level = "debug"))]
pub async fn hold(
    connection: &mut PgConnection,
    reader: &'static str,
    lasting: Duration,
) -> Result<Held, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        INSERT INTO checkpoints AS checkpoint (reader, held_until)
        VALUES ($1, clock_timestamp() + make_interval(secs => $2))
        ON CONFLICT (reader) DO UPDATE SET held_until = excluded.held_until
        RETURNING
            transaction_id AS "transaction_id: TransactionId", position, epoch,
            halted_because IS NOT NULL AS "halted!"
        "#,
        reader,
        lasting.as_secs_f64(),
    )
    .fetch_one(connection)
    .await?;
    let position = LogPosition { transaction_id: row.transaction_id, position: row.position };
    Ok(Held { position, halted: row.halted, epoch: row.epoch })
}

/// Releases a held checkpoint.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.checkpoints.release", level = "debug", skip_all, err(level = "debug"))]
pub async fn release(connection: &mut PgConnection, reader: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE checkpoints SET held_until = NULL WHERE reader = $1", reader)
        .execute(connection)
        .await?;
    Ok(())
}

/// Moves the checkpoint of a held reader, whose rows were just replaced, to `to`, clears its halt and releases it.
/// Returns `false`, and changes nothing, if the checkpoint changed since it was held.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.checkpoints.replace", level = "debug", skip_all, err(level = "debug"))]
pub async fn replace(
    connection: &mut PgConnection,
    reader: &'static str,
    held: &Held,
    to: LogPosition,
) -> Result<bool, sqlx::Error> {
    let replaced = sqlx::query!(
        r#"
        UPDATE checkpoints
        SET transaction_id = $5,
            position = $6,
            halted_because = NULL,
            held_until = NULL,
            moved_at = now()
        WHERE reader = $1
          AND transaction_id = $2
          AND position = $3
          AND epoch = $4
          AND (halted_because IS NOT NULL) = $7
        "#,
        reader,
        held.position.transaction_id as TransactionId,
        held.position.position,
        held.epoch,
        to.transaction_id as TransactionId,
        to.position,
        held.halted,
    )
    .execute(connection)
    .await?
    .rows_affected();
    Ok(replaced == 1)
}
