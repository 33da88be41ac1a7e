//! `GET /api/v1/tenants/{id}`

use aggregates::ids::TenantId;
use axum::Json;
use axum::extract::State;

use super::{TenantView, Tenants};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::legal_holds;

/// Get the tenant
#[utoipa::path(get, path = "/api/v1/tenants/{id}", tag = "Tenants",
    responses((status = 200, body = TenantView, description = "The tenant and its settings."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
) -> Result<Json<TenantView>, Problem> {
    let tenant = tenants.find_own(&caller, id).await?;
    let holds = legal_holds::read(&tenants.commands, caller.tenant_id).await?;
    Ok(Json(TenantView::of(tenant, &holds)))
}
