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

/// Position of the walk along the log.
#[derive(Clone, Copy)]
pub(super) struct LogProgress {
    /// The last fact that was examined.
    pub(super) after: LogPosition,
    /// The fact up to which the log is examined next, once it is old enough; `None`: none is chosen.
    pub(super) bound: Option<LogPosition>,
}

/// Returns the accepted events without a row in the read model, among the next facts of the log. They are examined up
/// to a fact that was the last one when it was chosen, and only after that one was recorded before `settled_before`:
/// nothing is read twice while it is too recent.
pub(super) async fn accepted_without_row(
    connection: &mut PgConnection,
    progress: LogProgress,
    settled_before: DateTime<Utc>,
) -> Result<Part<LogProgress>, sqlx::Error> {
    let LogProgress { after, bound } = progress;
    let chosen = match bound {
        Some(bound) => recorded_at(connection, bound).await?.map(|recorded_at| (bound, recorded_at)),
        None => None,
    };
    let Some((bound, recorded_at)) = chosen else {
        // The first step, the end of the part before, or a failover that lost the fact.
        let bound = last_fact(connection).await?.filter(|last| *last > after);
        return Ok(Part { until: LogProgress { after, bound }, is_last: true, suspects: vec![] });
    };
    if recorded_at >= settled_before {
        return Ok(Part { until: progress, is_last: true, suspects: vec![] });
    }
    let page = accepted_between(connection, after, bound).await?;
    let until = LogProgress { after: page.until, bound: Some(bound).filter(|_| !page.is_last) };
    Ok(Part { until, is_last: page.is_last, suspects: page.suspects })
}

#[tracing::instrument(name = "db.completeness.last_fact", level = "trace", skip_all, err(level = "debug"))]
async fn last_fact(connection: &mut PgConnection) -> Result<Option<LogPosition>, sqlx::Error> {
    sqlx::query_as!(
        LogPosition,
        r#"
        SELECT transaction_id AS "transaction_id: _", position
        FROM events
        ORDER BY transaction_id DESC, position DESC
        LIMIT 1
        "#,
    )
    .fetch_optional(connection)
    .await
}

#[tracing::instrument(name = "db.completeness.recorded_at", level = "trace", skip_all, err(level = "debug"))]
async fn recorded_at(
    connection: &mut PgConnection,
    fact: LogPosition,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT recorded_at FROM events WHERE transaction_id = $1 AND position = $2",
        fact.transaction_id as TransactionId,
        fact.position,
    )
    .fetch_optional(connection)
    .await
}

/// Returns the accepted events without a row in the read model, among the facts after `after` up to `bound`.
#[tracing::instrument(name = "db.completeness.accepted", level = "trace", skip_all, err(level = "debug"))]
async fn accepted_between(
    connection: &mut PgConnection,
    after: LogPosition,
    bound: LogPosition,
) -> Result<Part<LogPosition>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        WITH page AS MATERIALIZED (
            SELECT transaction_id, position, aggregate_type, aggregate_id, sequence
            FROM events
            WHERE (transaction_id, position) > ($1, $2)
              AND (transaction_id, position) <= ($3, $4)
            ORDER BY transaction_id, position
            LIMIT $5
        ),
        -- None if the page ends at the bound.
        last AS (
            SELECT transaction_id, position
            FROM page
            ORDER BY transaction_id, position
            OFFSET $5 - 1
        )
        SELECT
            (SELECT transaction_id FROM last) AS "transaction_id: TransactionId",
            (SELECT position FROM last) AS position,
            ARRAY(
                SELECT aggregate_id::uuid
                FROM page
                WHERE aggregate_type = 'WebhookEvent'
                  AND sequence = 1
                  AND NOT EXISTS (SELECT FROM webhook_events WHERE id = page.aggregate_id::uuid)
            ) AS "suspects!"
        "#,
        after.transaction_id as TransactionId,
        after.position,
        bound.transaction_id as TransactionId,
        bound.position,
        FACTS_MAX,
    )
    .fetch_one(connection)
    .await?;
    let last = row.transaction_id.zip(row.position);
    let last = last.map(|(transaction_id, position)| LogPosition { transaction_id, position });
    let until = last.unwrap_or(bound);
    Ok(Part { until, is_last: until >= bound, suspects: row.suspects })
}

/// Returns the events accepted before `settled_before` that the dispatcher would not release, among the next unfinished
/// ones of the read model. After the last one the walk begins again.
#[tracing::instrument(name = "db.completeness.unfinished", level = "trace", skip_all, err(level = "debug"))]
pub(super) async fn unfinished_and_not_due(
    connection: &mut PgConnection,
    after: UnfinishedPosition,
    settled_before: DateTime<Utc>,
) -> Result<Part<UnfinishedPosition>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT
            tenant_id, destination_id, id,
            accepted_at < $5
                AND NOT EXISTS (SELECT FROM due_deliveries WHERE event_id = unfinished.id) AS "is_suspect!"
        FROM (
            SELECT tenant_id, destination_id, id, accepted_at
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
        settled_before,
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
