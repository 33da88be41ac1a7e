//! `DELETE /api/v1/apikeys/{id}`

use aggregates::api_key::{ApiKey, ApiKeyCommand};
use aggregates::ids::ApiKeyId;
use axum::Json;
use axum::extract::State;
use projections::{TenantScope, api_keys};

use super::{ApiKeyView, ApiKeys};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::clock;

/// Revoke an API key
///
/// Requests with the key are refused from the moment of the response.
#[utoipa::path(delete, path = "/api/v1/apikeys/{id}", tag = "API keys",
    responses((status = 200, body = ApiKeyView, description = "The revoked API key."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(keys): State<ApiKeys>,
    caller: Caller,
    Id(id): Id<ApiKeyId>,
) -> Result<Json<ApiKeyView>, Problem> {
    let pool = keys.commands.pool();
    let owner = api_keys::owner_of(&mut *pool.acquire().await?, id).await?;
    caller.check_owner(owner, "active API key")?;
    let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
    let key = api_keys::get(&mut scope, id).await?.ok_or_else(|| Problem::not_found("active API key"))?;
    scope.end().await?;
    let at = clock::now();
    keys.commands.execute::<ApiKey>(id.0, ApiKeyCommand::Revoke { at }, &caller.metadata()).await?;
    Ok(Json(ApiKeyView { is_active: false, revoked_at: Some(at.into()), ..key.into() }))
}
