//! The dispatcher's tables: `due_deliveries` and `dispatch_lanes`. They say what was known at the
//! dispatcher's checkpoint and move in its transaction.

use std::collections::HashMap;

use aggregates::destination::Stage;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::lane::LaneState;

/// A webhook event that is still on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DueDelivery {
    pub(super) event_id: WebhookEventId,
    pub(super) tenant_id: TenantId,
    pub(super) destination_id: DestinationId,
    pub(super) due_at: DateTime<Utc>,
    pub(super) stream_version: u64,
    pub(super) attempts: u32,
    pub(super) failed_attempts: u32,
    /// How many of its last attempts have an unknown outcome, one after the other.
    pub(super) unknown_in_a_row: u32,
    /// Since when an attempt is under way.
    pub(super) started_at: Option<DateTime<Utc>>,
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
}

impl From<Row> for DueDelivery {
    fn from(row: Row) -> Self {
        Self {
            event_id: WebhookEventId(row.event_id),
            tenant_id: TenantId(row.tenant_id),
            destination_id: DestinationId(row.destination_id),
            due_at: row.due_at,
            stream_version: u64::try_from(row.stream_version).unwrap_or_default(),
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            failed_attempts: u32::try_from(row.failed_attempts).unwrap_or_default(),
            unknown_in_a_row: u32::try_from(row.unknown_in_a_row).unwrap_or_default(),
            started_at: row.started_at,
        }
    }
}

fn integer(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The rows of these events, those that have one.
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
            unknown_in_a_row, started_at
        FROM due_deliveries
        WHERE event_id = ANY ($1)
        ",
        events,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(DueDelivery::from).collect())
}

/// Every event with an attempt under way. Their number is bounded by the destinations' limits.
#[tracing::instrument(name = "db.due_deliveries.under_way", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn under_way(connection: &mut PgConnection) -> Result<Vec<DueDelivery>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "
        SELECT
            event_id, tenant_id, destination_id, due_at, stream_version, attempts, failed_attempts,
            unknown_in_a_row, started_at
        FROM due_deliveries
        WHERE started_at IS NOT NULL
        "
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(DueDelivery::from).collect())
}

/// The destinations that have waiting events. The index is walked from one destination to the next, so
/// the cost depends on their number and not on the backlog.
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

/// What to fetch for one lane.
pub(super) struct Window {
    pub(super) destination_id: DestinationId,
    pub(super) rows_max: usize,
}

/// The next due events of several lanes, oldest first, without those that are in memory already.
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
            due.attempts, due.failed_attempts, due.unknown_in_a_row, due.started_at
        FROM unnest($1::uuid[], $2::bigint[]) AS lane (destination_id, rows_max)
        CROSS JOIN LATERAL (
            SELECT *
            FROM due_deliveries
            WHERE destination_id = lane.destination_id
              AND started_at IS NULL
              AND due_at <= $4
              AND event_id <> ALL ($3)
            ORDER BY due_at, event_id
            LIMIT lane.rows_max
        ) AS due
        "#,
        &windows.iter().map(|window| window.destination_id.0).collect::<Vec<_>>(),
        &windows.iter().map(|window| i64::try_from(window.rows_max).unwrap_or(i64::MAX)).collect::<Vec<_>>(),
        in_memory,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(DueDelivery::from).collect())
}

/// When the next event of each lane becomes due after `now`.
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
             unknown_in_a_row, started_at)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::timestamptz[], $5::bigint[], $6::int[], $7::int[],
            $8::int[], $9::timestamptz[]
        )
        ON CONFLICT (event_id) DO UPDATE SET
            due_at = excluded.due_at,
            stream_version = excluded.stream_version,
            attempts = excluded.attempts,
            failed_attempts = excluded.failed_attempts,
            unknown_in_a_row = excluded.unknown_in_a_row,
            started_at = excluded.started_at
        ",
        &rows.iter().map(|row| row.event_id.0).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id.0).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.destination_id.0).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.due_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| i64::try_from(row.stream_version).unwrap_or(i64::MAX)).collect::<Vec<_>>(),
        &rows.iter().map(|row| integer(row.attempts)).collect::<Vec<_>>(),
        &rows.iter().map(|row| integer(row.failed_attempts)).collect::<Vec<_>>(),
        &rows.iter().map(|row| integer(row.unknown_in_a_row)).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.started_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets events that have come to their end.
