//! Invitations of users.

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Client;
use super::destinations::Number;
use super::events::Entries;
use super::problem::ApiError;

/// An invitation.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Invite {
    pub(crate) id: Uuid,
    pub(crate) target_role: String,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) used_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
}

/// An invitation that was issued just now.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IssuedInvite {
    pub(crate) token: String,
    pub(crate) expires_at: DateTime<Utc>,
}

/// An invitation to issue.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewInvite<'a> {
    pub(crate) role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validity_days: Option<Number<'a>>,
}

impl Client {
    /// Returns the first invitations, the newest first.
    pub(crate) async fn invites(&self) -> Result<Entries<Invite>, ApiError> {
        self.get("/invites?Qt=200&CpOrd=createdAt&TpOrd=desc").await
    }

    pub(crate) async fn issue_invite(&self, new: &NewInvite<'_>) -> Result<IssuedInvite, ApiError> {
        self.post("/invites", new).await
    }

    pub(crate) async fn revoke_invite(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::DELETE, &format!("/invites/{id}"), &()).await
    }
}
