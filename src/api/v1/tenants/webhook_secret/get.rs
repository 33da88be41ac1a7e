//! `GET /api/v1/tenants/{id}/webhook-secret`

use aggregates::access::Accessed;
use aggregates::ids::TenantId;
use axum::Json;
use axum::extract::State;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::tenants::Tenants;

/// A webhook secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookSecret)]
pub(crate) struct SecretView {
    /// Key of `X-HookSentry-Signature`, including its prefix.
    #[schema(examples("whsec_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    webhook_secret: String,
}

/// Get the webhook secret
#[utoipa::path(get, path = "/api/v1/tenants/{id}/webhook-secret", tag = "Tenants",
    responses((status = 200, body = SecretView, description = "The webhook secret in force."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
) -> Result<Json<SecretView>, Problem> {
    tenants.find_own(&caller, id).await?;
    tenants.accesses.record_of_tenant(&caller, Accessed::WebhookSecret).await?;
    let secret = tenants.current_secret(id).await?;
    Ok(Json(SecretView { webhook_secret: secret.expose_secret().to_owned() }))
}