#[tracing::instrument(name = "db.due_deliveries.remove", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn remove(connection: &mut PgConnection, events: &[Uuid]) -> Result<(), sqlx::Error> {
    if !events.is_empty() {
        sqlx::query!("DELETE FROM due_deliveries WHERE event_id = ANY ($1)", events)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// The rows of these lanes, those that have one.
#[tracing::instrument(name = "db.dispatch_lanes.load", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn load_lanes(
    connection: &mut PgConnection,
    destinations: &[Uuid],
) -> Result<Vec<(DestinationId, LaneState)>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        SELECT
            destination_id, tenant_id, concurrency_limit, stage, stage_version, next_check_at,
            consecutive_failures, succeeded_in_stage, failed_in_stage
        FROM dispatch_lanes
        WHERE destination_id = ANY ($1)
        ",
        destinations,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let state = LaneState {
                tenant_id: TenantId(row.tenant_id),
                concurrency_limit: u32::try_from(row.concurrency_limit).unwrap_or_default(),
                stage: stage_of(row.stage),
                stage_version: u64::try_from(row.stage_version).unwrap_or_default(),
                next_check_at: row.next_check_at,
                consecutive_failures: u32::try_from(row.consecutive_failures).unwrap_or_default(),
                succeeded_in_stage: row.succeeded_in_stage,
                failed_in_stage: row.failed_in_stage,
            };
            (DestinationId(row.destination_id), state)
        })
        .collect())
}

/// The lanes that wait for their probe.
#[tracing::instrument(name = "db.dispatch_lanes.suspended", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn suspended_lanes(
    connection: &mut PgConnection,
) -> Result<Vec<DestinationId>, sqlx::Error> {
    let lanes = sqlx::query_scalar!("SELECT destination_id FROM dispatch_lanes WHERE stage = 2")
        .fetch_all(connection)
        .await?;
    Ok(lanes.into_iter().map(DestinationId).collect())
}

/// Writes lanes that are new or changed.
#[tracing::instrument(name = "db.dispatch_lanes.write", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn write_lanes(
    connection: &mut PgConnection,
    lanes: &[(DestinationId, LaneState)],
) -> Result<(), sqlx::Error> {
    if lanes.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        INSERT INTO dispatch_lanes
            (destination_id, tenant_id, concurrency_limit, stage, stage_version, next_check_at,
             consecutive_failures, succeeded_in_stage, failed_in_stage)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::int[], $4::smallint[], $5::bigint[], $6::timestamptz[], $7::int[],
            $8::bool[], $9::bool[]
        )
        ON CONFLICT (destination_id) DO UPDATE SET
            concurrency_limit = excluded.concurrency_limit,
            stage = excluded.stage,
            stage_version = excluded.stage_version,
            next_check_at = excluded.next_check_at,
            consecutive_failures = excluded.consecutive_failures,
            succeeded_in_stage = excluded.succeeded_in_stage,
            failed_in_stage = excluded.failed_in_stage
        ",
        &lanes.iter().map(|(id, _)| id.0).collect::<Vec<_>>(),
        &lanes.iter().map(|(_, lane)| lane.tenant_id.0).collect::<Vec<_>>(),
        &lanes.iter().map(|(_, lane)| integer(lane.concurrency_limit)).collect::<Vec<_>>(),
        &lanes.iter().map(|(_, lane)| number_of(lane.stage)).collect::<Vec<_>>(),
        &lanes
            .iter()
            .map(|(_, lane)| i64::try_from(lane.stage_version).unwrap_or(i64::MAX))
            .collect::<Vec<_>>(),
        &lanes.iter().map(|(_, lane)| lane.next_check_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &lanes.iter().map(|(_, lane)| integer(lane.consecutive_failures)).collect::<Vec<_>>(),
        &lanes.iter().map(|(_, lane)| lane.succeeded_in_stage).collect::<Vec<_>>(),
        &lanes.iter().map(|(_, lane)| lane.failed_in_stage).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn number_of(stage: Stage) -> i16 {
    match stage {
        Stage::Active => 0,
        Stage::Inactive => 1,
        Stage::Suspended => 2,
        Stage::Probing => 3,
    }
}

fn stage_of(number: i16) -> Stage {
    match number {
        0 => Stage::Active,
        2 => Stage::Suspended,
        3 => Stage::Probing,
        _ => Stage::Inactive,
    }
}
