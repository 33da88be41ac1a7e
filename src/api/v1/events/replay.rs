//! `POST /api/v1/events/{id}/replay`

use aggregates::ids::{TenantId, WebhookEventId};
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand, WebhookEventRefusal};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use projections::webhook_events::EventStatus;

use crate::api::access::principal::{DeliveryViewer, Principal};
use crate::api::commands::CONFLICT_RETRIES_MAX;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::events::state::Events;
use crate::api::v1::events::view::EventView;
use crate::clock;
use crate::event_store::{AppendFailure, Metadata, StreamAppend};

/// Replay an event
///
/// Delivers an event in `CriticalFailure` again, with a full set of attempts and the current settings of its
/// destination. The payload must still be stored.
#[utoipa::path(post, path = "/api/v1/events/{id}/replay", tag = "Events",
    responses((status = 200, body = EventView, description = "The event, waiting for its first attempt."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    principal: Principal,
    Id(id): Id<WebhookEventId>,
) -> Result<Json<EventView>, Problem> {
    let event = events.find(&principal, id).await?;
    let at = clock::now();
    replay(&events, event.tenant_id, &principal.metadata(), id, at).await?;
    // As it was at the replay: an attempt may be in progress by now.
    let replayed = EventView {
        status: EventStatus::Pending.into(),
        current_retry_count: 0,
        next_attempt_at: Some(at.into()),
        delivered_at: None,
        ..event.into()
    };
    events.with_payload(&principal, replayed).await.map(Json)
}

/// Appends the replay if the payload is still stored.
async fn replay(
    events: &Events,
    tenant_id: TenantId,
    metadata: &Metadata,
    id: WebhookEventId,
    at: DateTime<Utc>,
) -> Result<(), Problem> {
    let store = events.commands.store();
    let mut retries = 0;
    loop {
        let mut loaded = store.load::<WebhookEvent>(id.0).await?;
        let version = loaded.version;
        let facts = loaded.decide(WebhookEventCommand::Replay { at })?;
        let append = StreamAppend::new::<WebhookEvent>(id.0, version, &facts, metadata)?;
        match store.append_with_payload(tenant_id, id, append).await {
            Ok(None) => return Err(WebhookEventRefusal::PayloadIsErased.into()),
            Ok(position) => {
                events.commands.wait(position).await;
                return Ok(());
            }
            Err(AppendFailure::Conflict) if retries < CONFLICT_RETRIES_MAX => retries += 1,
            Err(failure) => return Err(failure.into()),
        }
    }
}
