//! Webhook events: the state of every delivery.

mod backlog;
mod counts;
mod cursor;
mod erasable;
mod facets;
mod filter;
mod list;
mod page;
mod rebuild_retention;
mod recount;
mod removal;
mod retention_candidates;
mod row;
mod search;
mod selected;
mod status;
mod timeline;

use std::collections::HashMap;

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, SenderId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, QueryBuilder};
use uuid::Uuid;

pub use backlog::count_waiting;
pub use cursor::{CursorKey, PageCursor, PageStart};
pub use erasable::{ErasureCandidate, to_erase};
pub use facets::{EXAMINED_MAX, Facets, facets};
pub use filter::{Filter, SortField};
pub use list::{COUNTED_MAX, Listing, list};
pub(crate) use rebuild_retention::{have_left, remove_returned};
pub use recount::recount;
pub use removal::remove;
pub(crate) use retention_candidates::removed;
pub use retention_candidates::{RetentionCandidate, candidates, ended, ended_among, ended_elsewhere};
pub(crate) use row::attempts;
pub use search::{Found, SearchBudget, search};
pub use selected::{BulkCandidate, candidates_of_bulk_action};
pub use status::EventStatus;

use crate::columns::version;
use crate::fold::{self, AggregateFact, ApplyFailure, NotFolded};
use crate::logged_fact::LoggedFact;
use crate::projection::ReadModel;
use crate::tenant_scope::TenantScope;
use counts::CountChanges;
use row::Row;

/// A webhook event, as callers see it. Its payload and its idempotency key are in [`payloads`](crate::payloads).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEvent {
    pub id: WebhookEventId,
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// The sender it came through, if any.
    pub sender_id: Option<SenderId>,
    pub status: EventStatus,
    /// Failed attempts since it was accepted or replayed.
    pub failed_attempts: u32,
    /// Number of the last attempt that was started, over its whole life.
    pub attempts: u32,
    /// When the next attempt is due, the destination's open breaker considered; `None`: it does not wait.
    pub next_attempt_at: Option<DateTime<Utc>>,
    pub accepted_at: DateTime<Utc>,
    pub delivered_at: Option<DateTime<Utc>>,
    /// Version of its stream at which it is in this state.
    pub version: u64,
    /// Outcome of the last attempt that ended.
    pub last_outcome: Option<Outcome>,
    /// HTTP status of the response to the last attempt that ended; `None`: it had no response.
    pub last_http_status: Option<u16>,
}

/// What ingest returns for a repeated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSummary {
    pub tenant_id: TenantId,
    pub status: EventStatus,
    pub accepted_at: DateTime<Utc>,
}

/// An event that waits for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingEvent {
    pub id: WebhookEventId,
    /// Version of its stream at which it waits.
    pub version: u64,
}

/// Folds a whole stream into the event that [`get`] returns once the stream has been applied. The breaker
/// is not considered.
///
/// # Errors
/// When a fact of the stream is missing, or a value cannot be converted.
pub fn of_stream(facts: &[LoggedFact]) -> Result<Option<WebhookEvent>, NotFolded> {
    fold::fold_stream::<Row, _>(facts)
}

#[derive(Debug)]
pub(crate) struct WebhookEvents;

impl ReadModel for WebhookEvents {
    const NAME: &'static str = "webhook_events";
    const AGGREGATES: &'static [&'static str] = &[WebhookEventFact::AGGREGATE];
    const TABLES: &'static [&'static str] =
        &["webhook_events", "webhook_event_counts", "webhook_event_recounts"];
    const READS: &'static [&'static str] = &["events", "retention_floors"];

    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
        apply(connection, facts).await
    }

    async fn remove_returned(
        rebuilt: &mut PgConnection,
        live: &mut PgConnection,
    ) -> Result<u64, sqlx::Error> {
        remove_returned(rebuilt, live).await
    }
}

