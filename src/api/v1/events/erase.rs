//! `POST /api/v1/events/{id}/erase`

use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand, WebhookEventRefusal};
use axum::Json;
use axum::extract::State;

use crate::api::access::authentication::Caller;
use crate::api::commands::CONFLICT_RETRIES_MAX;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::text::ErasureReasonText;
use crate::api::http::path::Id;
use crate::api::http::problem::{Kind, Problem};
use crate::api::v1::events::state::Events;
use crate::api::v1::events::streams;
use crate::api::v1::events::view::EventView;
use crate::api::v1::legal_holds;
use crate::clock;
use crate::event_store::{AppendFailure, ErasureFailure, StreamAppend};

body! {
    /// Erasure of the payload of an event.
    EventErasure {
        reason: ErasureReasonText = "reason",
    }
}

/// Erase the payload of an event
///
/// Erases the payload of an event permanently, with what was kept of the responses to its attempts. An event that is
/// `Pending` or `WaitingRetry` is cancelled, because it cannot be delivered any more. Its facts remain, and their proofs
/// stay valid. Repeated: nothing changes.
#[utoipa::path(post, path = "/api/v1/events/{id}/erase", tag = "Events",
    request_body = EventErasure,
    responses((status = 200, body = EventView, description = "The event without its payload."), (status = 400),
        (status = 403), (status = 404), (status = 409)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
    body: UnreadBody,
) -> Result<Json<EventView>, Problem> {
    events.find(&caller, id).await?;
    let EventErasure { reason } = body.read_small(&()).await?;
    erase(&events, &caller, id, reason).await?;
    let mut connection = events.commands.pool().acquire().await?;
    let erased = streams::read(&mut connection, id).await?;
    drop(connection);
    let erased = erased.ok_or_else(|| Problem::not_found("event"))?;
    events.with_payload(&caller, erased.into()).await.map(Json)
}

/// Appends the erasure, at the version of the stream at which it was decided, and erases the payload.
async fn erase(events: &Events, caller: &Caller, id: WebhookEventId, reason: String) -> Result<(), Problem> {
    let store = events.commands.store();
    let requested_by = Some(caller.user_id);
    let command = WebhookEventCommand::ErasePayload { reason, requested_by, at: clock::now() };
    let mut retries = 0;
    loop {
        let mut loaded = store.load::<WebhookEvent>(id.0).await?;
        let version = loaded.version;
        let facts = loaded.decide(command.clone()).map_err(refused)?;
        if facts.is_empty() {
            return Ok(());
        }
        // An event that was accepted has one.
        let destination = loaded.state.delivery().map(|delivery| delivery.destination_id).unwrap_or_default();
        let append = StreamAppend::new::<WebhookEvent>(id.0, version, &facts, &caller.metadata())?;
        match store.append_erasing(caller.tenant_id, destination, id, append).await {
            Ok(position) => {
                events.commands.wait(Some(position)).await;
                return Ok(());
            }
            Err(ErasureFailure::Held(hold)) => return Err(legal_holds::forbids(&hold)),
            Err(ErasureFailure::Append(AppendFailure::Conflict)) if retries < CONFLICT_RETRIES_MAX => {
                retries += 1;
            }
            Err(ErasureFailure::Append(failure)) => return Err(failure.into()),
        }
    }
}

fn refused(refusal: WebhookEventRefusal) -> Problem {
    match refusal {
        WebhookEventRefusal::AttemptInProgress => Problem::new(
            Kind::AttemptInProgress,
            "An attempt to deliver the event is in progress. Its payload can be erased when the attempt has ended.",
        ),
        refusal => refusal.into(),
    }
}
