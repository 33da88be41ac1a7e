//! Erasures of the payloads of many events.

pub(crate) mod get;
pub(crate) mod request;

use aggregates::erasure::{ErasureRequest, ErasureResult, ErasureScope};
use aggregates::ids::ErasureId;
use projections::erasures::Progress;
use projections::webhook_events::EventStatus;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::EventStatusName;

/// Erasure of the payloads of many events.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Erasure)]
pub(crate) struct ErasureView {
    /// `null` after a dry run.
    id: Option<Uuid>,
    scope: ErasureScopeView,
    reason: String,
    requested_by: Uuid,
    /// Only events that were accepted until then are erased.
    requested_at: Timestamp,
    /// Number of events in the scope at the request, those without a payload included.
    #[schema(minimum = 0)]
    events: u64,
    /// Number of payloads erased so far.
    #[schema(minimum = 0)]
    erased: u64,
    /// Number of payloads that legal holds on their destinations have kept.
    #[schema(minimum = 0)]
    kept: u64,
    /// `null` until all events in the scope were reached.
    completed_at: Option<Timestamp>,
}

/// Events that an erasure is for: those that match all that is not `null`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ErasureScope)]
pub(crate) struct ErasureScopeView {
    destination_url_id: Option<Uuid>,
    status: Option<EventStatusName>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl From<ErasureScope> for ErasureScopeView {
    fn from(scope: ErasureScope) -> Self {
        Self {
            destination_url_id: scope.destination_id.map(|id| id.0),
            status: scope.status.as_deref().and_then(EventStatus::from_name).map(Into::into),
            from: scope.from.map(Into::into),
            to: scope.to.map(Into::into),
        }
    }
}

impl ErasureView {
    fn of(
        id: Option<ErasureId>,
        request: ErasureRequest,
        progress: Progress,
        result: Option<ErasureResult>,
    ) -> Self {
        Self {
            id: id.map(|id| id.0),
            scope: request.scope.into(),
            reason: request.reason,
            requested_by: request.requested_by.0,
            requested_at: request.at.into(),
            events: request.events,
            erased: progress.erased,
            kept: progress.kept,
            completed_at: result.map(|result| result.at.into()),
        }
    }
}
