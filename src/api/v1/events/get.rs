//! `GET /api/v1/events/{id}`

use aggregates::ids::WebhookEventId;
use axum::Json;
use axum::extract::State;

use crate::api::access::principal::Principal;
use crate::api::as_of;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::DateOrTime;
use crate::api::v1::events::state::Events;
use crate::api::v1::events::view::EventView;

/// Get an event
///
/// Returns the event as it is, or as it was at a time (`AsOf`).
#[utoipa::path(get, path = "/api/v1/events/{id}", tag = "Events",
    params(("AsOf" = Option<DateOrTime>, Query,
        description = "Return the event as it was at this time; a date means its end.")),
    responses((status = 200, body = EventView, description = "The event."), (status = 400), (status = 403),
        (status = 404)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    principal: Principal,
    Id(id): Id<WebhookEventId>,
    query: Query,
) -> Result<Json<EventView>, Problem> {
    let mut event = events.find(&principal, id).await?;
    if as_of::is_requested(&query) {
        event = as_of::event(&events.commands, event.tenant_id, id, query).await?;
    }
    events.with_payload(&principal, event.into()).await.map(Json)
}
