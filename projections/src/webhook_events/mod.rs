//! Webhook events: where every delivery stands.

mod aged;
mod backlog;
mod counts;
mod list;
mod page;
mod recount;
mod removal;
mod returned;
mod status;
mod timeline;

use std::collections::HashMap;

use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, SenderId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub(crate) use aged::removed;
pub use aged::{RetentionCandidate, aged, ended, ended_among};
pub use backlog::count_waiting;
pub use list::{Filter, Key, Listing, Place, SortField, Start, list};
pub use recount::recount;
pub use removal::remove;
pub(crate) use returned::{have_left, remove_returned};
pub use status::Status;

use crate::columns::{known, version};
use counts::{Changes, Counted};

use crate::fold::{self, ApplyFailure, NotFolded, StreamRow};
use crate::logged_fact::LoggedFact;
use crate::tenant_scope::TenantScope;

/// A webhook event, as callers see it. Its payload is in [`payloads`](crate::payloads).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEvent {
    pub id: WebhookEventId,
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// The sender it came through, if any.
    pub sender_id: Option<SenderId>,
    /// Where its delivery stands.
    pub status: Status,
    /// The caller's idempotency key, if any.
    pub idempotency_key: Option<String>,
    /// Failed attempts since it was accepted or replayed.
    pub failed_attempts: u32,
    /// Number of the last attempt that was started, over its whole life.
    pub attempts: u32,
    /// When the next attempt is due, the destination's open breaker considered.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
    /// When it was delivered.
    pub delivered_at: Option<DateTime<Utc>>,
    /// Version of its stream that this shows.
    pub version: u64,
}

/// What a repeated request of ingest is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventSummary {
    pub tenant_id: TenantId,
    /// Where its delivery stands.
    pub status: Status,
    /// When it was accepted.
    pub accepted_at: DateTime<Utc>,
}

/// An event that waits for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub id: WebhookEventId,
    /// Version of its stream at which it waits.
    pub version: u64,
}

struct Row {
    id: Uuid,
    tenant_id: Uuid,
    destination_id: Uuid,
    sender_id: Option<Uuid>,
    accepted_at: DateTime<Utc>,
    next_attempt_at: Option<DateTime<Utc>>,
    delivered_at: Option<DateTime<Utc>>,
    version: i64,
    failed_attempts: i32,
    attempts: i32,
    status: i16,
    idempotency_key: Option<String>,
}

impl Row {
    fn counted(&self) -> Counted {
        Counted {
            tenant_id: self.tenant_id,
            destination_id: self.destination_id,
            accepted_at: self.accepted_at,
        }
    }

    fn enter(&mut self, status: Status, next_attempt_at: Option<DateTime<Utc>>) {
        self.status = status.number();
        self.next_attempt_at = next_attempt_at;
    }
}

