//! How far retention has come, tenant by tenant.
//!
//! This is no read model. A tenant's policy is in the log; up to where it has been carried out is kept here,
//! moves in the transaction that removes something, and never moves back. Of what is below the floor of
//! events and has ended there is no row, and a read model that is built anew is to end the same way.
//!
//! The payload of an event may be needed again as long as somebody may replay it. So whoever replays and
//! whoever erases exclude each other, tenant by tenant, for the moment that either takes.

use std::collections::HashMap;

use aggregates::ids::{TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// A place in the order in which events were accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub accepted_at: DateTime<Utc>,
    /// Of those accepted in one moment, up to which.
    pub id: WebhookEventId,
}

impl Place {
    /// Before every event that was accepted at this time or later.
    #[must_use]
    pub fn before(accepted_at: DateTime<Utc>) -> Self {
        Self { accepted_at, id: WebhookEventId(Uuid::nil()) }
    }
}

/// How far retention has come for a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// The payloads of events up to here that have ended are gone, but for the exceptions'.
    pub payloads: Option<Place>,
    /// Events that were accepted before and have ended have no rows.
    pub events_before: Option<DateTime<Utc>>,
}

/// Keeps replays of a tenant's events out until the transaction ends; `false`: one is under way, or
/// retention is [paused](pause).
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

/// Keeps the payloads of a tenant from being erased until the transaction ends.
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

/// Pauses retention until [`resume`], or until the session ends. Waits for a running step of retention, at most for
/// the session's `lock_timeout`.
///
/// # Errors
///
/// When the database fails or the wait takes too long.
#[tracing::instrument(name = "db.retention.pause", level = "debug", skip_all, err(level = "debug"))]
pub async fn pause(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_lock(hashtext('hooksentry.retention.pause'), 0)::text AS paused")
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// Resumes retention after [`pause`].
///
/// # Errors
///
/// When the database fails.
#[tracing::instrument(name = "db.retention.resume", level = "debug", skip_all, err(level = "debug"))]
pub async fn resume(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_unlock(hashtext('hooksentry.retention.pause'), 0) AS resumed")
        .fetch_one(connection)
        .await?;
    Ok(())
}

/// The highest floor of events there is; `None`: no event was ever removed.
#[tracing::instrument(name = "db.retention_floors.highest", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn highest(connection: &mut PgConnection) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT max(events_before) FROM retention_floors").fetch_one(connection).await
}

/// How far it has come for a tenant.
#[tracing::instrument(name = "db.retention_floors.get", level = "trace", skip_all, err(level = "debug"))]
pub async fn floor(connection: &mut PgConnection, tenant_id: TenantId) -> Result<Floor, sqlx::Error> {
    let floors = floors(connection, &[tenant_id.0]).await?;
    Ok(floors.get(&tenant_id).copied().unwrap_or_default())
}

/// How far it has come for those of `tenants` for whom it has begun.
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
            let payloads = payloads.map(|(accepted_at, id)| Place { accepted_at, id: id.into() });
            (TenantId(row.tenant_id), Floor { payloads, events_before: row.events_before })
        })
        .collect())
}

/// Moves the floor of a tenant's payloads up.
#[tracing::instrument(
    name = "db.retention_floors.raise_payloads",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub async fn raise_payloads(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    to: Place,
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

/// Moves the floor of a tenant's events up.
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

/// Adds events that have not ended, and that the floor of payloads passes, to `retention_exceptions`.
///
/// # Errors
///
/// When the database fails.
#[tracing::instrument(name = "db.retention_exceptions.add", level = "trace", skip_all, err(level = "debug"))]
pub async fn add_exceptions(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    events: &[WebhookEventId],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "
        INSERT INTO retention_exceptions (tenant_id, event_id)
        SELECT $1, event_id
        FROM unnest($2::uuid[]) AS straggler (event_id)
        ON CONFLICT DO NOTHING
        ",
        tenant_id.0,
        &uuids(events),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The exceptions of a tenant by id after `after`.
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

/// Removes events from `retention_exceptions`.
///
/// # Errors
///
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
