//! Portal links, with which customers of a tenant see the deliveries of one destination.

pub(crate) mod create;
pub(crate) mod current;
pub(crate) mod list;
pub(crate) mod revoke;

use chrono::{DateTime, Utc};
use projections::portal_links;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::commands::Commands;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::PortalAccessName;
use crate::api::tenant_limits::TenantLimits;

/// Dependencies of the handlers of portal links.
#[derive(Clone, Debug)]
pub(crate) struct PortalLinks {
    pub(crate) commands: Commands,
    pub(crate) limits: TenantLimits,
}

/// A portal link, without its token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PortalLink)]
pub(crate) struct PortalLinkView {
    id: Uuid,
    destination_id: Uuid,
    access: PortalAccessName,
    label: String,
    /// Whether it is neither revoked nor expired.
    is_active: bool,
    created_at: Timestamp,
    expires_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

impl PortalLinkView {
    fn of(link: portal_links::PortalLink, now: DateTime<Utc>) -> Self {
        Self {
            id: link.id.0,
            destination_id: link.destination_id.0,
            access: link.access.into(),
            label: link.label,
            is_active: link.revoked_at.is_none() && link.expires_at > now,
            created_at: link.created_at.into(),
            expires_at: link.expires_at.into(),
            revoked_at: link.revoked_at.map(Timestamp),
        }
    }
}
