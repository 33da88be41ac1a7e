//! `GET /api/v1/portal`

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::principal::PortalCaller;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::PortalAccessName;

/// The portal link of a request.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CurrentPortalLink)]
pub(crate) struct CurrentView {
    id: Uuid,
    destination_id: Uuid,
    access: PortalAccessName,
    expires_at: Timestamp,
}

/// Get the portal link of the request
///
/// Returns what the link shows and allows to the customer who holds it.
#[utoipa::path(get, path = "/api/v1/portal", tag = "Portal links",
    responses((status = 200, body = CurrentView, description = "The portal link.")))]
pub(crate) async fn handler(link: PortalCaller) -> Json<CurrentView> {
    Json(CurrentView {
        id: link.id.0,
        destination_id: link.destination_id.0,
        access: link.access.into(),
        expires_at: link.expires_at.into(),
    })
}
