//! API keys, with which sources send webhooks.

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Client;
use super::events::Entries;
use super::problem::ApiError;

/// An API key, without the key itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ApiKey {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) revoked_at: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
struct NewKey<'a> {
    name: &'a str,
}

#[derive(Deserialize)]
struct IssuedKey {
    key: String,
}

impl Client {
    /// Returns the first API keys, the newest first.
    pub(crate) async fn api_keys(&self) -> Result<Entries<ApiKey>, ApiError> {
        self.get("/apikeys?Qt=200&CpOrd=createdAt&TpOrd=desc").await
    }

    /// Issues an API key and returns it.
    pub(crate) async fn issue_api_key(&self, name: &str) -> Result<String, ApiError> {
        let IssuedKey { key } = self.post("/apikeys", &NewKey { name }).await?;
        Ok(key)
    }

    pub(crate) async fn revoke_api_key(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::DELETE, &format!("/apikeys/{id}"), &()).await
    }
}
