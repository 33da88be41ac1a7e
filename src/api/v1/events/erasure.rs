//! Payloads of events, and who had them erased and why.

use std::collections::HashMap;

use aggregates::fact::Fact;
use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::{WebhookEvent, WebhookEventFact};
use projections::payloads::{self, Delivered};
use projections::{LoggedFact, TenantScope};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::http::problem::Problem;
use crate::api::http::time::Timestamp;
use crate::api::v1::events::view::EventView;
use crate::event_store::stream_reader;

const PAYLOAD_ERASED: [&str; 1] = ["PayloadErased"];

/// Erasure of a payload on request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PayloadErasure {
    at: Timestamp,
    reason: String,
    /// User who requested it.
    requested_by: Option<Uuid>,
}

/// Adds to each event its payload and idempotency key, or when and why it was erased, unless `shows_reasons` is `false`.
pub(super) async fn add_payloads(
    scope: &mut TenantScope,
    events: &mut [EventView],
    shows_reasons: bool,
) -> Result<(), Problem> {
    let ids: Vec<_> = events.iter().map(|event| WebhookEventId(event.id)).collect();
    let mut delivered = payloads::delivered(scope, &ids).await?;
    let without: Vec<_> = ids.into_iter().filter(|id| shows_reasons && !delivered.contains_key(id)).collect();
    let mut erasures = of(scope, &without).await?;
    for event in events {
        let id = WebhookEventId(event.id);
        if let Some(Delivered { text, idempotency_key }) = delivered.remove(&id) {
            event.payload = Some(text);
            event.idempotency_key = idempotency_key;
        }
        event.erasure = erasures.remove(&id);
    }
    Ok(())
}

/// Returns the erasures of those of `events` whose payloads were erased on request, from the log.
pub(super) async fn of(
    scope: &mut TenantScope,
    events: &[WebhookEventId],
) -> Result<HashMap<WebhookEventId, PayloadErasure>, Problem> {
    if events.is_empty() {
        return Ok(HashMap::new());
    }
    let streams: Vec<Uuid> = events.iter().map(|id| id.0).collect();
    let rows =
        stream_reader::last_facts::<WebhookEvent>(scope.connection(), &streams, &PAYLOAD_ERASED).await?;
    let mut erasures = HashMap::with_capacity(rows.len());
    for row in rows {
        let logged = LoggedFact::try_from(row).map_err(Problem::internal)?;
        if let Fact::WebhookEvent(WebhookEventFact::PayloadErased { reason, requested_by, at }) = logged.fact
        {
            let requested_by = requested_by.map(|user| user.0);
            erasures.insert(logged.stream_id.into(), PayloadErasure { at: at.into(), reason, requested_by });
        }
    }
    Ok(erasures)
}