/// Counts of attempts, as columns hold them.
pub(crate) fn attempts(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl StreamRow for Row {
    type Fact = WebhookEventFact;

    fn pick(fact: &Fact) -> Option<&WebhookEventFact> {
        if let Fact::WebhookEvent(fact) = fact { Some(fact) } else { None }
    }

    fn begin(logged: &LoggedFact, fact: &WebhookEventFact) -> Option<Self> {
        let WebhookEventFact::EventAccepted(acceptance) = fact else {
            return None;
        };
        Some(Self {
            id: logged.stream_id,
            tenant_id: acceptance.tenant_id.0,
            destination_id: acceptance.destination_id.0,
            sender_id: acceptance.sender_id.map(|id| id.0),
            accepted_at: acceptance.at,
            next_attempt_at: None,
            delivered_at: None,
            version: 1,
            failed_attempts: 0,
            attempts: 0,
            status: Status::Pending.number(),
            idempotency_key: acceptance.idempotency_key.clone(),
        })
    }

    fn follow(&mut self, fact: &WebhookEventFact) {
        use WebhookEventFact as Fact;
        match fact {
            // Whoever asked for the payload to be erased finds the event as it stands.
            Fact::EventAccepted(_) | Fact::PayloadErased { .. } => {}
            Fact::DeliveryStarted { attempt, .. } => {
                self.enter(Status::Processing, None);
                self.attempts = attempts(*attempt);
            }
            Fact::DeliveryAttempted { failed_attempts, report, at, .. } => {
                self.failed_attempts = attempts(*failed_attempts);
                if report.outcome.is_success() {
                    self.enter(Status::Succeeded, None);
                    self.delivered_at = Some(*at);
                } else {
                    self.enter(Status::Failed, None);
                }
            }
            Fact::RetryScheduled { failed_attempts, retry_at, .. } => {
                self.enter(Status::WaitingRetry, Some(*retry_at));
                self.failed_attempts = attempts(*failed_attempts);
            }
            Fact::CriticalFailure { failed_attempts, .. } => {
                self.enter(Status::CriticalFailure, None);
                self.failed_attempts = attempts(*failed_attempts);
            }
            Fact::Replayed { at, .. } => {
                self.enter(Status::Pending, Some(*at));
                self.failed_attempts = 0;
            }
            Fact::Cancelled { .. } => self.enter(Status::Cancelled, None),
        }
    }

    fn stream_id(&self) -> Uuid {
        self.id
    }

    fn version(&mut self) -> &mut i64 {
        &mut self.version
    }
}

fn status(number: i16) -> Result<Status, sqlx::Error> {
    known("status", Status::from_number(i64::from(number)))
}

impl TryFrom<Row> for WebhookEvent {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id.into(),
            tenant_id: row.tenant_id.into(),
            destination_id: row.destination_id.into(),
            sender_id: row.sender_id.map(SenderId),
            status: status(row.status)?,
            idempotency_key: row.idempotency_key,
            failed_attempts: known("failed_attempts", u32::try_from(row.failed_attempts).ok())?,
            attempts: known("attempts", u32::try_from(row.attempts).ok())?,
            next_attempt_at: row.next_attempt_at,
            accepted_at: row.accepted_at,
            delivered_at: row.delivered_at,
            version: version("version", row.version)?,
        })
    }
}

/// The event that a whole stream shows: what [`get`] will answer once it has been applied. The breaker
/// is not considered.
pub fn of_stream(facts: &[LoggedFact]) -> Result<Option<WebhookEvent>, NotFolded> {
    fold::fold_stream::<Row, _>(facts)
}

pub(crate) async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
    let ids = fold::streams_of::<Row>(facts);
    if ids.is_empty() {
        return Ok(());
    }
    let loaded = load(connection, &ids).await?;
    let facts = aged::without_removed(connection, &loaded, facts).await?;
    let before: HashMap<Uuid, i16> = loaded.iter().map(|row| (row.id, row.status)).collect();
    let rows = fold::fold(loaded, &facts)?;
    if rows.is_empty() {
        return Ok(());
    }
    let inserted = store(connection, &rows).await?;
    let new = rows.iter().filter(|row| !before.contains_key(&row.id)).count();
    if inserted != new {
        // Somebody removed a row, or wrote one, between the loading and the storing: what is to be
        // counted is not known. Tried again, the rows are loaded as they are.
        return Err(sqlx::Error::Protocol("webhook events changed while they were folded".to_owned()).into());
    }
    let mark = recount::mark(connection).await?;
    let mut changes = Changes::default();
    for row in rows.iter().filter(|row| mark.is_none_or(|mark| row.id <= mark)) {
        changes.note(row.counted(), before.get(&row.id).copied(), Some(row.status));
    }
    Ok(changes.add(connection).await?)
}

#[tracing::instrument(name = "db.webhook_events.load", level = "trace", skip_all, err(level = "debug"))]
async fn load(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            id, tenant_id, destination_id, sender_id, accepted_at, next_attempt_at, delivered_at,
            version, failed_attempts, attempts, status, idempotency_key
        FROM webhook_events
        WHERE id = ANY($1)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}

