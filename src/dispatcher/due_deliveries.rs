//! The table `due_deliveries`: every event that has not ended, as of the dispatcher's checkpoint. It is written
//! in the checkpoint's transaction.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A webhook event that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DueDelivery {
    pub(super) event_id: WebhookEventId,
    pub(super) tenant_id: TenantId,
    pub(super) destination_id: DestinationId,
    pub(super) due_at: DateTime<Utc>,
    pub(super) stream_version: u64,
    pub(super) attempts: u32,
    pub(super) failed_attempts: u32,
    /// How many of its last attempts, without a gap, have an unknown outcome.
    pub(super) unknown_in_a_row: u32,
    /// The attempt in flight; `None`: the event waits.
    pub(super) started: Option<StartedAttempt>,
}

/// What `DeliveryStarted` says about the attempt in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartedAttempt {
    /// By the clock of the worker.
    pub(super) at: DateTime<Utc>,
    /// Time limit in milliseconds.
    pub(super) timeout_ms: u32,
}

impl StartedAttempt {
    pub(super) fn timeout(self) -> Duration {
        Duration::from_millis(self.timeout_ms.into())
    }
}

struct Row {
    event_id: Uuid,
    tenant_id: Uuid,
    destination_id: Uuid,
    due_at: DateTime<Utc>,
    stream_version: i64,
    attempts: i32,
    failed_attempts: i32,
    unknown_in_a_row: i32,
    started_at: Option<DateTime<Utc>>,
    timeout_ms: Option<i64>,
}

impl TryFrom<Row> for DueDelivery {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        let started = match row.started_at.zip(row.timeout_ms) {
            Some((at, limit)) => Some(StartedAttempt { at, timeout_ms: loaded("timeout_ms", limit)? }),
            None => None,
        };
        Ok(Self {
            event_id: WebhookEventId(row.event_id),
            tenant_id: TenantId(row.tenant_id),
            destination_id: DestinationId(row.destination_id),
            due_at: row.due_at,
            stream_version: loaded("stream_version", row.stream_version)?,
            attempts: loaded("attempts", row.attempts)?,
            failed_attempts: loaded("failed_attempts", row.failed_attempts)?,
            unknown_in_a_row: loaded("unknown_in_a_row", row.unknown_in_a_row)?,
            started,
        })
    }
}

/// Converts a number of a column to an unsigned one.
///
/// # Errors
///
/// When it is negative.
pub(super) fn loaded<I, N>(column: &str, number: I) -> Result<N, sqlx::Error>
where
    N: TryFrom<I, Error: Error + Send + Sync + 'static>,
{
    let index = column.to_owned();
    N::try_from(number).map_err(|error| sqlx::Error::ColumnDecode { index, source: error.into() })
}

/// Converts unsigned numbers to those of a column.
///
/// # Errors
///
/// When a number is too large for the column.
pub(super) fn stored<N, I>(numbers: impl Iterator<Item = N>) -> Result<Vec<I>, sqlx::Error>
where
    I: TryFrom<N, Error: Error + Send + Sync + 'static>,
{
    numbers.map(|number| I::try_from(number).map_err(|error| sqlx::Error::Encode(error.into()))).collect()
}

/// Returns the rows of those `events` that have one.
#[tracing::instrument(name = "db.due_deliveries.load", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn load(
    connection: &mut PgConnection,
    events: &[Uuid],
) -> Result<Vec<DueDelivery>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "
        SELECT
            event_id, tenant_id, destination_id, due_at, stream_version, attempts, failed_attempts,
            unknown_in_a_row, started_at, timeout_ms
        FROM due_deliveries
        WHERE event_id = ANY ($1)
        ",
        events,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(DueDelivery::try_from).collect()
}

/// Returns every event with an attempt in flight. The destinations' limits bound their number.
#[tracing::instrument(name = "db.due_deliveries.in_flight", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn in_flight(connection: &mut PgConnection) -> Result<Vec<DueDelivery>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "
        SELECT
            event_id, tenant_id, destination_id, due_at, stream_version, attempts, failed_attempts,
            unknown_in_a_row, started_at, timeout_ms
        FROM due_deliveries
        WHERE started_at IS NOT NULL
        "
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(DueDelivery::try_from).collect()
}

/// Returns the destinations that have waiting events. The query walks the index from one destination to the
/// next, so its cost depends on their number and not on the backlog.
#[tracing::instrument(
    name = "db.due_deliveries.destinations",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(super) async fn destinations_with_backlog(
    connection: &mut PgConnection,
) -> Result<Vec<DestinationId>, sqlx::Error> {
    let destinations = sqlx::query_scalar!(
        r#"
        WITH RECURSIVE destination (id) AS (
            (
                SELECT destination_id
                FROM due_deliveries
                WHERE started_at IS NULL
                ORDER BY destination_id
                LIMIT 1
            )
            UNION ALL
            SELECT (
                SELECT destination_id
                FROM due_deliveries
                WHERE started_at IS NULL
                  AND destination_id > destination.id
                ORDER BY destination_id
                LIMIT 1
            )
            FROM destination
            WHERE destination.id IS NOT NULL
        )
        SELECT id AS "id!" FROM destination WHERE id IS NOT NULL
        "#
    )
    .fetch_all(connection)
    .await?;
    Ok(destinations.into_iter().map(DestinationId).collect())
}

