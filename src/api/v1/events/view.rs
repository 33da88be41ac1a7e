//! How the API shows webhook events.

use projections::webhook_events;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::{EventStatusName, OutcomeName};
use crate::api::v1::events::erasure::PayloadErasure;

/// A page of the list of events.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventPage {
    #[serde(flatten)]
    pub(super) head: PageHead,
    /// Events of this page. A page beyond the last one has none.
    pub(super) items: Vec<EventView>,
}

/// What precedes the events of a page.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageHead {
    /// Number of matching events on all pages. In a search of payloads: on this page.
    #[schema(minimum = 0)]
    pub(super) total: i64,
    /// Whether more events may match than `total`. Where the filter has more than status, destination and time, and the
    /// list is sorted by `acceptedAt`, counting ends at 10,000.
    pub(super) total_is_lower_bound: bool,
    /// Cursor of the next page, for the parameter `After` with the same filters and order. `null` on the last
    /// page, and where the list is sorted by payload.
    pub(super) next: Option<String>,
    /// How far a search of payloads got; `null` without one.
    pub(super) search: Option<SearchProgress>,
}

/// How far a page of a search of payloads got.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SearchProgress {
    /// Events whose payloads were examined for this page.
    #[schema(minimum = 0)]
    pub(super) examined: i64,
    /// Time of acceptance of the last one; `null` if there was none.
    pub(super) through: Option<Timestamp>,
    /// Beginning of the time range that is searched.
    pub(super) from: Timestamp,
    /// Whether the whole time range has been searched. Otherwise `next` continues.
    pub(super) is_complete: bool,
}

/// A webhook event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(crate) struct EventView {
    pub(super) id: Uuid,
    pub(super) tenant_id: Uuid,
    pub(super) destination_url_id: Uuid,
    /// Sender that it came through; `null` if it was sent with the destination's own token.
    pub(super) sender_id: Option<Uuid>,
    /// JSON text that is delivered. `null` once it was erased, on request or at the end of its retention.
    #[schema(examples(r#"{"event":"push"}"#))]
    pub(super) payload: Option<String>,
    /// Erasure of the payload on request; `null` unless it was requested, and to a portal link.
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
    /// Outcome of the last attempt that ended; `null` if none has.
    pub(super) last_outcome: Option<OutcomeName>,
    /// HTTP status of the response to that attempt; `null` without a response.
    #[schema(minimum = 100, maximum = 999)]
    pub(super) last_http_status: Option<u16>,
}

impl From<webhook_events::WebhookEvent> for EventView {
    fn from(event: webhook_events::WebhookEvent) -> Self {
        Self {
            id: event.id.0,
            tenant_id: event.tenant_id.0,
            destination_url_id: event.destination_id.0,
            sender_id: event.sender_id.map(|id| id.0),
            payload: None,
            erasure: None,
            status: event.status.into(),
            idempotency_key: None,
            current_retry_count: event.failed_attempts,
            next_attempt_at: event.next_attempt_at.map(Timestamp),
            accepted_at: event.accepted_at.into(),
            delivered_at: event.delivered_at.map(Timestamp),
            last_outcome: event.last_outcome.map(OutcomeName::from),
            last_http_status: event.last_http_status,
        }
    }
}
