//! Portal links, with which customers see the deliveries of one destination.

use axum::http::Method;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Client;
use super::events::Entries;
use super::problem::ApiError;

/// The portal link whose token the client has.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CurrentLink {
    pub(crate) destination_id: Uuid,
    access: String,
    pub(crate) expires_at: DateTime<Utc>,
}

/// A portal link, without its token.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortalLink {
    pub(crate) id: Uuid,
    pub(crate) destination_id: Uuid,
    /// Code of the access, such as `Operate`.
    pub(crate) access: String,
    pub(crate) label: String,
    pub(crate) is_active: bool,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) revoked_at: Option<DateTime<Utc>>,
}

/// What a new portal link shows, to whom, and for how long.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewLink<'a> {
    pub(crate) destination_id: &'a str,
    pub(crate) access: &'a str,
    pub(crate) label: &'a str,
    pub(crate) expires_in_seconds: &'a str,
}

#[derive(Deserialize)]
struct CreatedLink {
    path: String,
}

impl CurrentLink {
    /// Returns whether its holder may replay and cancel events.
    pub(crate) fn operates(&self) -> bool {
        self.access == "Operate"
    }
}

impl Client {
    /// Returns the portal link whose token the client has.
    pub(crate) async fn portal_link(&self) -> Result<CurrentLink, ApiError> {
        self.get("/portal").await
    }

    /// Returns the first portal links, the newest first.
    pub(crate) async fn portal_links(&self) -> Result<Entries<PortalLink>, ApiError> {
        self.get("/portal-links?Qt=200&CpOrd=createdAt&TpOrd=desc").await
    }

    /// Creates a portal link and returns the path that opens it.
    pub(crate) async fn create_portal_link(&self, link: &NewLink<'_>) -> Result<String, ApiError> {
        let CreatedLink { path } = self.post("/portal-links", link).await?;
        Ok(path)
    }

    pub(crate) async fn revoke_portal_link(&self, id: Uuid) -> Result<(), ApiError> {
        self.act(Method::DELETE, &format!("/portal-links/{id}"), &()).await
    }
}
