//! The two walks, which find the events that may be unaccounted for.

use chrono::{DateTime, Utc};
use projections::{LogPosition, TransactionId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::UnfinishedPosition;

/// Most facts of the log examined in a step. Faster than the log grows.
const FACTS_MAX: i64 = 20_000;
/// Most unfinished events examined in a step.
const UNFINISHED_MAX: i64 = 5_000;

/// Part of a walk.
pub(super) struct Part<P> {
    /// Where the next part begins.
    pub(super) until: P,
    /// Whether the walk has come to its end.
    pub(super) is_last: bool,
    /// Events that may be unaccounted for.
    pub(super) suspects: Vec<Uuid>,
}

/// Returns the accepted events without a row in the read model, among the next facts of the log that were recorded
/// before `settled_before`.
#[tracing::instrument(name = "db.completeness.accepted", level = "trace", skip_all, err(level = "debug"))]
pub(super) async fn accepted_without_row(
    connection: &mut PgConnection,
    after: LogPosition,
    settled_before: DateTime<Utc>,
) -> Result<Part<LogPosition>, sqlx::Error> {
    // Not beyond the first fact that is too recent, because facts are recorded in about the order of the log.
    let row = sqlx::query!(
        r#"
        WITH page AS MATERIALIZED (
            SELECT
                transaction_id, position, aggregate_type, aggregate_id, sequence,
                bool_and(recorded_at < $3) OVER (ORDER BY transaction_id, position) AS settled
            FROM (
                SELECT transaction_id, position, aggregate_type, aggregate_id, sequence, recorded_at
                FROM events
                WHERE (transaction_id, position) > ($1, $2)
                ORDER BY transaction_id, position
                LIMIT $4
            ) AS next
        ),
        last AS (
            SELECT transaction_id, position
            FROM page
            WHERE settled
            ORDER BY transaction_id DESC, position DESC
            LIMIT 1
        )
        SELECT
            (SELECT transaction_id FROM last) AS "transaction_id: TransactionId",
            (SELECT position FROM last) AS position,
            (SELECT count(*) FROM page WHERE settled) AS "facts!",
            ARRAY(
                SELECT aggregate_id::uuid
                FROM page
                WHERE settled
                  AND aggregate_type = 'WebhookEvent'
                  AND sequence = 1
                  AND NOT EXISTS (SELECT FROM webhook_events WHERE id = page.aggregate_id::uuid)
            ) AS "suspects!"
        "#,
        after.transaction_id as TransactionId,
        after.position,
        settled_before,
        FACTS_MAX,
    )
    .fetch_one(connection)
    .await?;
    let until = row.transaction_id.zip(row.position);
    let until = until.map_or(after, |(transaction_id, position)| LogPosition { transaction_id, position });
    Ok(Part { until, is_last: row.facts < FACTS_MAX, suspects: row.suspects })
}

/// Returns the events that the dispatcher would not release, among the next unfinished ones of the read model. After
/// the last one the walk begins again.
#[tracing::instrument(name = "db.completeness.unfinished", level = "trace", skip_all, err(level = "debug"))]
pub(super) async fn unfinished_and_not_due(
    connection: &mut PgConnection,
    after: UnfinishedPosition,
) -> Result<Part<UnfinishedPosition>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT
            tenant_id, destination_id, id,
            NOT EXISTS (SELECT FROM due_deliveries WHERE event_id = unfinished.id) AS "is_suspect!"
        FROM (
            SELECT tenant_id, destination_id, id
            FROM webhook_events
            WHERE (tenant_id, destination_id, id) > ($1, $2, $3)
              AND NOT event_status_is_final(status)
            ORDER BY tenant_id, destination_id, id
            LIMIT $4
        ) AS unfinished
        ORDER BY tenant_id, destination_id, id
        "#,
        after.tenant_id,
        after.destination_id,
        after.event_id,
        UNFINISHED_MAX,
    )
    .fetch_all(connection)
    .await?;
    let last = rows.last().map(|row| UnfinishedPosition {
        tenant_id: row.tenant_id,
        destination_id: row.destination_id,
        event_id: row.id,
    });
    let is_last = (rows.len() as i64) < UNFINISHED_MAX;
    let until = last.filter(|_| !is_last).unwrap_or_default();
    let suspects = rows.into_iter().filter(|row| row.is_suspect).map(|row| row.id).collect();
    Ok(Part { until, is_last, suspects })
}
