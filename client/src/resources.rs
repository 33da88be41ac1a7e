//! Typed calls for the resources of a tenant.

use reqwest::{Body, Method, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{ApiClient, ApiError};

/// Tenant to register, with its first owner.
#[derive(Clone, Copy, Debug)]
pub struct NewTenant<'a> {
    pub name: &'a str,
    pub owner_email: &'a str,
    pub owner_password: &'a str,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredTenant {
    pub tenant_id: Uuid,
    pub owner_user_id: Uuid,
    pub webhook_secret: String,
}

/// Tokens of a session.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct CreatedApiKey {
    /// The key itself, which is returned only once.
    pub key: String,
}

/// Destination or sender, with its ingest token, which is returned only once.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CreatedRoute {
    pub id: Uuid,
    pub ingest_token: String,
}

/// Ingest URL of a destination or sender, with the API key that it requires.
#[derive(Clone, Debug)]
pub struct IngestTarget {
    pub tenant_id: Uuid,
    pub ingest_token: String,
    pub api_key: String,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedEvent {
    pub event_id: Uuid,
}

impl IngestTarget {
    #[must_use]
    pub fn path(&self) -> String {
        format!("/api/v1/ingest/{}/{}", self.tenant_id, self.ingest_token)
    }
}

impl ApiClient {
    /// Registers a tenant with its first owner.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn register_tenant(&self, tenant: NewTenant<'_>) -> Result<RegisteredTenant, ApiError> {
        let NewTenant { name, owner_email, owner_password } = tenant;
        let body = json!({ "name": name, "ownerEmail": owner_email, "ownerPassword": owner_password });
        self.post("/api/v1/tenants", &body).await
    }

    /// Opens a session.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn log_in(&self, email: &str, password: &str) -> Result<Tokens, ApiError> {
        self.post("/api/v1/auth/login", &json!({ "email": email, "password": password })).await
    }

    /// Creates an API key of the tenant.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn create_api_key(&self, name: &str) -> Result<CreatedApiKey, ApiError> {
        self.post("/api/v1/apikeys", &json!({ "name": name })).await
    }

    /// Creates a destination; `body` is as in `POST /api/v1/destinations`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn create_destination(&self, body: &Value) -> Result<CreatedRoute, ApiError> {
        self.post("/api/v1/destinations", body).await
    }

    /// Changes the fields of a destination that `change` names, and returns the destination.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn update_destination(&self, id: Uuid, change: &Value) -> Result<Value, ApiError> {
        self.patch(&format!("/api/v1/destinations/{id}"), change).await
    }

    /// Creates a sender of a destination.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn create_sender(&self, destination_id: Uuid, label: &str) -> Result<CreatedRoute, ApiError> {
        let path = format!("/api/v1/destinations/{destination_id}/senders");
        self.post(&path, &json!({ "label": label })).await
    }

    /// Begins an ingest request without the access token, to which headers may be added before it is sent.
    pub fn ingest_request(&self, target: &IngestTarget, payload: impl Into<Body>) -> RequestBuilder {
        let request = self.http.request(Method::POST, self.url(&target.path()));
        request.header("X-Api-Key", &target.api_key).body(payload)
    }

    /// Sends a webhook.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn ingest(
        &self,
        target: &IngestTarget,
        payload: impl Into<Body>,
    ) -> Result<AcceptedEvent, ApiError> {
        self.call(self.ingest_request(target, payload)).await
    }
}
