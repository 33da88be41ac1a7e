//! Reading the facts of one stream, for what an aggregate's state does not tell: when something was
//! accepted, what was once issued, who did it.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use projections::paging::{Direction, Listed, Page};
use projections::{LogPosition, LogRow};
use sqlx::PgConnection;
use uuid::Uuid;

/// A fact as a history shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the log.
    pub position: LogPosition,
    /// Its version within the stream, from 1.
    pub sequence: i64,
    /// What happened, in a word.
    pub event_type: String,
    /// The fact as JSON text.
    pub payload: String,
    /// Who brought it about.
    pub actor: Option<String>,
    /// The HTTP request in whose course it was written.
    pub request_id: Option<String>,
    /// When the database recorded it.
    pub recorded_at: DateTime<Utc>,
}

/// The facts of a stream, oldest first.
#[tracing::instrument(name = "db.events.read_stream", level = "debug", skip_all, err(level = "debug"))]
pub async fn read<A: Aggregate>(connection: &mut PgConnection, id: Uuid) -> Result<Vec<LogRow>, sqlx::Error> {
    sqlx::query_as!(
        LogRow,
        r#"
        SELECT
            transaction_id::text AS "transaction_id!",
            position,
            aggregate_type,
            aggregate_id,
            sequence,
            payload::text AS "payload!",
            tenant_id,
            recorded_at
        FROM events
        WHERE aggregate_type = $1 AND aggregate_id = $2
        ORDER BY sequence
        "#,
        A::TYPE,
        id.to_string(),
    )
    .fetch_all(connection)
    .await
}

/// A page of what happened to a stream, with who did it.
#[tracing::instrument(name = "db.events.history", level = "debug", skip_all, err(level = "debug"))]
pub async fn history<A: Aggregate>(
    connection: &mut PgConnection,
    id: Uuid,
    direction: Direction,
    page: Page,
) -> Result<Listed<Entry>, sqlx::Error> {
    let id = id.to_string();
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM events WHERE aggregate_type = $1 AND aggregate_id = $2"#,
        A::TYPE,
        id,
    )
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query!(
        r#"
        SELECT
            transaction_id::text AS "transaction_id!",
            position,
            sequence,
            event_type,
            payload::text AS "payload!",
            metadata ->> 'actor' AS actor,
            metadata ->> 'requestId' AS request_id,
            recorded_at
        FROM events
        WHERE aggregate_type = $1 AND aggregate_id = $2
        ORDER BY CASE WHEN $3 THEN -sequence ELSE sequence END
        LIMIT $4
        OFFSET $5
        "#,
        A::TYPE,
        id,
        direction == Direction::Descending,
        page.limit,
        page.offset,
    )
    .fetch_all(connection)
    .await?;
    let items = rows
        .into_iter()
        .map(|row| Entry {
            position: LogPosition {
                transaction_id: row.transaction_id.parse().unwrap_or_default(),
                position: row.position,
            },
            sequence: row.sequence,
            event_type: row.event_type,
            payload: row.payload,
            actor: row.actor,
            request_id: row.request_id,
            recorded_at: row.recorded_at,
        })
        .collect();
    Ok(Listed { total, items })
}
