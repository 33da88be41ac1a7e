//! Progress of retention, by tenant.
//!
//! This is not a read model. The retention policy of a tenant is in the log. The floors say up to where it has been
//! carried out; they move in the transaction that removes something, and only upwards. Final events below the floor
//! of events have no rows, and a rebuilt read model must omit the same rows. The same row counts the bytes of the payloads
//! that were erased.
//!
//! A replay needs the payload of its event. Advisory locks by tenant therefore exclude replays and the erasure of
//! payloads from each other.

use std::collections::HashMap;
use std::time::Duration;

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Position in the order in which events were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AcceptancePosition {
    pub accepted_at: DateTime<Utc>,
    /// Orders the events that were accepted at the same time.
    pub id: WebhookEventId,
}

impl AcceptancePosition {
    /// Returns the position before every event that was accepted at this time or later.
    #[must_use]
    pub fn before(accepted_at: DateTime<Utc>) -> Self {
        Self { accepted_at, id: WebhookEventId(Uuid::nil()) }
    }
}

/// Progress of retention for a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// The payloads of final events up to this position are erased, except those in `retention_exceptions`.
    pub payloads: Option<AcceptancePosition>,
    /// Final events that were accepted before this time have no rows.
    pub events_before: Option<DateTime<Utc>>,
}

/// Excludes replays of a tenant's events until the transaction ends. Returns `false` if a replay is in progress or
/// retention is [paused](pause).
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.retention.begin", level = "trace", skip_all, err(level = "debug"))]
pub async fn begin(connection: &mut PgConnection, tenant_id: TenantId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT
            pg_try_advisory_xact_lock_shared(hashtext('hooksentry.retention.pause'), 0)
            AND pg_try_advisory_xact_lock(hashtext('hooksentry.retention'), hashtext($1)) AS "begun!"
        "#,
        tenant_id.0.to_string(),
    )
    .fetch_one(connection)
    .await
}

/// Excludes the erasure of a tenant's payloads until the transaction ends.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.retention.hold_off", level = "debug", skip_all, err(level = "debug"))]
pub async fn hold_off(connection: &mut PgConnection, tenant_id: TenantId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        SELECT pg_advisory_xact_lock_shared(hashtext('hooksentry.retention'), hashtext($1))::text AS held
        "#,
        tenant_id.0.to_string(),
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Excludes both replays and every erasure of a tenant's payloads until the transaction ends.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.retention.exclude", level = "debug", skip_all, err(level = "debug"))]
pub async fn exclude(connection: &mut PgConnection, tenant_id: TenantId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        SELECT pg_advisory_xact_lock(hashtext('hooksentry.retention'), hashtext($1))::text AS excluded
        "#,
        tenant_id.0.to_string(),
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Pauses retention until [`resume`], or until the session ends. The server ends the session when it has been idle
/// for `idle_max`, so that a process that hangs does not pause retention for longer. Waits for a step in progress, at
/// most for the session's `lock_timeout`.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.retention.pause", level = "debug", skip_all, err(level = "debug"))]
pub async fn pause(connection: &mut PgConnection, idle_max: Duration) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        SELECT
            set_config('idle_session_timeout', $1, false) AS idle_max,
            pg_advisory_lock(hashtext('hooksentry.retention.pause'), 0)::text AS paused
        "#,
        idle_max.as_millis().to_string(),
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Returns whether another session has paused retention.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.retention.is_paused", level = "debug", skip_all, err(level = "debug"))]
pub async fn is_paused(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT NOT pg_try_advisory_xact_lock_shared(hashtext('hooksentry.retention.pause'), 0) AS "is_paused!"
        "#
    )
    .fetch_one(connection)
    .await
}

/// Resumes retention.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.retention.resume", level = "debug", skip_all, err(level = "debug"))]
pub async fn resume(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        SELECT
            set_config('idle_session_timeout', '0', false) AS idle_max,
            pg_advisory_unlock(hashtext('hooksentry.retention.pause'), 0) AS resumed
        "#
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Returns the highest floor of events of all tenants; `None`: no event was ever removed.
#[tracing::instrument(name = "db.retention_floors.highest", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn highest(connection: &mut PgConnection) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT max(events_before) FROM retention_floors").fetch_one(connection).await
}

/// Returns the progress of retention for a tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.retention_floors.get", level = "trace", skip_all, err(level = "debug"))]
pub async fn floor(connection: &mut PgConnection, tenant_id: TenantId) -> Result<Floor, sqlx::Error> {
    let floors = floors(connection, &[tenant_id.0]).await?;
    Ok(floors.get(&tenant_id).copied().unwrap_or_default())
}

/// Returns the progress of retention for those of `tenants` that have any.
#[tracing::instrument(name = "db.retention_floors.of", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn floors(
    connection: &mut PgConnection,
    tenants: &[Uuid],
) -> Result<HashMap<TenantId, Floor>, sqlx::Error> {
    let rows = sqlx::query!(
        "
        SELECT tenant_id, payloads_until, payloads_last, events_before
        FROM retention_floors
        WHERE tenant_id = ANY($1)
        ",
        tenants,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let payloads = row.payloads_until.zip(row.payloads_last);
            let payloads =
                payloads.map(|(accepted_at, id)| AcceptancePosition { accepted_at, id: id.into() });
            (TenantId(row.tenant_id), Floor { payloads, events_before: row.events_before })
        })
        .collect())
}

