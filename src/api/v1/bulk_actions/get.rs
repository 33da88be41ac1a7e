//! `GET /api/v1/bulk-actions/{id}`

use aggregates::ids::BulkActionId;
use axum::Json;
use axum::extract::State;

use super::{BulkActionView, BulkActions};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;

/// Get a bulk action
#[utoipa::path(get, path = "/api/v1/bulk-actions/{id}", tag = "Bulk actions",
    responses((status = 200, body = BulkActionView, description = "The bulk action and its progress."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(bulk_actions): State<BulkActions>,
    caller: Caller,
    Id(id): Id<BulkActionId>,
) -> Result<Json<BulkActionView>, Problem> {
    bulk_actions.find(&caller, id).await.map(Json)
}
