//! Webhook events: looked at, listed, replayed, cancelled.

pub(crate) mod attempt_configuration;
pub(crate) mod history;
mod pages;
pub(crate) mod streams;

use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand, WebhookEventRefusal};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use projections::{TenantScope, payloads, webhook_events};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::as_of;
use crate::api::commands::{CONFLICT_RETRIES_MAX, Commands};
use crate::api::http::cursor::{Cursors, List};
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::{self, Paging, Query, one_of};
use crate::api::http::time::{Bound, Timestamp};
use crate::api::openapi::schemas::{DateOrTime, EventStatusFilter, EventStatusName};
use crate::clock;
use crate::event_store::{AppendFailure, StreamAppend};

/// Why an event was cancelled that somebody cancelled by itself; the fact's metadata says who.
const CANCELLED_BY_HAND: &str = "it was cancelled";

/// What showing, replaying and cancelling events needs.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) commands: Commands,
    pub(crate) cursors: Cursors,
}

/// A page of the list of events.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventPage {
    /// How many events match, on all pages.
    #[schema(minimum = 0)]
    pub(crate) total: i64,
    /// Give it as After, with the same filters and order, for what follows on this page, whatever is added
    /// to the list meanwhile. null on the last page, and where the list is sorted by payload.
    pub(crate) next: Option<String>,
    /// The events of this page; none beyond the last one.
    pub(crate) items: Vec<EventView>,
}

/// A webhook event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(crate) struct EventView {
    pub(crate) id: Uuid,
    tenant_id: Uuid,
    destination_url_id: Uuid,
    /// What is delivered: JSON text. `null` once it was erased, on request or because the tenant keeps it no
    /// longer.
    #[schema(examples(r#"{"event":"push"}"#))]
    pub(crate) payload: Option<String>,
    status: EventStatusName,
    idempotency_key: Option<String>,
    /// Failed attempts since it was accepted or replayed.
    current_retry_count: u32,
    /// While it waits for an attempt that is due at a time.
    next_attempt_at: Option<Timestamp>,
    accepted_at: Timestamp,
    delivered_at: Option<Timestamp>,
}

/// List the tenant's events.
///
/// A page is asked for by its number, or by the cursor that the page before gave as next: that is quick
/// however long the list, and neither repeats nor misses an event when others are added meanwhile. Where
/// events are equal in what they are sorted by, acceptedAt and then id decide, in the same direction.
#[utoipa::path(get, path = "/api/v1/events", tag = "Events",
    params(
        ("Status" = Option<EventStatusFilter>, Query, description = "Only events of this status."),
        ("DestinationUrlId" = Option<Uuid>, Query, description = "Only events to this destination."),
        ("From" = Option<DateOrTime>, Query, description = "Only events accepted at or after this time."),
        ("To" = Option<DateOrTime>, Query, description = "Only events accepted at or before this time; a date means its end."),
        ("After" = Option<String>, Query, min_length = 44, max_length = 8192, pattern = r"^[A-Za-z0-9_-]+$",
            description = "What follows the page that gave this as next, with the same filters and order; not together with Pg."),
    ),
    responses((status = 200, body = EventPage), (status = 400)))]
