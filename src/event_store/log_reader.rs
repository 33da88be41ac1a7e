//! Reading the log in its total order.
//!
//! A reader pages by `(transaction_id, position)` and stops below the oldest running transaction that may
//! append. Ordering by position alone would lose facts: positions are drawn before the commit, so the lower
//! position of a slow writer can appear after a reader has passed it. The cost is that any transaction that
//! stays open anywhere in the cluster holds all readers back, except those marked as appending nothing
//! ([`projections::mark_non_appending`]).

use chrono::{DateTime, Utc};
use projections::{BigInt, LogPosition, LogRow, NON_APPENDING, TransactionId, log_rows};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

/// Rows of the log, oldest first.
#[derive(Debug, Default)]
pub struct LogPage {
    pub rows: Vec<LogRow>,
    /// Whether more facts are committed that must not be read yet, because an older transaction is running.
    pub held_back: bool,
}

/// Returns the next rows after `after`, at most `rows_max`, without waiting for the transactions `elsewhere`, which
/// cannot append. Must not be called within a transaction: transactions that mark themselves as appending
/// nothing would wait for its end.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.follow", level = "trace", skip_all, err(level = "debug"))]
pub async fn read_after(
    connection: &mut PgConnection,
    after: LogPosition,
    rows_max: usize,
    elsewhere: &[TransactionId],
) -> Result<LogPage, sqlx::Error> {
    // The page ends with the first row that must not be read yet, if there is one: without its payload, which
    // is never empty otherwise. More of those rows are not sent: under load there are many, and the next page
    // would send them again.
    let mut rows = log_rows!(
        payload: "CASE WHEN settled THEN payload::text ELSE '' END",
        r#"
        FROM (
            WITH horizon AS MATERIALIZED (
                SELECT log_transaction_id((SELECT max(era) FROM log_eras), coalesce(
                    (
                        SELECT running
                        FROM pg_snapshot_xip(pg_current_snapshot()) AS running
                        -- Fails to lock where the transaction itself holds the lock.
                        WHERE pg_try_advisory_xact_lock_shared(
                            hashtext($4), (running::text::bigint & 2147483647)::int
                        )
                          AND running <> ALL($5::xid8[])
                        ORDER BY running
                        LIMIT 1
                    ),
                    pg_snapshot_xmax(pg_current_snapshot())
                )) AS transaction_id
            )
            (
                SELECT
                    true AS settled, transaction_id, position, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, tenant_id, recorded_at
                FROM events
                WHERE (transaction_id, position) > ($1, $2)
                  AND transaction_id < (SELECT transaction_id FROM horizon)
                ORDER BY transaction_id, position
                LIMIT $3
            )
            UNION ALL
            (
                SELECT
                    false, transaction_id, position, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, tenant_id, recorded_at
                FROM events
                -- One bound for the index scan to begin at. Of two it would take the reader's position, and
                -- read everything that a reader far behind still has to read.
                WHERE transaction_id >= greatest((SELECT transaction_id FROM horizon), $1)
                  AND (transaction_id > $1 OR position > $2)
                ORDER BY transaction_id, position
                LIMIT 1
            )
        ) AS page
        ORDER BY transaction_id, position
        "#,
        after.transaction_id as TransactionId,
        after.position,
        BigInt(rows_max as u64) as BigInt,
        NON_APPENDING,
        elsewhere as &[TransactionId],
    )
    .fetch_all(connection)
    .await?;
    let held_back = rows.pop_if(|row| row.payload.is_empty()).is_some();
    Ok(LogPage { rows, held_back })
}

/// Returns the next rows of some tenants after `after` and up to `until`, at most `rows_max`. Some reader
/// must have reached `until` before.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.follow_tenants", level = "trace", skip_all, err(level = "debug"))]
pub async fn read_between(
    connection: &mut PgConnection,
    tenants: &[Uuid],
    after: LogPosition,
    until: LogPosition,
    rows_max: i64,
) -> Result<Vec<LogRow>, sqlx::Error> {
    log_rows!(
        r#"
        FROM events
        WHERE (transaction_id, position) > ($2, $3)
          AND (transaction_id, position) <= ($4, $5)
          AND tenant_id = ANY($1)
        ORDER BY transaction_id, position
        LIMIT $6
        "#,
        tenants,
        after.transaction_id as TransactionId,
        after.position,
        until.transaction_id as TransactionId,
        until.position,
        rows_max,
    )
    .fetch_all(connection)
    .await
}

