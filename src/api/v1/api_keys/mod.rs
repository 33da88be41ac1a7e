//! API keys, with which services ingest webhooks.

pub(crate) mod issue;
pub(crate) mod list;
pub(crate) mod revoke;

use projections::api_keys;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::commands::Commands;
use crate::api::http::time::Timestamp;
use crate::api::tenant_limits::TenantLimits;

/// Dependencies of the handlers of API keys.
#[derive(Clone, Debug)]
pub(crate) struct ApiKeys {
    pub(crate) commands: Commands,
    pub(crate) limits: TenantLimits,
}

/// An API key, without the key itself.
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