/// Writes rows; answers how many of them were not there.
#[tracing::instrument(name = "db.webhook_events.store", level = "trace", skip_all, err(level = "debug"))]
async fn store(connection: &mut PgConnection, rows: &[Row]) -> Result<usize, sqlx::Error> {
    let inserted = sqlx::query_scalar!(
        r#"
        INSERT INTO webhook_events (
            id, tenant_id, destination_id, sender_id, accepted_at, next_attempt_at, delivered_at,
            version, failed_attempts, attempts, status, idempotency_key
        )
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::timestamptz[],
            $7::timestamptz[], $8::bigint[], $9::int[], $10::int[], $11::smallint[], $12::text[]
        )
        ON CONFLICT (id) DO UPDATE SET
            next_attempt_at = excluded.next_attempt_at,
            delivered_at = excluded.delivered_at,
            version = excluded.version,
            failed_attempts = excluded.failed_attempts,
            attempts = excluded.attempts,
            status = excluded.status
        WHERE webhook_events.version < excluded.version
        -- A row that was inserted has not been locked by an update.
        RETURNING (xmax = 0) AS "inserted!"
        "#,
        &rows.iter().map(|row| row.id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.tenant_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.destination_id).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.sender_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|row| row.accepted_at).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.next_attempt_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.delivered_at).collect::<Vec<_>>() as &[Option<DateTime<Utc>>],
        &rows.iter().map(|row| row.version).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.failed_attempts).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.attempts).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.status).collect::<Vec<_>>(),
        &rows.iter().map(|row| row.idempotency_key.clone()).collect::<Vec<_>>() as &[Option<String>],
    )
    .fetch_all(connection)
    .await?;
    Ok(inserted.into_iter().filter(|inserted| *inserted).count())
}

/// The tenant of an event.
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

/// Where an event stands, for whoever ingests it again.
#[tracing::instrument(name = "db.webhook_events.standing", level = "debug", skip_all, err(level = "debug"))]
pub async fn standing(
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
                status: status(row.status)?,
                accepted_at: row.accepted_at,
            })
        })
        .transpose()
}

/// An event of the scope's tenant.
#[tracing::instrument(name = "db.webhook_events.get", level = "debug", skip_all, err(level = "debug"))]
pub async fn get(scope: &mut TenantScope, id: WebhookEventId) -> Result<Option<WebhookEvent>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    sqlx::query_as!(
        Row,
        r#"
        SELECT
            event.id, event.tenant_id, event.destination_id, event.sender_id, event.accepted_at,
            -- A suspended destination puts off what waits for it, until its next check.
            CASE
                WHEN event.status IN (0, 4) THEN greatest(event.next_attempt_at, destinations.next_check_at)
                ELSE event.next_attempt_at
            END AS next_attempt_at,
            event.delivered_at, event.version, event.failed_attempts, event.attempts, event.status,
            event.idempotency_key
        FROM webhook_events AS event
        LEFT JOIN destinations ON destinations.id = event.destination_id
        WHERE event.tenant_id = $1 AND event.id = $2
        "#,
        tenant_id,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await?
    .map(WebhookEvent::try_from)
    .transpose()
}

/// The events that wait for a destination of the scope's tenant, by id after `after`: those that a purge
/// cancels.
#[tracing::instrument(name = "db.webhook_events.waiting", level = "debug", skip_all, err(level = "debug"))]
pub async fn waiting(
    scope: &mut TenantScope,
    destination_id: DestinationId,
    after: Option<WebhookEventId>,
    limit: i64,
) -> Result<Vec<Waiting>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let rows = sqlx::query!(
        r#"
        SELECT id, version
        FROM webhook_events
        WHERE tenant_id = $1
          AND destination_id = $2
          AND status IN (0, 4)
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
        .map(|row| Ok(Waiting { id: row.id.into(), version: version("version", row.version)? }))
        .collect()
}