/// Consecutive facts of the log, of which some are wanted.
#[derive(Debug, Default)]
pub struct LogRange {
    /// The wanted facts.
    pub rows: Vec<LogRow>,
    /// Number of facts, wanted or not.
    pub facts: usize,
    /// Position of the last fact, wanted or not.
    pub last: Option<LogPosition>,
}

/// Reads the next `facts_max` facts after `after` and up to `until`, of which those of `aggregates` are
/// wanted. Some reader must have reached `until` before.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.read_range", level = "trace", skip_all, err(level = "debug"))]
pub async fn read_range(
    connection: &mut PgConnection,
    aggregates: &[String],
    after: LogPosition,
    until: LogPosition,
    facts_max: i64,
) -> Result<LogRange, sqlx::Error> {
    // The payload, which is most of a row, is sent for wanted facts only.
    let mut rows = log_rows!(
        payload: "CASE WHEN aggregate_type = ANY($6) THEN payload::text ELSE '' END",
        r#"
        FROM events
        WHERE (transaction_id, position) > ($1, $2)
          AND (transaction_id, position) <= ($3, $4)
        ORDER BY transaction_id, position
        LIMIT $5
        "#,
        after.transaction_id as TransactionId,
        after.position,
        until.transaction_id as TransactionId,
        until.position,
        facts_max,
        aggregates,
    )
    .fetch_all(connection)
    .await?;
    let facts = rows.len();
    let last = rows.last().map(LogRow::log_position);
    rows.retain(|row| aggregates.contains(&row.aggregate_type));
    Ok(LogRange { rows, facts, last })
}

/// Returns the position of the last fact that no running transaction precedes.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.last_settled", level = "debug", skip_all, err(level = "debug"))]
pub async fn last_settled(connection: &mut PgConnection) -> Result<LogPosition, sqlx::Error> {
    let last = sqlx::query_as!(
        LogPosition,
        r#"
        SELECT transaction_id AS "transaction_id: _", position
        FROM events
        WHERE transaction_id < (
            SELECT log_transaction_id(max(era), pg_snapshot_xmin(pg_current_snapshot())) FROM log_eras
        )
        ORDER BY transaction_id DESC, position DESC
        LIMIT 1
        "#
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.unwrap_or_default())
}

/// Returns an id of PostgreSQL above those of all transactions that have ended: a page read when [`horizon`] has
/// reached it holds everything that they wrote.
///
/// # Errors
/// When the database fails.
pub async fn barrier(connection: &mut PgConnection) -> Result<TransactionId, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT pg_snapshot_xmax(pg_current_snapshot()) AS "barrier!: TransactionId""#)
        .fetch_one(connection)
        .await
}

/// Returns PostgreSQL's id of the oldest running transaction that may append, without those `elsewhere`: a page
/// read after this call holds everything older.
///
/// # Errors
/// When the database fails.
pub async fn horizon(
    connection: &mut PgConnection,
    elsewhere: &[TransactionId],
) -> Result<TransactionId, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT coalesce(
            (
                SELECT running
                FROM pg_snapshot_xip(pg_current_snapshot()) AS running
                WHERE pg_try_advisory_xact_lock_shared(
                    hashtext($1), (running::text::bigint & 2147483647)::int
                )
                  AND running <> ALL($2::xid8[])
                ORDER BY running
                LIMIT 1
            ),
            pg_snapshot_xmax(pg_current_snapshot())
        ) AS "horizon!: TransactionId"
        "#,
        NON_APPENDING,
        elsewhere as &[TransactionId],
    )
    .fetch_one(connection)
    .await
}

/// Returns the position of the last committed fact, which readers may not be allowed to read yet.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.last_committed", level = "debug", skip_all, err(level = "debug"))]
pub async fn last_committed(connection: &mut PgConnection) -> Result<Option<LogPosition>, sqlx::Error> {
    sqlx::query_as!(
        LogPosition,
        r#"
        SELECT transaction_id AS "transaction_id: _", position
        FROM events
        ORDER BY transaction_id DESC, position DESC
        LIMIT 1
        "#
    )
    .fetch_optional(connection)
    .await
}

/// Position of the last committed fact, and when it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    pub position: i64,
    pub recorded_at: DateTime<Utc>,
}

/// Returns the last committed fact; `None`: the log is empty.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.head", level = "trace", skip_all, err(level = "debug"))]
pub async fn head(pool: &PgPool) -> Result<Option<LogHead>, sqlx::Error> {
    sqlx::query_as!(
        LogHead,
        "
        SELECT position, recorded_at
        FROM events
        ORDER BY transaction_id DESC, position DESC
        LIMIT 1
        "
    )
    .fetch_optional(pool)
    .await
}
