//! API keys, which let services ingest.

use aggregates::api_key::{ApiKey, ApiKeyCommand};
use aggregates::ids::ApiKeyId;
use aggregates::text::API_KEY_NAME_CHARS_MAX;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use projections::{TenantScope, api_keys};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::commands::Commands;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::{self, Query};
use crate::api::http::time::Timestamp;
use crate::api::http::validation;
use crate::api::openapi::schemas::{ApiKeyNameText, Page};
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

/// What handling API keys needs.
#[derive(Clone, Debug)]
pub(crate) struct ApiKeys {
    pub(crate) commands: Commands,
}

/// An API key that is wanted.
#[derive(Debug, ToSchema)]
pub(crate) struct NewApiKey {
    #[schema(value_type = ApiKeyNameText)]
    name: String,
}

/// An API key that was just issued.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IssuedApiKey {
    id: Uuid,
    name: String,
    /// The key itself, shown this once.
    #[schema(examples("hks_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    key: String,
    created_at: Timestamp,
}

/// An API key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ApiKey)]
pub(crate) struct ApiKeyView {
    id: Uuid,
    name: String,
    is_active: bool,
    created_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

/// Issue an API key.
#[utoipa::path(post, path = "/api/v1/apikeys", tag = "API keys", request_body = NewApiKey,
    responses((status = 201, body = IssuedApiKey), (status = 400)))]
pub(crate) async fn issue(
    State(keys): State<ApiKeys>,
    caller: Caller,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    let mut fields = body.fields().await?;
    let name = fields.required("name", |value| validation::name(value, API_KEY_NAME_CHARS_MAX));
    let NewApiKey { name } = fields.complete(|| Some(NewApiKey { name: name? }))?;
    let (id, at, key) = (ApiKeyId(identifiers::new_id()), clock::now(), TokenKind::ApiKey.generate());
    let command = ApiKeyCommand::Issue {
        tenant_id: caller.tenant_id,
        name: name.clone(),
        key_hash: token::hash(key.expose_secret()),
        at,
    };
    keys.commands.execute::<ApiKey>(id.0, command, &caller.metadata()).await?;
    let key = key.expose_secret().to_owned();
    Ok(Created {
        location: format!("/api/v1/apikeys/{id}"),
        body: IssuedApiKey { id: id.0, name, key, created_at: at.into() },
    })
}

/// List the tenant's API keys.
#[utoipa::path(get, path = "/api/v1/apikeys", tag = "API keys",
    params(("IsActive" = Option<bool>, Query, description = "Only active keys, or only revoked ones.")),
    responses((status = 200, body = Page<ApiKeyView>), (status = 400)))]
pub(crate) async fn list(
    State(keys): State<ApiKeys>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<ApiKeyView>>, Problem> {
    let paging = query.paging();
    let active = query.optional("IsActive", query::boolean);
    query.complete()?;
    let mut scope = TenantScope::begin(keys.commands.pool(), caller.tenant_id).await?;
    let filter = api_keys::Filter { active };
    let listed = api_keys::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    Ok(Json(Page::of(listed)))
}

/// Revoke an API key.
///
/// It opens nothing from the moment of the answer on.
#[utoipa::path(delete, path = "/api/v1/apikeys/{id}", tag = "API keys",
    responses((status = 200, body = ApiKeyView), (status = 403), (status = 404)))]
pub(crate) async fn revoke(
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

impl From<api_keys::ApiKey> for ApiKeyView {
    fn from(key: api_keys::ApiKey) -> Self {
        Self {
            id: key.id.0,
            name: key.name,
            is_active: key.revoked_at.is_none(),
            created_at: key.created_at.into(),
            revoked_at: key.revoked_at.map(Timestamp),
        }
    }
}
