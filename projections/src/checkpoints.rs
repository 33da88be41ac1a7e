//! How far each reader of the log has come, and who may say so.
//!
//! A reader moves its checkpoint in the transaction that writes what it read. Each new owner of a reader
//! brings a higher epoch; a move carries the epoch its owner knows, and a stale one is refused. So an
//! owner that was paused, and replaced meanwhile, cannot commit what it still had in hand.
//!
//! A checkpoint can be held: for a moment its owner may not move it, and whoever holds it puts other rows
//! in the place of the reader's rows, folded up to the same place of the log. A hold is a time in the row
//! and no lock, so nobody waits in an open transaction and a holder that dies is soon forgotten.

use std::time::Duration;

use sqlx::PgConnection;
use thiserror::Error;

use crate::logged_fact::{LogPosition, TransactionId};

/// How far a reader has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub reader: String,
    /// The last fact that is in its rows.
    pub position: LogPosition,
    /// Why it stopped there, if it did.
    pub halted_because: Option<String>,
    /// Whether it may not be moved for a moment.
    pub held: bool,
}

/// A checkpoint that stands still for whoever holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The last fact that is in the reader's rows.
    pub position: LogPosition,
    /// Whether it had stopped there.
    pub halted: bool,
    epoch: i64,
}

/// How far a reader may be behind the foremost one, in facts, for anybody to wait for it: catching up takes
/// longer than anybody waits. A read model that is new is as far behind as the log is long.
pub const BEHIND_FACTS_MAX: i64 = 10_000;

/// A checkpoint to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    pub reader: &'static str,
    /// The last fact that is in its rows now.
    pub to: LogPosition,
    /// Why it stops there, if it does.
    pub halted_because: Option<String>,
}

/// How far a reader is behind the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Lag {
    pub reader: String,
    /// About how many facts it has not folded; 0 only when there is none. Numbers that the log skipped
    /// are counted.
    pub facts: u64,
    /// How long ago the oldest of them was recorded.
    pub age: Duration,
    /// Why it stopped, if it did.
    pub halted_because: Option<String>,
}

/// Why a checkpoint was not taken over or moved.
#[derive(Debug, Error)]
pub enum CheckpointFailure {
    /// Somebody with a higher epoch owns the reader. The transaction is to be rolled back.
    #[error("another process has taken over")]
    Fenced,
    /// Somebody holds a checkpoint, for a moment. The transaction is to be rolled back.
    #[error("the checkpoint is held")]
    Held,
    /// The database did not do it.
    #[error("the checkpoint cannot be read or written")]
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

/// Makes the leader of `epoch` the owner of `reader`, and answers where it goes on. A reader that is new
/// begins before the log's first fact.
pub async fn take_over(
    connection: &mut PgConnection,
    reader: &'static str,
    epoch: u64,
) -> Result<LogPosition, CheckpointFailure> {
    let taken = take_over_all(connection, &[reader], epoch).await?;
    taken.first().map(|checkpoint| checkpoint.position).ok_or(CheckpointFailure::Fenced)
}

/// Makes the leader of `epoch` the owner of several readers. What halted them is cleared: a new owner
/// tries again.
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

/// The checkpoints of those `readers` that have begun.
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
pub async fn advance(
    connection: &mut PgConnection,
    reader: &'static str,
    epoch: u64,
    to: LogPosition,
) -> Result<(), CheckpointFailure> {
    advance_all(connection, epoch, &[Move { reader, to, halted_because: None }]).await
}

/// Keeps checkpoints where they are until the transaction ends, for whoever writes rows and moves none.
/// Refused while a new generation of the rows is about to take their place.
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

/// Moves several checkpoints: all or, when one of them has another owner or is held and the transaction is
/// rolled back, none.
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

/// Holds the checkpoint of `reader` where it is, until it is released, but not longer than `lasting`. Waits
/// for a move that is being made.
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

/// Lets a checkpoint move again.
#[tracing::instrument(name = "db.checkpoints.release", level = "debug", skip_all, err(level = "debug"))]
pub async fn release(connection: &mut PgConnection, reader: &'static str) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE checkpoints SET held_until = NULL WHERE reader = $1", reader)
        .execute(connection)
        .await?;
    Ok(())
}

/// Says that the rows of a held reader, which have just been replaced, show everything up to `to`, and lets
/// the checkpoint move. Whatever halted the reader did not halt the new rows. Does nothing and answers
/// `false` when the checkpoint is not as it was held any more.
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

/// Whether all of `readers` have folded the fact at `position`, but those that have halted and those that
/// are more than [`BEHIND_FACTS_MAX`] behind the foremost.
#[tracing::instrument(name = "db.checkpoints.have_reached", level = "trace", skip_all, err(level = "debug"))]
pub async fn have_reached(
    connection: &mut PgConnection,
    readers: &[&'static str],
    position: LogPosition,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT count(*) = cardinality($1::text[]) AS "reached!"
        FROM checkpoints
        WHERE reader = ANY($1)
          AND (
            halted_because IS NOT NULL
            OR (transaction_id, position) >= ($2, $3)
            OR position < (SELECT max(position) FROM checkpoints WHERE reader = ANY($1)) - $4
          )
        "#,
        &names(readers.iter().copied()),
        position.transaction_id as TransactionId,
        position.position,
        BEHIND_FACTS_MAX,
    )
    .fetch_one(connection)
    .await
}

/// How far each of `readers` is behind what is committed.
#[tracing::instrument(name = "db.checkpoints.lag", level = "trace", skip_all, err(level = "debug"))]
pub async fn lag(connection: &mut PgConnection, readers: &[&'static str]) -> Result<Vec<Lag>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        WITH last AS (
            SELECT position
            FROM events
            ORDER BY transaction_id DESC, position DESC
            LIMIT 1
        ),
        reader AS (
            SELECT
                incoming.name,
                coalesce(checkpoint.transaction_id, '0') AS transaction_id,
                coalesce(checkpoint.position, 0) AS position,
                checkpoint.halted_because
            FROM unnest($1::text[]) AS incoming (name)
            LEFT JOIN checkpoints AS checkpoint ON checkpoint.reader = incoming.name
        )
        SELECT
            reader.name AS "name!",
            reader.halted_because,
            next.recorded_at IS NOT NULL AS "behind!",
            coalesce(last.position - reader.position, 0) AS "facts!",
            coalesce(extract(epoch FROM clock_timestamp() - next.recorded_at), 0)::float8 AS "age!"
        FROM reader
        LEFT JOIN last ON true
        LEFT JOIN LATERAL (
            SELECT recorded_at
            FROM events
            WHERE (events.transaction_id, events.position) > (reader.transaction_id, reader.position)
            ORDER BY events.transaction_id, events.position
            LIMIT 1
        ) AS next ON true
        "#,
        &names(readers.iter().copied()),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Lag {
            reader: row.name,
            // Positions of concurrent writers are not quite in the log's order.
            facts: if row.behind { u64::try_from(row.facts).unwrap_or_default().max(1) } else { 0 },
            age: Duration::try_from_secs_f64(row.age).unwrap_or_default(),
            halted_because: row.halted_because,
        })
        .collect())
}

fn names(readers: impl Iterator<Item = &'static str>) -> Vec<String> {
    readers.map(str::to_owned).collect()
}

fn stored_epoch(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}
