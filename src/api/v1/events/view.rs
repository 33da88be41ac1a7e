//! How the API shows webhook events.

use projections::webhook_events;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::EventStatusName;
use crate::api::v1::events::erasure::PayloadErasure;

/// A page of the list of events.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventPage {
    /// Number of matching events on all pages.
    #[schema(minimum = 0)]
    pub(super) total: i64,
    /// Cursor of the next page, for the parameter `After` with the same filters and order. `null` on the last
    /// page, and where the list is sorted by payload.
    pub(super) next: Option<String>,
    /// Events of this page. A page beyond the last one has none.
    pub(super) items: Vec<EventView>,
}

/// A webhook event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(crate) struct EventView {
    pub(super) id: Uuid,
    pub(super) tenant_id: Uuid,
    pub(super) destination_url_id: Uuid,
    /// JSON text that is delivered. `null` once it was erased, on request or at the end of its retention.
    #[schema(examples(r#"{"event":"push"}"#))]
    pub(super) payload: Option<String>,
    /// Erasure of the payload on request; `null` unless it was requested.
    pub(super) erasure: Option<PayloadErasure>,
    pub(super) status: EventStatusName,
    /// `X-Idempotency-Key` that the webhook was sent with. `null` without one, and once it was erased with the payload.
    pub(super) idempotency_key: Option<String>,
    /// Failed attempts since the event was accepted or replayed.
    pub(super) current_retry_count: u32,
    /// Time of the next attempt; `null` unless the event waits for one.
    pub(super) next_attempt_at: Option<Timestamp>,
    pub(super) accepted_at: Timestamp,
    pub(super) delivered_at: Option<Timestamp>,
}

impl From<webhook_events::WebhookEvent> for EventView {
    fn from(event: webhook_events::WebhookEvent) -> Self {
        Self {
            id: event.id.0,
            tenant_id: event.tenant_id.0,
            destination_url_id: event.destination_id.0,
            payload: None,
            erasure: None,
            status: event.status.into(),
            idempotency_key: None,
            current_retry_count: event.failed_attempts,
            next_attempt_at: event.next_attempt_at.map(Timestamp),
            accepted_at: event.accepted_at.into(),
            delivered_at: event.delivered_at.map(Timestamp),
        }
    }
}
