//! Ingest of webhooks, as a source does it.

use axum::http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;
use uuid::Uuid;

use super::problem::ApiError;
use super::{Client, parse, segment};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("x-idempotency-key");

/// A webhook to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Webhook<'a> {
    pub(crate) tenant_id: Uuid,
    /// Ingest token of a destination or a sender.
    pub(crate) token: &'a str,
    pub(crate) api_key: &'a HeaderValue,
    pub(crate) idempotency_key: &'a HeaderValue,
    pub(crate) payload: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    event_id: Uuid,
}

impl Client {
    /// Sends a webhook and returns the id of its event.
    pub(crate) async fn ingest(&self, webhook: Webhook<'_>) -> Result<Uuid, ApiError> {
        let mut client = self.clone();
        client.caller.headers.insert(API_KEY, webhook.api_key.clone());
        client.caller.headers.insert(IDEMPOTENCY_KEY, webhook.idempotency_key.clone());
        let path = format!("/ingest/{}/{}", webhook.tenant_id, segment(webhook.token));
        let answer = client.send(Method::POST, &path, webhook.payload.to_owned().into()).await?;
        let Accepted { event_id } = parse(&answer)?;
        Ok(event_id)
    }
}