/// The number of events to fetch for one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) destination_id: DestinationId,
    pub(super) rows_max: usize,
}

/// Returns the next due events of several lanes, the oldest first, without those that are in memory already.
#[tracing::instrument(name = "db.due_deliveries.windows", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn windows(
    connection: &mut PgConnection,
    windows: &[Window],
    in_memory: &[Uuid],
    now: DateTime<Utc>,
) -> Result<Vec<DueDelivery>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT
            due.event_id, due.tenant_id, due.destination_id, due.due_at, due.stream_version,
            due.attempts, due.failed_attempts, due.unknown_in_a_row, due.started_at, due.timeout_ms
        FROM unnest($1::uuid[], $2::bigint[]) AS lane (destination_id, rows_max)
        CROSS JOIN LATERAL (
            SELECT *
            FROM due_deliveries
            WHERE destination_id = lane.destination_id
              AND started_at IS NULL
              AND due_at <= $4
              -- Hashed once for all lanes. `<> ALL` compares every row with every id when the plan is generic.
              AND event_id NOT IN (SELECT in_memory.id FROM unnest($3::uuid[]) AS in_memory (id))
            ORDER BY due_at, event_id
            LIMIT lane.rows_max
        ) AS due
        "#,
        &windows.iter().map(|window| window.destination_id.0).collect::<Vec<_>>(),
        &stored::<_, i64>(windows.iter().map(|window| window.rows_max))?,
        in_memory,
        now,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(DueDelivery::try_from).collect()
}

/// Returns when the next event of each lane becomes due after `now`.
#[tracing::instrument(name = "db.due_deliveries.next_due", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn next_due(
    connection: &mut PgConnection,
    destinations: &[Uuid],
    now: DateTime<Utc>,
) -> Result<HashMap<DestinationId, DateTime<Utc>>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT lane.destination_id AS "destination_id!", due.due_at
        FROM unnest($1::uuid[]) AS lane (destination_id)
        CROSS JOIN LATERAL (
            SELECT due_at
            FROM due_deliveries
            WHERE destination_id = lane.destination_id
              AND started_at IS NULL
              AND due_at > $2
            ORDER BY due_at
            LIMIT 1
        ) AS due
        "#,
        destinations,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (DestinationId(row.destination_id), row.due_at)).collect())
}

/// Writes rows that are new or changed.
#[tracing::instrument(name = "db.due_deliveries.write", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn write(connection: &mut PgConnection, rows: &[DueDelivery]) -> Result<(), sqlx::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        INSERT INTO due_deliveries
            (event_id, tenant_id, destination_id, due_at, stream_version, attempts, failed_attempts,
             unknown_in_a_row, started_at, timeout_ms)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::bigint[], $6::int[], $7::int[],
            $8::int[], $9::timestamptz[], $10::bigint[]
        )
        ON CONFLICT (event_id) DO UPDATE SET
            due_at = excluded.due_at,
            stream_version = excluded.stream_version,
            attempts = excluded.attempts,
            failed_attempts = excluded.failed_attempts,
            unknown_in_a_row = excluded.unknown_in_a_row,
            started_at = excluded.started_at,
            timeout_ms = excluded.timeout_ms
        ",
        &rows.iter().map(|row| row.event_id.0).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id.0).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.destination_id.0).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.due_at).collect::<Vec<_>>(),
        &stored::<_, i64>(rows.iter().map(|row| row.stream_version))?,
        &stored::<_, i32>(rows.iter().map(|row| row.attempts))?,
        &stored::<_, i32>(rows.iter().map(|row| row.failed_attempts))?,
        &stored::<_, i32>(rows.iter().map(|row| row.unknown_in_a_row))?,
        &rows.iter().map(|row| row.started.map(|started| started.at)).collect::<Vec<_>>()
            as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.started.map(|started| started.timeout_ms.into())).collect::<Vec<_>>()
            as &[Option<i64>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes the rows of events that have ended.
#[tracing::instrument(name = "db.due_deliveries.remove", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn remove(connection: &mut PgConnection, events: &[Uuid]) -> Result<(), sqlx::Error> {
    if !events.is_empty() {
        sqlx::query!("DELETE FROM due_deliveries WHERE event_id = ANY ($1)", events)
            .execute(connection)
            .await?;
    }
    Ok(())
}
