//! The tenant of the demonstration, created and used through the API.

use anyhow::{Context, bail};
use hooksentry_client::{ANSWER_TIMEOUT, ApiClient, ApiError, IngestTarget, NewTenant, http_client};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::SecretString;
use serde_json::json;
use uuid::Uuid;

use super::state::{DemoDestination, DemoState};

/// Tenant with its owner logged in.
pub(super) struct DemoTenant {
    api: ApiClient,
    tenant_id: Uuid,
    api_key: String,
}

impl DemoTenant {
    /// Logs in to the tenant that `state` names, or registers a new one and names it there.
    pub(super) async fn open(base: &str, state: &mut DemoState) -> anyhow::Result<Self> {
        let http = http_client().timeout(ANSWER_TIMEOUT).build().context("no HTTP client")?;
        let api = ApiClient::new(http, base);
        if let Some(tenant_id) = state.tenant_id {
            match api.log_in(&state.email, &state.password).await {
                Ok(tokens) => return Self::with_api_key(&api, &tokens.access_token, tenant_id, state).await,
                // The database is not the one in which the tenant was registered.
                Err(error) if error.status() == Some(StatusCode::UNAUTHORIZED) => state.reset(),
                Err(error) => return Err(error.into()),
            }
        }
        let tenant_id = match register(&api, state).await {
            Err(error) if error.status() == Some(StatusCode::CONFLICT) => {
                // Another tenant has this name.
                state.reset();
                register(&api, state).await
            }
            registered => registered,
        }
        .context("no tenant can be registered for the demonstration")?;
        state.tenant_id = Some(tenant_id);
        state.write()?;
        let tokens = api.log_in(&state.email, &state.password).await?;
        Self::with_api_key(&api, &tokens.access_token, tenant_id, state).await
    }

    async fn with_api_key(
        api: &ApiClient,
        access_token: &str,
        tenant_id: Uuid,
        state: &mut DemoState,
    ) -> anyhow::Result<Self> {
        let api = api.with_access_token(access_token);
        let api_key = match &state.api_key {
            Some(key) => key.clone(),
            None => {
                let key = api.create_api_key("demo").await?.key;
                state.api_key = Some(key.clone());
                state.write()?;
                key
            }
        };
        Ok(Self { api, tenant_id, api_key })
    }

    pub(super) fn api_key(&self) -> &str {
        &self.api_key
    }

    pub(super) async fn webhook_secret(&self) -> anyhow::Result<SecretString> {
        let answer = self.api.get(&format!("/api/v1/tenants/{}/webhook-secret", self.tenant_id)).await?;
        match answer["webhookSecret"].as_str() {
            Some(secret) => Ok(SecretString::from(secret)),
            None => bail!("the API's answer lacks webhookSecret"),
        }
    }

    pub(super) async fn create_destination(&self, url: &str, port: u16) -> anyhow::Result<DemoDestination> {
        let created = self.api.create_destination(&json!({ "url": url })).await?;
        Ok(DemoDestination { id: created.id, ingest_token: created.ingest_token, port })
    }

    pub(super) async fn move_destination(&self, id: Uuid, url: &str) -> anyhow::Result<()> {
        self.api.update_destination(id, &json!({ "url": url })).await?;
        Ok(())
    }

    pub(super) fn ingest_url(&self, ingest_token: &str) -> String {
        self.api.url(&self.ingest_target(ingest_token).path())
    }

    /// Sends a webhook. Returns whether it was accepted: a destination that was suspended or switched off
    /// since the previous start accepts none.
    pub(super) async fn ingest(&self, ingest_token: &str, payload: &'static str) -> anyhow::Result<bool> {
        let request = self.api.ingest_request(&self.ingest_target(ingest_token), payload);
        let answer = self.api.send(request.header(CONTENT_TYPE, "application/json")).await?;
        if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
            return Ok(false);
        }
        answer.success()?;
        Ok(true)
    }

    fn ingest_target(&self, ingest_token: &str) -> IngestTarget {
        IngestTarget {
            tenant_id: self.tenant_id,
            ingest_token: ingest_token.to_owned(),
            api_key: self.api_key.clone(),
        }
    }
}

async fn register(api: &ApiClient, state: &DemoState) -> Result<Uuid, ApiError> {
    let tenant =
        NewTenant { name: &state.tenant_name, owner_email: &state.email, owner_password: &state.password };
    Ok(api.register_tenant(tenant).await?.tenant_id)
}
