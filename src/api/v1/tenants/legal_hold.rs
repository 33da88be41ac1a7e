//! `POST /api/v1/tenants/{id}/legal-hold` and `POST /api/v1/tenants/{id}/legal-hold/lift`

use aggregates::ids::TenantId;
use aggregates::legal_hold::HeldSubject;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Tenants;
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::legal_holds::{self, LegalHoldReason, LegalHoldView};

/// Place a legal hold on a tenant
///
/// Until it is lifted, no payload of the tenant is erased, neither on request nor by retention, and no event leaves the
/// lists.
#[utoipa::path(post, path = "/api/v1/tenants/{id}/legal-hold", tag = "Tenants",
    request_body = LegalHoldReason,
    responses((status = 200, body = LegalHoldView, description = "The legal hold."), (status = 400), (status = 403),
        (status = 404), (status = 409)))]
pub(crate) async fn place(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
    body: UnreadBody,
) -> Result<Json<LegalHoldView>, Problem> {
    tenants.find_own(&caller, id).await?;
    let reason = body.read_small(&()).await?;
    legal_holds::place(&tenants.commands, &caller, HeldSubject::Tenant, id.0, reason).await.map(Json)
}

/// Lift the legal hold on a tenant
///
/// Retention continues with its next pass. Without a hold: nothing changes.
#[utoipa::path(post, path = "/api/v1/tenants/{id}/legal-hold/lift", tag = "Tenants",
    request_body = LegalHoldReason,
    responses((status = 204, description = "There is no legal hold."), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn lift(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
    body: UnreadBody,
) -> Result<StatusCode, Problem> {
    tenants.find_own(&caller, id).await?;
    let reason = body.read_small(&()).await?;
    legal_holds::lift(&tenants.commands, &caller, id.0, reason).await?;
    Ok(StatusCode::NO_CONTENT)
}
