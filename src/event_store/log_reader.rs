//! Following the log in its total order.
//!
//! A reader pages by `(transaction_id, position)` and stays below the oldest transaction that still
//! runs. Ordering by position alone would lose facts: positions are drawn before the commit, so a slow
//! writer's lower position can appear after a reader has gone past it. The price is that any
//! transaction that stays open anywhere in the cluster holds all readers back.

use std::time::Duration;

use projections::{LogPosition, LogRow};
use sqlx::PgConnection;
use uuid::Uuid;

/// How soon a reader that is held back looks again, at first and at most. The transaction that holds it
/// back need not be an append, so nobody may announce its end.
const HELD_BACK_WAIT_MIN: Duration = Duration::from_millis(1);
const HELD_BACK_WAIT_MAX: Duration = Duration::from_millis(50);

/// Rows of the log, oldest first.
#[derive(Debug, Default)]
pub struct LogPage {
    /// The rows.
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

/// The next rows after `after`, at most `rows_max`.
#[tracing::instrument(name = "db.events.follow", level = "trace", skip_all, err(level = "debug"))]
pub async fn read_after(
    connection: &mut PgConnection,
    after: LogPosition,
    rows_max: i64,
) -> Result<LogPage, sqlx::Error> {
    // Rows that must not be read yet come last in the order; one of them says that there are some.
    let rows = sqlx::query!(
        r#"
        SELECT
            transaction_id < pg_snapshot_xmin(pg_current_snapshot()) AS "settled!",
            transaction_id::text AS "transaction_id!",
            position,
            aggregate_type,
            aggregate_id,
            sequence,
            payload::text AS "payload!",
            tenant_id,
            recorded_at
        FROM events
        WHERE (transaction_id, position) > ($1::text::xid8, $2)
        ORDER BY transaction_id, position
        LIMIT $3
        "#,
        after.transaction_id.to_string(),
        after.position,
        rows_max,
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
            payload::text AS "payload!", tenant_id, recorded_at
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

/// Where the log ends at this moment, facts that must not be read yet included.
#[tracing::instrument(name = "db.events.end", level = "trace", skip_all, err(level = "debug"))]
pub async fn end_of_log(connection: &mut PgConnection) -> Result<LogPosition, sqlx::Error> {
    let last = sqlx::query!(
        r#"
        SELECT transaction_id::text AS "transaction_id!", position
        FROM events
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