pub(crate) async fn list(
    State(events): State<Events>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, Problem> {
    use webhook_events::Status;
    let paging: Paging<webhook_events::SortField> = query.paging();
    let filter = webhook_events::Filter {
        status: query.optional(
            "Status",
            one_of(&[
                (Status::Pending, "Pending", 0),
                (Status::Processing, "Processing", 1),
                (Status::Succeeded, "Succeeded", 2),
                (Status::Failed, "Failed", 3),
                (Status::WaitingRetry, "WaitingRetry", 4),
                (Status::CriticalFailure, "CriticalFailure", 5),
                (Status::Cancelled, "Cancelled", 6),
            ]),
        ),
        destination_id: query.optional("DestinationUrlId", query::uuid).map(DestinationId),
        from: query.optional("From", query::moment(Bound::From)),
        to: query.optional("To", query::moment(Bound::To)),
    };
    let terms = terms(filter, &paging);
    let list = List { name: "events", tenant_id: caller.tenant_id, terms: &terms };
    let behind = query.after(|cursor| events.cursors.read(list, cursor));
    query.complete()?;
    let start = match behind {
        Some(place) => webhook_events::Start::Behind(place),
        None => webhook_events::Start::Offset(paging.page.offset),
    };

    let pool = events.commands.pool();
    let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
    let Paging { page, sort, direction } = paging;
    let listing = webhook_events::list(&mut scope, filter, sort, direction, page.limit, start).await?;
    let ids: Vec<_> = listing.items.iter().map(|event| event.id).collect();
    let sizes = payloads::sizes(&mut scope, &ids).await?;
    scope.end().await?;
    let next = listing.next.map(|place| events.cursors.make(list, &place)).transpose()?;
    let items = listing.items.into_iter().map(EventView::from).collect();
    let page = EventPage { total: listing.total, next, items };
    pages::answer(pool.clone(), caller.tenant_id, page, &sizes).await
}

/// What a cursor is bound to, but for the tenant.
fn terms(filter: webhook_events::Filter, paging: &Paging<webhook_events::SortField>) -> String {
    let webhook_events::Filter { status, destination_id, from, to } = filter;
    let moment = |time: Option<DateTime<Utc>>| time.map(|time| time.timestamp_micros());
    format!(
        "{:?} {:?} {:?} {:?} {} {:?}",
        status.map(webhook_events::Status::number),
        destination_id.map(|id| id.0),
        moment(from),
        moment(to),
        paging.sort.name(),
        paging.direction,
    )
}

/// Look at an event, as it is or as it was.
#[utoipa::path(get, path = "/api/v1/events/{id}", tag = "Events",
    params(("AsOf" = Option<DateOrTime>, Query,
        description = "The event as it was at this time; a date means its end.")),
    responses((status = 200, body = EventView), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn get(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
    query: Query,
) -> Result<Json<EventView>, Problem> {
    let event = match as_of::asked(&query) {
        true => as_of::event(&events.commands, &caller, id, query).await?,
        false => events.find(&caller, id).await?,
    };
    events.with_payload(&caller, event.into()).await.map(Json)
}

/// Have an event delivered once more.
///
/// Only an event in CriticalFailure whose payload is still there: it gets a full set of attempts, with the
/// destination's settings of now.
#[utoipa::path(post, path = "/api/v1/events/{id}/replay", tag = "Events",
    responses((status = 200, body = EventView), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn replay(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
) -> Result<Json<EventView>, Problem> {
    let event = events.find(&caller, id).await?;
    let at = clock::now();
    events.replay(&caller, id, at).await?;
    // As it stood when it was replayed: by now an attempt may be under way.
    let replayed = EventView {
        status: EventStatusName::Pending,
        current_retry_count: 0,
        next_attempt_at: Some(at.into()),
        delivered_at: None,
        ..event.into()
    };
    events.with_payload(&caller, replayed).await.map(Json)
}

/// Cancel an event.
///
/// Only an event that is Pending or WaitingRetry, and for good: it is never delivered. While an attempt is under
/// way nobody knows whether it arrives, so it cannot be cancelled then.
#[utoipa::path(post, path = "/api/v1/events/{id}/cancel", tag = "Events",
    responses((status = 200, body = EventView), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn cancel(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
) -> Result<Json<EventView>, Problem> {
    events.find(&caller, id).await?;
    let command = WebhookEventCommand::Cancel { reason: CANCELLED_BY_HAND.to_owned(), at: clock::now() };
    // An attempt that is announced meanwhile and this take the same version of the stream: one wins.
    events.commands.execute::<WebhookEvent>(id.0, command, &caller.metadata()).await?;
    // Attempts may have failed since it was looked at above.
    let mut connection = events.commands.pool().acquire().await?;
    let cancelled = streams::read(&mut connection, id).await?;
    drop(connection);
    let cancelled = cancelled.ok_or_else(|| Problem::not_found("event"))?;
    events.with_payload(&caller, cancelled.into()).await.map(Json)
}

impl Events {
    /// An event of the caller's tenant; from its stream, where the read model does not show it.
    pub(crate) async fn find(
        &self,
        caller: &Caller,
        id: WebhookEventId,
    ) -> Result<webhook_events::WebhookEvent, Problem> {
        let mut scope = TenantScope::begin(self.commands.pool(), caller.tenant_id).await?;
        let event = webhook_events::get(&mut scope, id).await?;
        scope.end().await?;
        if let Some(event) = event {
            return Ok(event);
        }
        let mut connection = self.commands.pool().acquire().await?;
        let event = streams::read_before_row(&mut connection, id).await?;
        caller.check_owner(event.as_ref().map(|event| event.tenant_id), "event")?;
        event.ok_or_else(|| Problem::not_found("event"))
    }

    /// Has an event delivered once more, if there is anything to deliver.
    async fn replay(&self, caller: &Caller, id: WebhookEventId, at: DateTime<Utc>) -> Result<(), Problem> {
        let store = self.commands.store();
        let mut repetitions = 0;
        loop {
            let mut loaded = store.load::<WebhookEvent>(id.0).await?;
            let version = loaded.version;
            let facts = loaded.decide(WebhookEventCommand::Replay { at })?;
            let append = StreamAppend::new::<WebhookEvent>(id.0, version, &facts, &caller.metadata())?;
            match store.append_with_payload(caller.tenant_id, id, append).await {
                Ok(None) => return Err(WebhookEventRefusal::PayloadIsErased.into()),
                Ok(position) => {
                    self.commands.wait(position).await;
                    return Ok(());
                }
                Err(AppendFailure::Conflict) if repetitions < CONFLICT_RETRIES_MAX => repetitions += 1,
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn with_payload(&self, caller: &Caller, mut event: EventView) -> Result<EventView, Problem> {
        let id = WebhookEventId(event.id);
        let mut scope = TenantScope::begin(self.commands.pool(), caller.tenant_id).await?;
        let payloads = payloads::delivered(&mut scope, &[id]).await?;
        scope.end().await?;
        event.payload = payloads.into_values().next();
        Ok(event)
    }
}

impl From<webhook_events::WebhookEvent> for EventView {
    fn from(event: webhook_events::WebhookEvent) -> Self {
        Self {
            id: event.id.0,
            tenant_id: event.tenant_id.0,
            destination_url_id: event.destination_id.0,
            payload: None,
            status: event.status.into(),
            idempotency_key: event.idempotency_key,
            current_retry_count: event.failed_attempts,
            next_attempt_at: event.next_attempt_at.map(Timestamp),
            accepted_at: event.accepted_at.into(),
            delivered_at: event.delivered_at.map(Timestamp),
        }
    }
}
