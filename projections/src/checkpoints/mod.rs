//! Checkpoints: the progress of each reader of the log, fenced by epochs.
//!
//! A reader moves its checkpoint in the transaction that writes its rows. Each new owner of a reader has a higher epoch.
//! A move carries the epoch of its owner, and a stale one is refused, so that an owner that was paused and replaced
//! cannot commit.
//!
//! A checkpoint can be held: its owner may not move it while a rebuild replaces the reader's rows by others that were
//! folded up to the same position. A hold is a time in the row and not a lock, so that no process waits in an open
//! transaction, and the hold of a process that died expires.

mod hold;
mod lag;

use sqlx::PgConnection;
use thiserror::Error;

pub use hold::{Held, hold, release, replace};
pub use lag::{BEHIND_FACTS_MAX, Lag, have_reached, lag};

use crate::logged_fact::{LogPosition, TransactionId};

/// Progress of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub reader: String,
    /// Position of the last fact in its rows.
    pub position: LogPosition,
    /// Reason for a halt at the next fact; `None`: not halted.
    pub halted_because: Option<String>,
    /// Whether the checkpoint must not move.
    pub held: bool,
}

/// Move of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub reader: &'static str,
    /// Position of the last fact in its rows.
    pub to: LogPosition,
    /// Reason for a halt at the next fact; `None`: not halted.
    pub halted_because: Option<String>,
}

/// Reason why a checkpoint was not taken over or moved.
#[derive(Debug, Error)]
pub enum CheckpointFailure {
    /// A process with a higher epoch owns the reader. The caller rolls the transaction back.
    #[error("another process has taken over")]
    Fenced,
    /// A rebuild holds a checkpoint. The caller rolls the transaction back and retries.
    #[error("the checkpoint is held")]
    Held,
    #[error("database error on checkpoints")]
    Database(#[from] sqlx::Error),
}

struct Row {
    reader: String,
    transaction_id: TransactionId,
    position: i64,
    halted_because: Option<String>,
    held: bool,
}

impl From<Row> for Checkpoint {
    fn from(row: Row) -> Self {
        Self {
            reader: row.reader,
            position: LogPosition { transaction_id: row.transaction_id, position: row.position },
            halted_because: row.halted_because,
            held: row.held,
        }
    }
}

/// Makes the leader of `epoch` the owner of `reader`, and returns the position to continue from. A new reader begins
/// before the first fact of the log.
///
/// # Errors
/// [`CheckpointFailure::Fenced`] if a leader of a higher epoch owns the reader, and database failures.
pub async fn take_over(
    connection: &mut PgConnection,
    reader: &'static str,
    epoch: u64,
) -> Result<LogPosition, CheckpointFailure> {
    let taken = take_over_all(connection, &[reader], epoch).await?;
    taken.first().map(|checkpoint| checkpoint.position).ok_or(CheckpointFailure::Fenced)
}

/// Makes the leader of `epoch` the owner of several readers. Halts are cleared, so that the new owner retries.
///
/// # Errors
/// [`CheckpointFailure::Fenced`] if a leader of a higher epoch owns one of the readers, and database failures.
#[tracing::instrument(name = "db.checkpoints.take_over", level = "debug", skip_all, err(level = "debug"))]
pub async fn take_over_all(
    connection: &mut PgConnection,
    readers: &[&'static str],
    epoch: u64,
) -> Result<Vec<Checkpoint>, CheckpointFailure> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        INSERT INTO checkpoints AS checkpoint (reader, epoch)
        SELECT reader, $2
        FROM unnest($1::text[]) AS incoming (reader)
        -- In one order, so that two processes that take over at once wait for one another.
        ORDER BY reader
        ON CONFLICT (reader) DO UPDATE SET
            epoch = excluded.epoch,
            halted_because = NULL
        WHERE checkpoint.epoch <= excluded.epoch
        RETURNING
            reader, transaction_id AS "transaction_id: _", position, halted_because,
            coalesce(held_until > clock_timestamp(), false) AS "held!"
        "#,
        &names(readers.iter().copied()),
        stored_epoch(epoch),
    )
    .fetch_all(connection)
    .await?;
    if rows.len() != readers.len() {
        return Err(CheckpointFailure::Fenced);
    }
    Ok(rows.into_iter().map(Checkpoint::from).collect())
}

