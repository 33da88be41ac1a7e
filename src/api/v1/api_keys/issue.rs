//! `POST /api/v1/apikeys`

use aggregates::api_key::{ApiKey, ApiKeyCommand};
use aggregates::ids::ApiKeyId;
use axum::extract::State;
use axum::response::IntoResponse;
use projections::tenant_usage::Resource;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::ApiKeys;
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::fields::body;
use crate::api::http::fields::text::ApiKeyNameText;
use crate::api::http::problem::Problem;
use crate::api::http::time::Timestamp;
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

body! {
    /// An API key to issue.
    NewApiKey {
        name: ApiKeyNameText = "name",
    }
}

/// A newly issued API key.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IssuedApiKey {
    id: Uuid,
    name: String,
    /// The key, which is shown only once.
    #[schema(examples("hks_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    key: String,
    created_at: Timestamp,
}

/// Issue an API key
#[utoipa::path(post, path = "/api/v1/apikeys", tag = "API keys", request_body = NewApiKey,
    responses((status = 201, body = IssuedApiKey, description = "The API key, which is shown only once."),
        (status = 400), (status = 422)))]
pub(crate) async fn handler(
    State(keys): State<ApiKeys>,
    caller: Caller,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    let NewApiKey { name } = body.read().await?;
    keys.limits.check(caller.tenant_id, Resource::ApiKeys).await?;
    let (id, at, key) = (ApiKeyId(identifiers::new_id()), clock::now(), TokenKind::ApiKey.generate());
    let key_hash = token::hash(key.expose_secret());
    let command = ApiKeyCommand::Issue { tenant_id: caller.tenant_id, name: name.clone(), key_hash, at };
    keys.commands.execute::<ApiKey>(id.0, command, &caller.metadata()).await?;
    let key = key.expose_secret().to_owned();
    Ok(Created {
        location: format!("/api/v1/apikeys/{id}"),
        body: IssuedApiKey { id: id.0, name, key, created_at: at.into() },
    })
}
