//! What is to be delivered, for health checks in any process.

use std::time::Duration;

use sqlx::PgPool;

/// Waiting events that are counted. More are not, so that a long backlog costs no more than a short one.
const COUNTED_MAX: i64 = 10_000;

/// What is to be delivered, of all tenants, as of the dispatcher's checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Events that wait for an attempt, at most [`COUNTED_MAX`].
    pub(crate) waiting: u64,
    /// Those of them that are due.
    pub(crate) due: u64,
    /// Time since which the oldest of these is due; zero without any.
    pub(crate) oldest_due: Duration,
    /// Attempts in progress.
    pub(crate) in_progress: u64,
    /// Whether more events wait than are counted.
    pub(crate) is_lower_bound: bool,
}

/// Counts what is to be delivered. The order of an index keeps the planner from scanning the table, which is long
/// after a backlog.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.due_deliveries.backlog", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn look(pool: &PgPool) -> Result<Backlog, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT
            count(*) AS "waiting!",
            count(*) FILTER (WHERE due_at <= clock_timestamp()) AS "due!",
            coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 AS "oldest_due!",
            (SELECT count(*) FROM due_deliveries WHERE started_at IS NOT NULL) AS "in_progress!"
        FROM (
            SELECT due_at
            FROM due_deliveries
            WHERE started_at IS NULL
            ORDER BY destination_id, due_at
            LIMIT $1
        ) AS waiting
        "#,
        COUNTED_MAX + 1,
    )
    .fetch_one(pool)
    .await?;
    let is_lower_bound = row.waiting > COUNTED_MAX;
    Ok(Backlog {
        waiting: row.waiting.min(COUNTED_MAX).unsigned_abs(),
        due: row.due.min(COUNTED_MAX).unsigned_abs(),
        // Negative while the oldest one is not due yet.
        oldest_due: Duration::try_from_secs_f64(row.oldest_due).unwrap_or_default(),
        in_progress: row.in_progress.unsigned_abs(),
        is_lower_bound,
    })
}
