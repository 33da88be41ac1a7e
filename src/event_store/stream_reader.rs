//! Reading the facts of one stream, for what the state of an aggregate does not hold: when an event was
//! accepted, which keys were issued earlier, who made a change.

use std::collections::HashMap;

use aggregates::fact::Fact;
use aggregates::ids::TenantId;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use projections::paging::{Direction, Listed, Page};
use projections::{BigInt, LogPosition, LogRow, LoggedFact, TransactionId, UnreadableRow, log_rows};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Loaded;

/// A fact in a history.
#[derive(Clone, Debug)]
pub struct Entry {
    pub position: LogPosition,
    /// Version of the stream with this fact, from 1.
    pub sequence: i64,
    pub event_type: String,
    /// The fact as JSON text.
    pub payload: String,
    pub actor: Option<String>,
    /// Id of the HTTP request that caused the fact.
    pub request_id: Option<String>,
    /// Bulk action that caused the fact.
    pub bulk_action_id: Option<Uuid>,
    /// By the clock of the database.
    pub recorded_at: DateTime<Utc>,
}

/// Selection of facts of a stream. The default selects all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Names of the facts; `None` for all.
    pub names: Option<&'a [&'static str]>,
    /// Version of the stream after which the facts begin; 0 for all.
    pub after: u64,
    /// Highest version of the stream; `None` for no bound.
    pub until: Option<u64>,
}

/// Returns the facts of a stream, oldest first.
///
/// # Errors
/// When the database fails.
pub async fn read<A: Aggregate>(connection: &mut PgConnection, id: Uuid) -> Result<Vec<LogRow>, sqlx::Error> {
    read_some::<A>(connection, id, Wanted::default()).await
}

/// Returns the selected facts of a stream, oldest first.
///
/// # Errors
/// When the database fails.
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
          AND sequence > $5
        ORDER BY sequence
        "#,
        A::TYPE,
        id.to_string(),
        names.as_deref(),
        wanted.until.map(BigInt) as Option<BigInt>,
        BigInt(wanted.after) as BigInt,
    )
    .fetch_all(connection)
    .await
}

/// Returns the facts of some streams, those of each oldest first.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.read_streams", level = "debug", skip_all, err(level = "debug"))]
pub async fn read_streams<A: Aggregate>(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<LogRow>, sqlx::Error> {
    log_rows!(
        r#"
        FROM events
        WHERE aggregate_type = $1
          AND aggregate_id = ANY($2)
        ORDER BY aggregate_id, sequence
        "#,
        A::TYPE,
        &ids.iter().map(Uuid::to_string).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
}

/// Folds the facts of some streams, those of each in order. `of` selects the facts of the aggregate.
///
/// # Errors
/// A fact cannot be read.
pub fn fold<A: Aggregate>(
    rows: Vec<LogRow>,
    of: fn(Fact) -> Option<A::Event>,
) -> Result<HashMap<Uuid, Loaded<A>>, UnreadableRow> {
    let mut loaded: HashMap<Uuid, Loaded<A>> = HashMap::new();
    for row in rows {
        let logged = LoggedFact::try_from(row)?;
        let id = logged.stream_id;
        let entry = loaded.entry(id).or_insert_with(|| Loaded { id, version: 0, state: A::default() });
        entry.version = logged.sequence;
        if let Some(fact) = of(logged.fact) {
            entry.state.apply(fact);
        }
    }
    Ok(loaded)
}

/// Returns, for each stream that has one, its last fact of one of these names.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.last_facts", level = "debug", skip_all, err(level = "debug"))]
pub async fn last_facts<A: Aggregate>(
    connection: &mut PgConnection,
    ids: &[Uuid],
    names: &[&'static str],
) -> Result<Vec<LogRow>, sqlx::Error> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    log_rows!(
        r#"
        FROM unnest($2::text[]) AS stream (id)
        CROSS JOIN LATERAL (
            SELECT *
            FROM events
            WHERE aggregate_type = $1
              AND aggregate_id = stream.id
              AND event_type = ANY($3)
            ORDER BY sequence DESC
            LIMIT 1
        ) AS last
        "#,
        A::TYPE,
        &ids.iter().map(Uuid::to_string).collect::<Vec<_>>(),
        &names,
    )
    .fetch_all(connection)
    .await
}

/// Returns the tenant that owns a stream; `None` when the stream has no facts.
///
/// # Errors
/// When the database fails.
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

/// Returns the version that a stream had at `time`; 0 when it had no facts. Times are compared in whole
/// milliseconds, as histories show them.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.version_at", level = "debug", skip_all, err(level = "debug"))]
pub async fn version_at<A: Aggregate>(
    connection: &mut PgConnection,
    id: Uuid,
    time: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let version = sqlx::query_scalar!(
        r#"
        SELECT coalesce(max(sequence), 0) AS "version!: BigInt"
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
    Ok(version.0)
}

/// Returns the time by the clock of the database, as `recorded_at` has it.
///
/// # Errors
/// When the database fails.
pub async fn now(connection: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT clock_timestamp() AS "now!""#).fetch_one(connection).await
}

/// Returns a page of the history of a stream.
///
/// # Errors
/// When the database fails.
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
            (metadata ->> 'bulkActionId')::uuid AS bulk_action_id,
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
            bulk_action_id: row.bulk_action_id,
            recorded_at: row.recorded_at,
        })
        .collect();
    Ok(Listed { total, items })
}
