//! The table `dispatch_lanes`: the state of every lane, as of the dispatcher's checkpoint. It is written in the
//! checkpoint's transaction.

use aggregates::circuit_breaker::CircuitBreaker;
use aggregates::destination::Stage;
use aggregates::ids::{DestinationId, TenantId};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::due_deliveries::{loaded, stored};
use super::lane::LaneState;

/// Returns the rows of those `destinations` that have one.
#[tracing::instrument(name = "db.dispatch_lanes.load", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn load(
    connection: &mut PgConnection,
    destinations: &[Uuid],
) -> Result<Vec<(DestinationId, LaneState)>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        SELECT
            destination_id, tenant_id, concurrency_limit, stage, stage_version, next_check_at,
            consecutive_failures, succeeded_in_stage, failed_in_stage, failed_probes, version
        FROM dispatch_lanes
        WHERE destination_id = ANY ($1)
        ",
        destinations,
    )
    .fetch_all(connection)
    .await?;
    let lanes = rows.into_iter().map(|row| {
        let breaker = CircuitBreaker {
            stage: Stage::from_number(row.stage.into()).ok_or_else(|| unknown_stage(row.stage))?,
            consecutive_failures: loaded("consecutive_failures", row.consecutive_failures)?,
            succeeded_in_stage: row.succeeded_in_stage,
            failed_in_stage: row.failed_in_stage,
            next_check_at: row.next_check_at,
            failed_probes: loaded("failed_probes", row.failed_probes)?,
        };
        let state = LaneState {
            tenant_id: TenantId(row.tenant_id),
            concurrency_limit: loaded("concurrency_limit", row.concurrency_limit)?,
            breaker,
            version: loaded("version", row.version)?,
            stage_version: loaded("stage_version", row.stage_version)?,
        };
        Ok((DestinationId(row.destination_id), state))
    });
    lanes.collect()
}

fn unknown_stage(number: i16) -> sqlx::Error {
    let source = format!("unknown stage {number}").into();
    sqlx::Error::ColumnDecode { index: "stage".to_owned(), source }
}

/// Returns the destinations that are suspended.
#[tracing::instrument(name = "db.dispatch_lanes.suspended", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn suspended(connection: &mut PgConnection) -> Result<Vec<DestinationId>, sqlx::Error> {
    let lanes = sqlx::query_scalar!(
        "SELECT destination_id FROM dispatch_lanes WHERE stage = $1",
        Stage::Suspended.number(),
    )
    .fetch_all(connection)
    .await?;
    Ok(lanes.into_iter().map(DestinationId).collect())
}

/// Writes lanes that are new or changed.
#[tracing::instrument(name = "db.dispatch_lanes.write", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn write(
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
             consecutive_failures, succeeded_in_stage, failed_in_stage, failed_probes, version)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::int[], $4::smallint[], $5::bigint[], $6::timestamptz[], $7::int[],
            $8::bool[], $9::bool[], $10::int[], $11::bigint[]
        )
        ON CONFLICT (destination_id) DO UPDATE SET
            concurrency_limit = excluded.concurrency_limit,
            stage = excluded.stage,
            stage_version = excluded.stage_version,
            next_check_at = excluded.next_check_at,
            consecutive_failures = excluded.consecutive_failures,
            succeeded_in_stage = excluded.succeeded_in_stage,
            failed_in_stage = excluded.failed_in_stage,
            failed_probes = excluded.failed_probes,
            version = excluded.version
        ",
        &lanes.iter().map(|(id, _)| id.0).collect::<Vec<_>>(),
        &lanes.iter().map(|(_, lane)| lane.tenant_id.0).collect::<Vec<_>>(),
        &stored::<_, i32>(lanes.iter().map(|(_, lane)| lane.concurrency_limit))?,
        &lanes.iter().map(|(_, lane)| lane.breaker.stage.number()).collect::<Vec<_>>(),
        &stored::<_, i64>(lanes.iter().map(|(_, lane)| lane.stage_version))?,
        &lanes.iter().map(|(_, lane)| lane.breaker.next_check_at).collect::<Vec<_>>()
            as &[Option<DateTime<Utc>>],
        &stored::<_, i32>(lanes.iter().map(|(_, lane)| lane.breaker.consecutive_failures))?,
        &lanes.iter().map(|(_, lane)| lane.breaker.succeeded_in_stage).collect::<Vec<_>>(),
        &lanes.iter().map(|(_, lane)| lane.breaker.failed_in_stage).collect::<Vec<_>>(),
        &stored::<_, i32>(lanes.iter().map(|(_, lane)| lane.breaker.failed_probes))?,
        &stored::<_, i64>(lanes.iter().map(|(_, lane)| lane.version))?,
    )
    .execute(connection)
    .await?;
    Ok(())
}
