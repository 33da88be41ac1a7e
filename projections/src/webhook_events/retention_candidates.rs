//! Candidates for retention: final events that are older than their tenant keeps them.
//!
//! The status in a row may be behind the log, which may already have a replay. An event is therefore final only if the
//! log has no fact after the version of its row.

use std::borrow::Cow;
use std::collections::HashSet;

use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::EventStatus;
use super::row::Row;
use crate::fold::{AggregateFact, VersionedRow};
use crate::log_rows;
use crate::logged_fact::LoggedFact;
use crate::retention::{self, AcceptancePosition, uuids};

/// Event that is old enough for retention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionCandidate {
    pub id: WebhookEventId,
    pub destination_id: DestinationId,
    pub accepted_at: DateTime<Utc>,
    /// Whether the event is final.
    pub ended: bool,
}

/// Returns at most `limit` events of a tenant after `after` that were accepted before `before`, oldest first.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.webhook_events.candidates", level = "trace", skip_all, err(level = "debug"))]
pub async fn candidates(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    after: Option<AcceptancePosition>,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<RetentionCandidate>, sqlx::Error> {
    sqlx::query_as!(
        RetentionCandidate,
        r#"
        SELECT
            event.id,
            event.destination_id,
            event.accepted_at,
            public.event_status_is_final(event.status) AND NOT EXISTS (
                SELECT FROM events
                WHERE aggregate_type = 'WebhookEvent'
                  AND aggregate_id = event.id::text
                  AND sequence = event.version + 1
            ) AS "ended!"
        FROM webhook_events AS event
        WHERE event.tenant_id = $1
          AND (event.accepted_at, event.id) > (coalesce($2::timestamptz, '-infinity'), $3)
          AND event.accepted_at < $4
        ORDER BY event.accepted_at, event.id
        LIMIT $5
        "#,
        tenant_id.0,
        after.map(|position| position.accepted_at),
        after.map_or(Uuid::nil(), |position| position.id.0),
        before,
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Returns at most `limit` events of a tenant that were accepted before `before` and are final by their rows,
/// oldest first.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.webhook_events.ended", level = "trace", skip_all, err(level = "debug"))]
pub async fn ended(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<RetentionCandidate>, sqlx::Error> {
    let final_statuses = EventStatus::ALL.into_iter().filter(|status| status.is_final());
    // Each status is read along its index, so that a million waiting rows are not read.
    sqlx::query_as!(
        RetentionCandidate,
        r#"
        SELECT
            event.id,
            event.destination_id,
            event.accepted_at,
            NOT EXISTS (
                SELECT FROM events
                WHERE aggregate_type = 'WebhookEvent'
                  AND aggregate_id = event.id::text
                  AND sequence = event.version + 1
            ) AS "ended!"
        FROM unnest($4::smallint[]) AS final (status)
        CROSS JOIN LATERAL (
            SELECT id, destination_id, accepted_at, version
            FROM webhook_events
            WHERE tenant_id = $1
              AND status = final.status
              AND accepted_at < $2
            ORDER BY accepted_at, id
            LIMIT $3
        ) AS event
        ORDER BY event.accepted_at, event.id
        LIMIT $3
        "#,
        tenant_id.0,
        before,
        limit,
        &final_statuses.map(EventStatus::number).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
}

/// Returns what [`ended`] returns, without the events of the destinations `held`. Those are not read: they may be many, and
/// stay for long. The price is to read the events of the other destinations that have not ended.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.webhook_events.ended_elsewhere",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub async fn ended_elsewhere(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    held: &[DestinationId],
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<RetentionCandidate>, sqlx::Error> {
    sqlx::query_as!(
        RetentionCandidate,
        r#"
        SELECT
            event.id,
            event.destination_id,
            event.accepted_at,
            NOT EXISTS (
                SELECT FROM events
                WHERE aggregate_type = 'WebhookEvent'
                  AND aggregate_id = event.id::text
                  AND sequence = event.version + 1
            ) AS "ended!"
        FROM destinations AS destination
        CROSS JOIN LATERAL (
            SELECT id, destination_id, accepted_at, version
            FROM webhook_events
            WHERE tenant_id = $1
              AND destination_id = destination.id
              AND public.event_status_is_final(status)
              AND accepted_at < $2
            ORDER BY accepted_at, id
            LIMIT $3
        ) AS event
        WHERE destination.tenant_id = $1
          AND destination.id <> ALL($4)
        ORDER BY event.accepted_at, event.id
        LIMIT $3
        "#,
        tenant_id.0,
        before,
        limit,
        &held.iter().map(|id| id.0).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
}

/// Returns those of `events` that are final. Events without a row are.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.webhook_events.ended_among",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub async fn ended_among(
    connection: &mut PgConnection,
    events: &[WebhookEventId],
) -> Result<Vec<RetentionCandidate>, sqlx::Error> {
    sqlx::query_as!(
        RetentionCandidate,
        r#"
        SELECT
            given.id AS "id!",
            coalesce(
                event.destination_id,
                (
                    SELECT (payload -> 'EventAccepted' ->> 'destinationId')::uuid
                    FROM events
                    WHERE aggregate_type = 'WebhookEvent'
                      AND aggregate_id = given.id::text
                      AND sequence = 1
                ),
                '00000000-0000-0000-0000-000000000000'
            ) AS "destination_id!",
            coalesce(event.accepted_at, 'epoch') AS "accepted_at!",
            true AS "ended!"
        FROM unnest($1::uuid[]) AS given (id)
        LEFT JOIN webhook_events AS event ON event.id = given.id
        WHERE event.id IS NULL
           OR public.event_status_is_final(event.status) AND NOT EXISTS (
                SELECT FROM events
                WHERE aggregate_type = 'WebhookEvent'
                  AND aggregate_id = event.id::text
                  AND sequence = event.version + 1
            )
        "#,
        &uuids(events),
    )
    .fetch_all(connection)
    .await
}

/// Returns `facts` without those of events that retention removed. `rows` are the rows of their streams.
pub(super) async fn without_removed<'a>(
    connection: &mut PgConnection,
    rows: &[Row],
    facts: &'a [LoggedFact],
) -> Result<Cow<'a, [LoggedFact]>, sqlx::Error> {
    let mut known: HashSet<Uuid> = rows.iter().map(VersionedRow::stream_id).collect();
    let mut headless = HashSet::new();
    for logged in facts.iter().filter(|logged| WebhookEventFact::of(&logged.fact).is_some()) {
        if logged.sequence == 1 {
            known.insert(logged.stream_id);
        } else if !known.contains(&logged.stream_id) {
            headless.insert(logged.stream_id);
        }
    }
    let removed = removed(connection, headless.into_iter().collect()).await?;
    if removed.is_empty() {
        return Ok(Cow::Borrowed(facts));
    }
    Ok(facts.iter().filter(|logged| !removed.contains(&logged.stream_id)).cloned().collect())
}

/// Returns those of `streams`, which have no row, whose events retention removed: they were accepted, according to the
/// log, before the floor of their tenant.
#[tracing::instrument(name = "db.webhook_events.removed", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn removed(
    connection: &mut PgConnection,
    streams: Vec<Uuid>,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    if streams.is_empty() {
        return Ok(HashSet::new());
    }
    let ids: Vec<String> = streams.iter().map(Uuid::to_string).collect();
    let rows = log_rows!(
        r#"
        FROM events
        WHERE aggregate_type = 'WebhookEvent'
          AND aggregate_id = ANY($1)
          AND sequence = 1
        "#,
        &ids,
    )
    .fetch_all(&mut *connection)
    .await?;
    let accepted: Vec<LoggedFact> = rows.into_iter().filter_map(|row| row.try_into().ok()).collect();
    let tenants: Vec<Uuid> = accepted.iter().map(|logged| logged.tenant_id.0).collect();
    let floors = retention::floors(connection, &tenants).await?;
    let is_below = |logged: &LoggedFact| match &logged.fact {
        Fact::WebhookEvent(WebhookEventFact::EventAccepted(acceptance)) => {
            let floor = floors.get(&logged.tenant_id).and_then(|floor| floor.events_before);
            floor.is_some_and(|floor| acceptance.at < floor)
        }
        _ => false,
    };
    Ok(accepted.iter().filter(|logged| is_below(logged)).map(|logged| logged.stream_id).collect())
}