async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
    let ids = fold::streams_of::<Row>(facts);
    if ids.is_empty() {
        return Ok(());
    }
    let loaded = row::load(connection, &ids).await?;
    let facts = retention_candidates::without_removed(connection, &loaded, facts).await?;
    let before: HashMap<Uuid, i16> = loaded.iter().map(|row| (row.id, row.status)).collect();
    let rows = fold::fold(loaded, &facts)?;
    if rows.is_empty() {
        return Ok(());
    }
    let inserted = row::store(connection, &rows).await?;
    let new = rows.iter().filter(|row| !before.contains_key(&row.id)).count();
    if inserted != new {
        // Another transaction removed or wrote a row between loading and storing, so the changes of the
        // counts are unknown. A retry loads the rows as they are then.
        return Err(ApplyFailure::ConcurrentChange);
    }
    let mark = recount::mark(connection).await?;
    let mut changes = CountChanges::default();
    for row in rows.iter().filter(|row| mark.is_none_or(|mark| row.id <= mark)) {
        changes.note(row.counted(), before.get(&row.id).copied(), Some(row.status));
    }
    Ok(changes.add(connection).await?)
}

/// Returns the tenant of an event.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.webhook_events.owner_of", level = "debug", skip_all, err(level = "debug"))]
pub async fn owner_of(
    connection: &mut PgConnection,
    id: WebhookEventId,
) -> Result<Option<TenantId>, sqlx::Error> {
    let owner = sqlx::query_scalar!("SELECT tenant_id FROM webhook_events WHERE id = $1", id.0)
        .fetch_optional(connection)
        .await?;
    Ok(owner.map(TenantId))
}

/// Returns what ingest answers when an event is sent again.
///
/// # Errors
/// When the database fails, or the row cannot be converted.
#[tracing::instrument(name = "db.webhook_events.summary", level = "debug", skip_all, err(level = "debug"))]
pub async fn summary(
    connection: &mut PgConnection,
    id: WebhookEventId,
) -> Result<Option<EventSummary>, sqlx::Error> {
    let found = sqlx::query!("SELECT tenant_id, status, accepted_at FROM webhook_events WHERE id = $1", id.0)
        .fetch_optional(connection)
        .await?;
    found
        .map(|row| {
            Ok(EventSummary {
                tenant_id: row.tenant_id.into(),
                status: row::status(row.status)?,
                accepted_at: row.accepted_at,
            })
        })
        .transpose()
}

/// Returns an event of the scope's tenant.
///
/// # Errors
/// When the database fails, or the row cannot be converted.
#[tracing::instrument(name = "db.webhook_events.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: WebhookEventId) -> Result<Option<WebhookEvent>, sqlx::Error> {
    let mut query = QueryBuilder::new(page::COLUMNS);
    query.push(
        " FROM webhook_events AS event LEFT JOIN destinations ON destinations.id = event.destination_id \
         WHERE event.tenant_id = ",
    );
    query.push_bind(scope.tenant_id().0).push(" AND event.id = ").push_bind(id.0);
    let row: Option<Row> = query.build_query_as().fetch_optional(scope.connection()).await?;
    row.map(WebhookEvent::try_from).transpose()
}

/// Returns at most `limit` events that wait for a destination of the scope's tenant, by id after `after`: those
/// that a purge cancels.
///
/// # Errors
/// When the database fails, or a row cannot be converted.
#[tracing::instrument(name = "db.webhook_events.waiting", level = "debug", skip_all, err(level = "debug"))]
pub async fn waiting(
    scope: &mut TenantScope,
    destination_id: DestinationId,
    after: Option<WebhookEventId>,
    limit: i64,
) -> Result<Vec<WaitingEvent>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let rows = sqlx::query!(
        r#"
        SELECT id, version
        FROM webhook_events
        WHERE tenant_id = $1
          AND destination_id = $2
          AND public.event_status_is_waiting(status)
          AND ($3::uuid IS NULL OR id > $3)
        ORDER BY id
        LIMIT $4
        "#,
        tenant_id,
        destination_id.0,
        after.map(|id| id.0),
        limit,
    )
    .fetch_all(scope.connection())
    .await?;
    rows.into_iter()
        .map(|row| Ok(WaitingEvent { id: row.id.into(), version: version("version", row.version)? }))
        .collect()
}
