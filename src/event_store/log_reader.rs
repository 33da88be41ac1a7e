//! Following the log in its total order.
//!
//! A reader pages by `(transaction_id, position)` and stays below the oldest transaction that still
//! runs and may append. Ordering by position alone would lose facts: positions are drawn before the commit,
//! so a slow writer's lower position can appear after a reader has gone past it. The price is that any
//! transaction that stays open anywhere in the cluster holds all readers back, but for those of ours that say
//! they will append nothing ([`super::non_appending`]).

use std::time::Duration;

use projections::{LogPosition, LogRow};
use sqlx::PgConnection;
use uuid::Uuid;

use super::non_appending::NON_APPENDING;

/// How soon a reader that is held back looks again, at first and at most. The transaction that holds it
/// back need not be an append, so nobody may announce its end.
const HELD_BACK_WAIT_MIN: Duration = Duration::from_millis(2);
const HELD_BACK_WAIT_MAX: Duration = Duration::from_millis(50);

/// Rows of the log, oldest first.
#[derive(Debug, Default)]
pub struct LogPage {
    pub rows: Vec<LogRow>,
    /// Whether more facts are committed that must not be read yet, because an older transaction runs.
    pub held_back: bool,
}

/// The wait of a reader that is held back: short at first, longer when it lasts.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeldBack(Option<Duration>);

impl HeldBack {
    /// Takes note of a page, and says how soon to look again without being woken.
    pub fn after(&mut self, page: &LogPage) -> Option<Duration> {
        self.0 = match (page.held_back, self.0) {
            (false, _) => None,
            (true, Some(wait)) if page.rows.is_empty() => Some((wait * 2).min(HELD_BACK_WAIT_MAX)),
            (true, _) => Some(HELD_BACK_WAIT_MIN),
        };
        self.0
    }
}

/// The next rows after `after`, at most `rows_max`. Not to be called within a transaction: who stands by
/// would wait for its end.
#[tracing::instrument(name = "db.events.follow", level = "trace", skip_all, err(level = "debug"))]
pub async fn read_after(
    connection: &mut PgConnection,
    after: LogPosition,
    rows_max: i64,
) -> Result<LogPage, sqlx::Error> {
    // The first row that must not be read yet comes last in the order, and says that there are some. The
    // rows behind it stay where they are: under load there are many, and the next page would bring them
    // again.
    let rows = sqlx::query!(
        r#"
        WITH horizon AS MATERIALIZED (
            SELECT coalesce(
                (
                    SELECT running
                    FROM pg_snapshot_xip(pg_current_snapshot()) AS running
                    -- Not to be had where the transaction itself holds it.
                    WHERE pg_try_advisory_xact_lock_shared(
                        hashtext($4), (running::text::bigint & 2147483647)::int
                    )
                    ORDER BY running
                    LIMIT 1
                ),
                pg_snapshot_xmax(pg_current_snapshot())
            ) AS transaction_id
        )
        SELECT
            settled AS "settled!",
            transaction_id::text AS "transaction_id!",
            position AS "position!",
            aggregate_type AS "aggregate_type!",
            aggregate_id AS "aggregate_id!",
            sequence AS "sequence!",
            event_type AS "event_type!",
            event_version AS "event_version!",
            payload::text AS "payload!",
            tenant_id,
            recorded_at AS "recorded_at!"
        FROM (
            (
                SELECT
                    true AS settled, transaction_id, position, aggregate_type, aggregate_id, sequence,
                    event_type, event_version, payload, tenant_id, recorded_at
                FROM events
                WHERE (transaction_id, position) > ($1::text::xid8, $2)
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
                -- One bound for the index, so that it begins there: of two it would take the reader's, and
                -- walk through everything that a reader far behind has before it.
                WHERE transaction_id >= greatest((SELECT transaction_id FROM horizon), $1::text::xid8)
                  AND (transaction_id > $1::text::xid8 OR position > $2)
                ORDER BY transaction_id, position
                LIMIT 1
            )
        ) AS page
        ORDER BY page.transaction_id, page.position
        "#,
        after.transaction_id.to_string(),
        after.position,
        rows_max,
        NON_APPENDING,
    )
    .fetch_all(connection)
    .await?;
    let held_back = rows.last().is_some_and(|row| !row.settled);
    let rows = rows
        .into_iter()
        .take_while(|row| row.settled)
        .map(|row| LogRow {
            transaction_id: row.transaction_id,
            position: row.position,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            sequence: row.sequence,
            event_type: row.event_type,
            event_version: row.event_version,
            payload: row.payload,
            tenant_id: row.tenant_id,
            recorded_at: row.recorded_at,
        })
        .collect();
    Ok(LogPage { rows, held_back })
}