/// Raises the floor of a tenant's payloads. A lower value changes nothing.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.retention_floors.raise_payloads",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub async fn raise_payloads(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    to: AcceptancePosition,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        INSERT INTO retention_floors AS floor (tenant_id, payloads_until, payloads_last)
        VALUES ($1, $2, $3)
        ON CONFLICT (tenant_id) DO UPDATE SET
            payloads_until = excluded.payloads_until,
            payloads_last = excluded.payloads_last
        WHERE floor.payloads_until IS NULL
           OR (floor.payloads_until, floor.payloads_last) < (excluded.payloads_until, excluded.payloads_last)
        ",
        tenant_id.0,
        to.accepted_at,
        to.id.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Raises the floor of a tenant's events. A lower value changes nothing.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.retention_floors.raise_events",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub async fn raise_events(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    to: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        INSERT INTO retention_floors AS floor (tenant_id, events_before)
        VALUES ($1, $2)
        ON CONFLICT (tenant_id) DO UPDATE SET
            events_before = greatest(floor.events_before, excluded.events_before)
        ",
        tenant_id.0,
        to,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds the events that are not final when the floor of payloads passes them, or that the legal hold on the destination
/// `held_by` keeps.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.retention_exceptions.add", level = "trace", skip_all, err(level = "debug"))]
pub async fn add_exceptions(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    events: &[WebhookEventId],
    held_by: Option<DestinationId>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        INSERT INTO retention_exceptions (tenant_id, event_id, held_by)
        SELECT $1, event_id, $3
        FROM unnest($2::uuid[]) AS exception (event_id)
        ON CONFLICT (tenant_id, event_id) DO UPDATE SET held_by = excluded.held_by
        ",
        tenant_id.0,
        &uuids(events),
        held_by.map(|id| id.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns at most `limit` exceptions of a tenant that no legal hold keeps, by id after `after`.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.retention_exceptions.list", level = "trace", skip_all, err(level = "debug"))]
pub async fn exceptions(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    after: Option<WebhookEventId>,
    limit: i64,
) -> Result<Vec<WebhookEventId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        "
        SELECT event_id
        FROM retention_exceptions
        WHERE tenant_id = $1
          AND held_by IS NULL
          AND ($2::uuid IS NULL OR event_id > $2)
        ORDER BY event_id
        LIMIT $3
        ",
        tenant_id.0,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(WebhookEventId).collect())
}

/// Lets at most `limit` events be examined again that the holds on `lifted` have kept. Returns whether there may be more.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.retention_exceptions.release",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub async fn release_exceptions(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    lifted: &[DestinationId],
    limit: i64,
) -> Result<bool, sqlx::Error> {
    if lifted.is_empty() {
        return Ok(false);
    }
    let released = sqlx::query!(
        "
        WITH released AS (
            SELECT event_id
            FROM retention_exceptions
            WHERE tenant_id = $1
              AND held_by = ANY($2)
            LIMIT $3
        )
        UPDATE retention_exceptions AS exception
        SET held_by = NULL
        FROM released
        WHERE exception.tenant_id = $1
          AND exception.event_id = released.event_id
        ",
        tenant_id.0,
        &lifted.iter().map(|id| id.0).collect::<Vec<_>>(),
        limit,
    )
    .execute(connection)
    .await?;
    Ok(i64::try_from(released.rows_affected()).is_ok_and(|released| released >= limit))
}

/// Removes events from the exceptions.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.retention_exceptions.remove",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub async fn remove_exceptions(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    events: &[WebhookEventId],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM retention_exceptions WHERE tenant_id = $1 AND event_id = ANY($2)",
        tenant_id.0,
        &uuids(events),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) fn uuids(events: &[WebhookEventId]) -> Vec<Uuid> {
    events.iter().map(|id| id.0).collect()
}

pub(crate) fn events(ids: &[Uuid]) -> Vec<WebhookEventId> {
    ids.iter().copied().map(WebhookEventId).collect()
}
