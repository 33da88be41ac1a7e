//! The tenant of the user: settings, legal hold and webhook secret.

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Client;
use super::destinations::Number;
use super::problem::ApiError;

/// A tenant and its settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tenant {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    #[serde(rename = "maxTrys")]
    pub(crate) max_attempts: u32,
    /// Seconds for which a destination that fails too often is paused.
    pub(crate) circuit_breaker_timer: u32,
    /// `None`: payloads are kept without limit.
    pub(crate) payload_retention_days: Option<u32>,
    /// `None`: events are listed without limit.
    pub(crate) event_retention_days: Option<u32>,
    pub(crate) legal_hold: Option<LegalHold>,
    pub(crate) created_at: DateTime<Utc>,
}

/// A legal hold: nothing that it covers is erased.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LegalHold {
    pub(crate) reason: String,
    pub(crate) placed_at: DateTime<Utc>,
}

/// Name and delivery of a tenant, as they were typed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TenantChange<'a> {
    pub(crate) name: &'a str,
    #[serde(rename = "maxTrys")]
    pub(crate) max_attempts: Number<'a>,
    pub(crate) circuit_breaker_timer: Number<'a>,
}

/// Retention of a tenant, as it was typed; `None`: without limit.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RetentionChange<'a> {
    pub(crate) payload_retention_days: Option<Number<'a>>,
    pub(crate) event_retention_days: Option<Number<'a>>,
}

/// A webhook secret that replaced another.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewSecret {
    pub(crate) webhook_secret: String,
    /// `None`: the previous secret is void.
    pub(crate) previous_signs_until: Option<DateTime<Utc>>,
}

/// A delivery whose signature is to be checked.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SignedPayload<'a> {
    pub(crate) payload: &'a str,
    pub(crate) signature: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_timestamp: Option<&'a str>,
}

/// Reason for an erasure, or for a legal hold and its end.
#[derive(Serialize)]
pub(super) struct ReasonBody<'a> {
    pub(super) reason: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RotationBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    overlap_seconds: Option<Number<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Secret {
    webhook_secret: String,
}

#[derive(Deserialize)]
struct Verdict {
    valid: bool,
}

impl Client {
    pub(crate) async fn tenant(&self, id: Uuid) -> Result<Tenant, ApiError> {
        self.get(&format!("/tenants/{id}")).await
    }

    pub(crate) async fn change_tenant(&self, id: Uuid, change: &impl Serialize) -> Result<(), ApiError> {
        self.act(Method::PATCH, &format!("/tenants/{id}"), change).await
    }

    pub(crate) async fn place_hold(&self, id: Uuid, reason: &str) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/tenants/{id}/legal-hold"), &ReasonBody { reason }).await
    }

    pub(crate) async fn lift_hold(&self, id: Uuid, reason: &str) -> Result<(), ApiError> {
        self.act(Method::POST, &format!("/tenants/{id}/legal-hold/lift"), &ReasonBody { reason }).await
    }

    /// Returns the webhook secret in force. The audit trail records that it was shown.
    pub(crate) async fn webhook_secret(&self, id: Uuid) -> Result<String, ApiError> {
        let Secret { webhook_secret } = self.get(&format!("/tenants/{id}/webhook-secret")).await?;
        Ok(webhook_secret)
    }

    pub(crate) async fn replace_webhook_secret(
        &self,
        id: Uuid,
        overlap_seconds: Option<Number<'_>>,
    ) -> Result<NewSecret, ApiError> {
        self.post(&format!("/tenants/{id}/webhook-secret"), &RotationBody { overlap_seconds }).await
    }

    /// Returns whether a signature is that of the secret in force.
    pub(crate) async fn verify_signature(
        &self,
        id: Uuid,
        signed: SignedPayload<'_>,
    ) -> Result<bool, ApiError> {
        let verdict: Verdict = self.post(&format!("/tenants/{id}/webhook-secret/verify"), &signed).await?;
        Ok(verdict.valid)
    }
}
