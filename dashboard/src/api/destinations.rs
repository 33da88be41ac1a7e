//! Destinations.

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Client;
use super::problem::ApiError;
use super::tenant::{LegalHold, ReasonBody};

/// Destinations that lists show.
pub(super) const DESTINATIONS_MAX: usize = 200;

/// A destination.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Destination {
    pub(crate) id: Uuid,
    pub(crate) url: String,
    /// Code of the status, such as `Suspended`.
    pub(crate) status: String,
    /// Concurrent requests, as it was set.
    pub(crate) server_rate_limit: u32,
    /// The same, bounded by the installation.
    pub(crate) effective_server_rate_limit: u32,
    pub(crate) auth_type: Option<String>,
    /// Hold on the destination itself, and not on its tenant.
    pub(crate) legal_hold: Option<LegalHold>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) updated_at: DateTime<Utc>,
}

/// A destination or sender that was registered. Its token is not shown again.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Registered {
    pub(crate) id: Uuid,
    pub(crate) ingest_token: String,
}

/// Settings of a destination; `None` keeps what is set, or takes the default.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Settings<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_rate_limit: Option<Number<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<&'static str>,
}

/// A number as it was typed. What is no number is sent as text, so that the API explains the rule.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Number<'a> {
    Number(u64),
    Text(&'a str),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NewToken {
    pub(super) ingest_token: String,
}

#[derive(Deserialize)]
struct Page {
    items: Vec<Destination>,
}

impl Client {
    /// Returns the first destinations, the newest first.
    pub(crate) async fn destinations(&self) -> Result<Vec<Destination>, ApiError> {
        let page: Page = self.get(&format!("/destinations?Qt={DESTINATIONS_MAX}")).await?;
        Ok(page.items)
    }

    pub(crate) async fn register_destination(&self, settings: &Settings<'_>) -> Result<Registered, ApiError> {
        self.post("/destinations", settings).await
    }

    pub(crate) async fn change_destination(&self, id: Uuid, settings: &Settings<'_>) -> Result<(), ApiError> {
        self.act(Method::PATCH, &format!("/destinations/{id}"), settings).await
    }

    pub(crate) async fn hold_destination(&self, id: Uuid, reason: &str) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/destinations/{id}/legal-hold"), &ReasonBody { reason }).await
    }

    pub(crate) async fn lift_hold_of_destination(&self, id: Uuid, reason: &str) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/destinations/{id}/legal-hold/lift"), &ReasonBody { reason }).await
    }

    /// Replaces the ingest token of a destination and returns the new one.
    pub(crate) async fn replace_ingest_token(&self, id: Uuid) -> Result<String, ApiError> {
        let token: NewToken = self.post(&format!("/destinations/{id}/ingest-token"), &()).await?;
        Ok(token.ingest_token)
    }

    pub(crate) async fn destination(&self, id: Uuid) -> Result<Destination, ApiError> {
        self.get(&format!("/destinations/{id}")).await
    }
}

impl<'a> Number<'a> {
    pub(crate) fn typed(text: &'a str) -> Self {
        text.parse().map_or(Self::Text(text), Self::Number)
    }
}
