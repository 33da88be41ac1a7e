//! `GET /api/v1/tenants/{id}`

use aggregates::ids::TenantId;
use axum::Json;
use axum::extract::State;

use super::{TenantView, Tenants};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;

/// Get the tenant
#[utoipa::path(get, path = "/api/v1/tenants/{id}", tag = "Tenants",
    responses((status = 200, body = TenantView, description = "The tenant and its settings."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
) -> Result<Json<TenantView>, Problem> {
    tenants.find_own(&caller, id).await.map(|tenant| Json(tenant.into()))
}