/// The next rows of some tenants after `after` and up to `until`, at most `rows_max`. Everything up to
/// `until` must have been read before, by whatever reader.
#[tracing::instrument(name = "db.events.follow_tenants", level = "trace", skip_all, err(level = "debug"))]
pub async fn read_between(
    connection: &mut PgConnection,
    tenants: &[Uuid],
    after: LogPosition,
    until: LogPosition,
    rows_max: i64,
) -> Result<Vec<LogRow>, sqlx::Error> {
    sqlx::query_as!(
        LogRow,
        r#"
        SELECT
            transaction_id::text AS "transaction_id!", position, aggregate_type, aggregate_id, sequence,
            event_type, event_version, payload::text AS "payload!", tenant_id, recorded_at
        FROM events
        WHERE (transaction_id, position) > ($2::text::xid8, $3)
          AND (transaction_id, position) <= ($4::text::xid8, $5)
          AND tenant_id = ANY($1)
        ORDER BY transaction_id, position
        LIMIT $6
        "#,
        tenants,
        after.transaction_id.to_string(),
        after.position,
        until.transaction_id.to_string(),
        until.position,
        rows_max,
    )
    .fetch_all(connection)
    .await
}

/// A stretch of the log, of which only some facts are wanted.
#[derive(Debug, Default)]
pub struct LogRange {
    /// The facts that are wanted.
    pub rows: Vec<LogRow>,
    /// How many facts it has in all.
    pub facts: usize,
    /// Its last fact, wanted or not.
    pub last: Option<LogPosition>,
}

/// The next `facts_max` facts after `after` and up to `until`, with those of `aggregates` picked out.
/// Everything up to `until` must have been read before, by whatever reader.
#[tracing::instrument(name = "db.events.read_range", level = "trace", skip_all, err(level = "debug"))]
pub async fn read_range(
    connection: &mut PgConnection,
    aggregates: &[String],
    after: LogPosition,
    until: LogPosition,
    facts_max: i64,
) -> Result<LogRange, sqlx::Error> {
    // Facts that are not wanted come without their payload, which is most of a row.
    let rows = sqlx::query!(
        r#"
        SELECT
            transaction_id::text AS "transaction_id!",
            position,
            aggregate_type,
            aggregate_id,
            sequence,
            event_type,
            event_version,
            CASE WHEN aggregate_type = ANY($6) THEN payload::text END AS payload,
            tenant_id,
            recorded_at
        FROM events
        WHERE (transaction_id, position) > ($1::text::xid8, $2)
          AND (transaction_id, position) <= ($3::text::xid8, $4)
        ORDER BY transaction_id, position
        LIMIT $5
        "#,
        after.transaction_id.to_string(),
        after.position,
        until.transaction_id.to_string(),
        until.position,
        facts_max,
        aggregates,
    )
    .fetch_all(connection)
    .await?;
    let facts = rows.len();
    let last = rows.last().map(|row| LogPosition {
        transaction_id: row.transaction_id.parse().unwrap_or_default(),
        position: row.position,
    });
    let wanted = rows.into_iter().filter_map(|row| {
        Some(LogRow {
            transaction_id: row.transaction_id,
            position: row.position,
            aggregate_type: row.aggregate_type,
            aggregate_id: row.aggregate_id,
            sequence: row.sequence,
            event_type: row.event_type,
            event_version: row.event_version,
            payload: row.payload?,
            tenant_id: row.tenant_id,
            recorded_at: row.recorded_at,
        })
    });
    Ok(LogRange { rows: wanted.collect(), facts, last })
}

/// The last fact that readers may look at at this moment.
#[tracing::instrument(name = "db.events.last_settled", level = "debug", skip_all, err(level = "debug"))]
pub async fn last_settled(connection: &mut PgConnection) -> Result<LogPosition, sqlx::Error> {
    let last = sqlx::query!(
        r#"
        SELECT transaction_id::text AS "transaction_id!", position
        FROM events
        WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY transaction_id DESC, position DESC
        LIMIT 1
        "#
    )
    .fetch_optional(connection)
    .await?;
    Ok(last.map_or_else(LogPosition::default, |last| LogPosition {
        transaction_id: last.transaction_id.parse().unwrap_or_default(),
        position: last.position,
    }))
}

/// A bound on the transactions that have ended: everything they wrote is read once a reader's
/// [`horizon`] has reached it. Of those that have begun and not ended it says nothing.
pub async fn barrier(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let barrier =
        sqlx::query_scalar!(r#"SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS "barrier!""#)
            .fetch_one(connection)
            .await?;
    Ok(barrier.parse().unwrap_or_default())
}

/// The oldest transaction that still runs: a page read after this holds everything older.
pub async fn horizon(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let horizon =
        sqlx::query_scalar!(r#"SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS "horizon!""#)
            .fetch_one(connection)
            .await?;
    Ok(horizon.parse().unwrap_or_default())
}

/// The last fact that is committed at this moment, whether or not readers may look at it yet.
#[tracing::instrument(name = "db.events.last_committed", level = "debug", skip_all, err(level = "debug"))]
pub async fn last_committed(connection: &mut PgConnection) -> Result<Option<LogPosition>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT transaction_id::text AS "transaction_id!", position
        FROM events
        ORDER BY transaction_id DESC, position DESC
        LIMIT 1
        "#
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| LogPosition {
        transaction_id: row.transaction_id.parse().unwrap_or_default(),
        position: row.position,
    }))
}
