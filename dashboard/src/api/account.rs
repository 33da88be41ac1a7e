//! Sessions and second factor of the user.

use axum::http::Method;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Client;
use super::auth::Code;
use super::events::Entries;
use super::problem::ApiError;

/// An open session.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenSession {
    pub(crate) id: Uuid,
    /// Whether it is the one of this request.
    pub(crate) is_current: bool,
    pub(crate) opened_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
}

/// Secret for an authenticator app.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Enrolment {
    /// In base32.
    pub(crate) secret: String,
    /// `otpauth://totp/...`.
    pub(crate) uri: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FactorsBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    current_password: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    totp_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_code: Option<&'a str>,
}

impl<'a> FactorsBody<'a> {
    fn of(password: Option<&'a SecretString>, code: Option<Code<'a>>) -> Self {
        let (totp_code, recovery_code) = match code {
            Some(Code::Totp(code)) => (Some(code), None),
            Some(Code::Recovery(code)) => (None, Some(code)),
            None => (None, None),
        };
        Self { current_password: password.map(ExposeSecret::expose_secret), totp_code, recovery_code }
    }
}

impl Client {
    /// Returns the first open sessions of the user.
    pub(crate) async fn sessions(&self) -> Result<Entries<OpenSession>, ApiError> {
        self.get("/sessions?Qt=200").await
    }

    pub(crate) async fn end_session(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::DELETE, &format!("/sessions/{id}"), &()).await
    }

    /// Begins to enrol a second factor.
    pub(crate) async fn begin_second_factor(&self, password: &SecretString) -> Result<Enrolment, ApiError> {
        self.post("/second-factor", &FactorsBody::of(Some(password), None)).await
    }

    /// Enables the second factor, ends all sessions of the user and returns the recovery codes.
    pub(crate) async fn confirm_second_factor(&self, code: &str) -> Result<Vec<String>, ApiError> {
        let body = FactorsBody::of(None, Some(Code::Totp(code)));
        let RecoveryCodes { recovery_codes } = self.post("/second-factor/confirm", &body).await?;
        Ok(recovery_codes)
    }

    /// Replaces the recovery codes and returns the new ones.
    pub(crate) async fn replace_recovery_codes(
        &self,
        password: &SecretString,
        code: Code<'_>,
    ) -> Result<Vec<String>, ApiError> {
        let body = FactorsBody::of(Some(password), Some(code));
        let RecoveryCodes { recovery_codes } = self.post("/second-factor/recovery-codes", &body).await?;
        Ok(recovery_codes)
    }

    pub(crate) async fn disable_second_factor(
        &self,
        password: &SecretString,
        code: Code<'_>,
    ) -> Result<(), ApiError> {
        let body = FactorsBody::of(Some(password), Some(code));
        self.act(Method::POST, "/second-factor/disable", &body).await
    }
}
