//! `POST /api/v1/events/{id}/cancel`

use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand};
use axum::Json;
use axum::extract::State;

use crate::api::access::principal::{DeliveryViewer, Principal};
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::events::state::Events;
use crate::api::v1::events::streams;
use crate::api::v1::events::view::EventView;
use crate::clock;

/// Cancel an event
///
/// Cancels an event that is `Pending` or `WaitingRetry`, permanently: it is never delivered. An event with an
/// attempt in progress cannot be cancelled, because the attempt may reach the receiver.
#[utoipa::path(post, path = "/api/v1/events/{id}/cancel", tag = "Events",
    responses((status = 200, body = EventView, description = "The cancelled event."), (status = 400),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    principal: Principal,
    Id(id): Id<WebhookEventId>,
) -> Result<Json<EventView>, Problem> {
    events.find(&principal, id).await?;
    let command = WebhookEventCommand::cancel_on_request(clock::now());
    // The claim of an attempt takes the same version of the stream, so only one of the two is appended.
    events.commands.execute::<WebhookEvent>(id.0, command, &principal.metadata()).await?;
    // Attempts may have failed since the event was read above.
    let mut connection = events.commands.pool().acquire().await?;
    let cancelled = streams::read(&mut connection, id).await?;
    drop(connection);
    let cancelled = cancelled.ok_or_else(|| Problem::not_found("event"))?;
    events.with_payload(&principal, cancelled.into()).await.map(Json)
}