/// Returns the checkpoints of those `readers` that have one.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.checkpoints.load", level = "trace", skip_all, err(level = "debug"))]
pub async fn load(
    connection: &mut PgConnection,
    readers: &[&'static str],
) -> Result<Vec<Checkpoint>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT
            reader, transaction_id AS "transaction_id: _", position, halted_because,
            coalesce(held_until > clock_timestamp(), false) AS "held!"
        FROM checkpoints
        WHERE reader = ANY($1)
        "#,
        &names(readers.iter().copied()),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(Checkpoint::from).collect())
}

/// Moves a checkpoint.
///
/// # Errors
/// [`CheckpointFailure::Fenced`] if another process owns a reader, [`CheckpointFailure::Held`] if a checkpoint is held,
/// and database failures.
pub async fn advance(
    connection: &mut PgConnection,
    reader: &'static str,
    epoch: u64,
    to: LogPosition,
) -> Result<(), CheckpointFailure> {
    advance_all(connection, epoch, &[Move { reader, to, halted_because: None }]).await
}

/// Locks checkpoints at their positions until the transaction ends, for an owner that writes rows without moving.
///
/// # Errors
/// [`CheckpointFailure::Fenced`] if another process owns a reader, [`CheckpointFailure::Held`] if a checkpoint is held,
/// and database failures.
#[tracing::instrument(name = "db.checkpoints.keep", level = "trace", skip_all, err(level = "debug"))]
pub async fn keep(
    connection: &mut PgConnection,
    readers: &[&'static str],
    epoch: u64,
) -> Result<(), CheckpointFailure> {
    let kept = sqlx::query_scalar!(
        r#"
        SELECT held_until > clock_timestamp() AS held
        FROM checkpoints
        WHERE reader = ANY($1)
          AND epoch = $2
        ORDER BY reader
        FOR SHARE
        "#,
        &names(readers.iter().copied()),
        stored_epoch(epoch),
    )
    .fetch_all(connection)
    .await?;
    if kept.len() != readers.len() {
        return Err(CheckpointFailure::Fenced);
    }
    if kept.contains(&Some(true)) { Err(CheckpointFailure::Held) } else { Ok(()) }
}

/// Moves several checkpoints. The caller rolls back on failure, so that all of them move or none.
///
/// # Errors
/// [`CheckpointFailure::Fenced`] if another process owns a reader, [`CheckpointFailure::Held`] if a checkpoint is held,
/// and database failures.
#[tracing::instrument(name = "db.checkpoints.advance", level = "trace", skip_all, err(level = "debug"))]
pub async fn advance_all(
    connection: &mut PgConnection,
    epoch: u64,
    moves: &[Move],
) -> Result<(), CheckpointFailure> {
    let moved = sqlx::query!(
        r#"
        UPDATE checkpoints
        SET transaction_id = move.transaction_id,
            position = move.position,
            halted_because = move.halted_because,
            moved_at = now()
        FROM unnest($2::text[], $3::xid8[], $4::bigint[], $5::text[])
            AS move (reader, transaction_id, position, halted_because)
        WHERE checkpoints.reader = move.reader
          AND checkpoints.epoch = $1
          AND (checkpoints.held_until IS NULL OR checkpoints.held_until <= clock_timestamp())
        "#,
        stored_epoch(epoch),
        &names(moves.iter().map(|step| step.reader)),
        &moves.iter().map(|step| step.to.transaction_id).collect::<Vec<_>>() as &[TransactionId],
        &moves.iter().map(|step| step.to.position).collect::<Vec<_>>(),
        &moves.iter().map(|step| step.halted_because.clone()).collect::<Vec<_>>() as &[Option<String>],
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if usize::try_from(moved) == Ok(moves.len()) {
        return Ok(());
    }
    let owned = sqlx::query_scalar!(
        r#"SELECT count(*) AS "owned!" FROM checkpoints WHERE reader = ANY($1) AND epoch = $2"#,
        &names(moves.iter().map(|step| step.reader)),
        stored_epoch(epoch),
    )
    .fetch_one(connection)
    .await?;
    let all_owned = usize::try_from(owned) == Ok(moves.len());
    Err(if all_owned { CheckpointFailure::Held } else { CheckpointFailure::Fenced })
}

fn names(readers: impl Iterator<Item = &'static str>) -> Vec<String> {
    readers.map(str::to_owned).collect()
}

fn stored_epoch(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}
