//! Reading the facts of one stream, for what an aggregate's state does not tell: when something was
//! accepted, what was once issued, who did it.

use aggregates::ids::TenantId;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use projections::paging::{Direction, Listed, Page};
use projections::{LogPosition, LogRow, TransactionId, log_rows};
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

/// Which facts of a stream are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Only facts of these names.
    pub names: Option<&'a [&'static str]>,
    /// Only facts up to this version.
    pub until: Option<u64>,
}

/// The facts of a stream, oldest first.
pub async fn read<A: Aggregate>(connection: &mut PgConnection, id: Uuid) -> Result<Vec<LogRow>, sqlx::Error> {
    read_some::<A>(connection, id, Wanted::default()).await
}

/// Some facts of a stream, oldest first.
#[tracing::instrument(name = "db.events.read_stream", level = "debug", skip_all, err(level = "debug"))]
pub async fn read_some<A: Aggregate>(
    connection: &mut PgConnection,
    id: Uuid,
    wanted: Wanted<'_>,
) -> Result<Vec<LogRow>, sqlx::Error> {
    let names: Option<Vec<String>> =
        wanted.names.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    log_rows!(
        r#"
        FROM events
        WHERE aggregate_type = $1
          AND aggregate_id = $2
          AND ($3::text[] IS NULL OR event_type = ANY($3))
          AND ($4::bigint IS NULL OR sequence <= $4)
        ORDER BY sequence
        "#,
        A::TYPE,
        id.to_string(),
        names.as_deref(),
        wanted.until.map(|version| i64::try_from(version).unwrap_or(i64::MAX)),
    )
    .fetch_all(connection)
    .await
}

/// The tenant whose stream it is; `None` when it has no facts.
#[tracing::instrument(name = "db.events.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of<A: Aggregate>(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<Option<TenantId>, sqlx::Error> {
    let owner = sqlx::query_scalar!(
        r#"
        SELECT tenant_id AS "tenant_id!"
        FROM events
        WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = 1
        "#,
        A::TYPE,
        id.to_string(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(owner.map(TenantId))
}

/// The version that a stream had at `time`; 0 when it had no facts. Times are compared as histories show
/// them, in whole milliseconds.
#[tracing::instrument(name = "db.events.version_at", level = "debug", skip_all, err(level = "debug"))]
pub async fn version_at<A: Aggregate>(
    connection: &mut PgConnection,
    id: Uuid,
    time: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let version = sqlx::query_scalar!(
        r#"
        SELECT coalesce(max(sequence), 0) AS "version!"
        FROM events
        WHERE aggregate_type = $1
          AND aggregate_id = $2
          AND date_trunc('milliseconds', recorded_at) <= $3
        "#,
        A::TYPE,
        id.to_string(),
        time,
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(version).unwrap_or_default())
}

/// What the clock of the log shows.
pub async fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(connection).await
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
            transaction_id AS "transaction_id: TransactionId",
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
            position: LogPosition { transaction_id: row.transaction_id, position: row.position },
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
