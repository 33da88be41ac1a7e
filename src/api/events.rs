//! Webhook events: looked at, listed, replayed.

use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use projections::{TenantScope, payloads, webhook_events};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::authentication::Caller;
use super::commands::Commands;
use super::event_pages;
use super::event_streams;
use super::path::Id;
use super::problem::Problem;
use super::query::{self, Query, one_of};
use super::schemas::{DateOrTime, EventStatusFilter, EventStatusName, Page};
use super::time::{Bound, Timestamp};
use crate::clock;

/// What showing and replaying events needs.
#[derive(Clone, Debug)]
pub(super) struct Events {
    pub(super) commands: Commands,
}

/// A webhook event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(super) struct EventView {
    pub(super) id: Uuid,
    tenant_id: Uuid,
    destination_url_id: Uuid,
    /// What is delivered: JSON text. `null` once it was erased.
    #[schema(examples(r#"{"event":"push"}"#))]
    pub(super) payload: Option<String>,
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
#[utoipa::path(get, path = "/api/v1/events", tag = "Events",
    params(
        ("Status" = Option<EventStatusFilter>, Query, description = "Only events of this status."),
        ("DestinationUrlId" = Option<Uuid>, Query, description = "Only events to this destination."),
        ("From" = Option<DateOrTime>, Query, description = "Only events accepted at or after this time."),
        ("To" = Option<DateOrTime>, Query, description = "Only events accepted at or before this time; a date means its end."),
    ),
    responses((status = 200, body = Page<EventView>), (status = 400)))]
pub(super) async fn list(
    State(events): State<Events>,
    caller: Caller,
    mut query: Query,
) -> Result<Response, Problem> {
    use webhook_events::Status;
    let paging = query.paging();
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
    query.complete()?;
    let pool = events.commands.pool();
    let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
    let listed = webhook_events::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    let ids: Vec<_> = listed.items.iter().map(|event| event.id).collect();
    let sizes = payloads::sizes(&mut scope, &ids).await?;
    scope.end().await?;
    let items = listed.items.into_iter().map(EventView::from).collect();
    event_pages::answer(pool.clone(), caller.tenant_id, Page { total: listed.total, items }, &sizes).await
}

/// Look at an event.
#[utoipa::path(get, path = "/api/v1/events/{id}", tag = "Events",
    responses((status = 200, body = EventView), (status = 403), (status = 404)))]
pub(super) async fn get(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
) -> Result<Json<EventView>, Problem> {
    let event = events.find(&caller, id).await?;
    events.with_payload(&caller, event.into()).await.map(Json)
}

/// Have an event delivered once more.
///
/// Only an event in CriticalFailure: it gets a full set of attempts, with the destination's settings of
/// now.
#[utoipa::path(post, path = "/api/v1/events/{id}/replay", tag = "Events",
    responses((status = 200, body = EventView), (status = 400), (status = 403), (status = 404)))]
pub(super) async fn replay(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
) -> Result<Json<EventView>, Problem> {
    let event = events.find(&caller, id).await?;
    let at = clock::now();
    let command = WebhookEventCommand::Replay { at };
    events.commands.execute::<WebhookEvent>(id.0, command, &caller.metadata()).await?;
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

impl Events {
    /// An event of the caller's tenant; from its stream, where the read model does not show it yet.
    pub(super) async fn find(
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
        let event = event_streams::read(&mut connection, id).await?;
        caller.check_owner(event.as_ref().map(|event| event.tenant_id), "event")?;
        event.ok_or_else(|| Problem::not_found("event"))
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
