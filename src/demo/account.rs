//! The demonstration's tenant, through the API.

use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::kept::{Kept, KeptDestination};

/// How long the API may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The tenant's owner, logged in.
pub(super) struct Account<'a> {
    client: Client,
    base: &'a str,
    tenant_id: String,
    access_token: SecretString,
}

impl<'a> Account<'a> {
    /// Logs in to the tenant of before, or registers one.
    pub(super) async fn enter(base: &'a str, kept: &mut Kept) -> anyhow::Result<Self> {
        let client = Client::builder().no_proxy().timeout(ANSWER_WITHIN).build()?;
        if kept.tenant_id.is_some() {
            if let Some(account) = Self::log_in(&client, base, kept).await? {
                return Ok(account);
            }
            // The data folder leads to another database than it did.
            kept.begin_anew();
        }
        if !register(&client, base, kept).await? {
            // Somebody has the name already.
            kept.begin_anew();
            if !register(&client, base, kept).await? {
                bail!("no tenant could be registered for the demonstration");
            }
        }
        kept.write()?;
        Self::log_in(&client, base, kept).await?.context("the tenant that was just registered cannot log in")
    }

    async fn log_in(client: &Client, base: &'a str, kept: &Kept) -> anyhow::Result<Option<Self>> {
        let credentials = json!({ "email": kept.email, "password": kept.password });
        let request = client.post(format!("{base}/api/v1/auth/login")).json(&credentials);
        let (status, answer) = send(request).await?;
        if status == StatusCode::UNAUTHORIZED {
            return Ok(None);
        }
        let answer = expect(status, answer)?;
        let tenant_id = kept.tenant_id.clone().context("the tenant has no id")?;
        let access_token = SecretString::from(text(&answer, "accessToken")?);
        Ok(Some(Self { client: client.clone(), base, tenant_id, access_token }))
    }

    /// The API key of before, or a new one.
    pub(super) async fn api_key(&self, kept: &mut Kept) -> anyhow::Result<SecretString> {
        if kept.api_key.is_none() {
            let request = self.client.post(self.url("apikeys")).json(&json!({ "name": "demo" }));
            kept.api_key = Some(text(&self.ask(request).await?, "key")?);
            kept.write()?;
        }
        Ok(SecretString::from(kept.api_key.as_deref().unwrap_or_default()))
    }

    pub(super) async fn webhook_secret(&self) -> anyhow::Result<SecretString> {
        let request = self.client.get(self.url(&format!("tenants/{}/webhook-secret", self.tenant_id)));
        Ok(SecretString::from(text(&self.ask(request).await?, "webhookSecret")?))
    }

    pub(super) async fn register_destination(&self, url: &str, port: u16) -> anyhow::Result<KeptDestination> {
        let request = self.client.post(self.url("destinations")).json(&json!({ "url": url }));
        let answer = self.ask(request).await?;
        Ok(KeptDestination { id: text(&answer, "id")?, ingest_token: text(&answer, "ingestToken")?, port })
    }

    pub(super) async fn move_destination(&self, id: &str, url: &str) -> anyhow::Result<()> {
        let request = self.client.patch(self.url(&format!("destinations/{id}"))).json(&json!({ "url": url }));
        self.ask(request).await.map(drop)
    }

    pub(super) fn ingest_url(&self, ingest_token: &str) -> String {
        self.url(&format!("ingest/{}/{ingest_token}", self.tenant_id))
    }

    /// Sends a webhook. Answers whether it was accepted: a destination that was suspended or switched off
    /// since the last time takes none.
    pub(super) async fn ingest(
        &self,
        url: &str,
        api_key: &SecretString,
        payload: &'static str,
    ) -> anyhow::Result<bool> {
        let request = self
            .client
            .post(url)
            .header("X-Api-Key", api_key.expose_secret())
            .header("Content-Type", "application/json")
            .body(payload);
        let (status, answer) = send(request).await?;
        if status == StatusCode::UNPROCESSABLE_ENTITY {
            return Ok(false);
        }
        expect(status, answer).map(|_| true)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/v1/{path}", self.base)
    }

    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Value> {
        let (status, answer) = send(request.bearer_auth(self.access_token.expose_secret())).await?;
        expect(status, answer)
    }
}

/// Answers whether it worked: name or email may be somebody else's.
async fn register(client: &Client, base: &str, kept: &mut Kept) -> anyhow::Result<bool> {
    let tenant =
        json!({ "name": kept.tenant_name, "ownerEmail": kept.email, "ownerPassword": kept.password });
    let (status, answer) = send(client.post(format!("{base}/api/v1/tenants")).json(&tenant)).await?;
    if status == StatusCode::CONFLICT {
        return Ok(false);
    }
    kept.tenant_id = Some(text(&expect(status, answer)?, "tenantId")?);
    Ok(true)
}

async fn send(request: RequestBuilder) -> anyhow::Result<(StatusCode, Value)> {
    let response = request.send().await.context("the API does not answer")?;
    let status = response.status();
    Ok((status, response.json().await.unwrap_or_default()))
}

fn expect(status: StatusCode, answer: Value) -> anyhow::Result<Value> {
    if status.is_success() {
        return Ok(answer);
    }
    let why = answer["detail"].as_str().or_else(|| answer["title"].as_str()).unwrap_or("no reason given");
    bail!("the API answered {status}: {why}")
}

fn text(answer: &Value, field: &str) -> anyhow::Result<String> {
    Ok(answer[field].as_str().with_context(|| format!("the API's answer lacks {field}"))?.to_owned())
}
