//! Invites, with which new users register themselves.

pub(crate) mod issue;
pub(crate) mod list;
pub(crate) mod register;
pub(crate) mod revoke;

use aggregates::ids::InviteId;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::commands::Commands;
use crate::api::http::rate_limits::RateLimiter;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::{InviteStatusName, RoleName};
use crate::api::tenant_limits::TenantLimits;
use crate::secrets::passwords::Passwords;
use crate::secrets::vault::Vault;

/// Dependencies of the handlers of invites.
#[derive(Clone, Debug)]
pub(crate) struct Invites {
    pub(crate) commands: Commands,
    pub(crate) passwords: Passwords,
    pub(crate) vault: Vault,
    /// Limits registrations by client address.
    pub(crate) registrations: RateLimiter,
    pub(crate) limits: TenantLimits,
}

/// An invite.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Invite)]
pub(crate) struct InviteView {
    id: Uuid,
    tenant_id: Uuid,
    /// Token with which the new user registers. Empty if the invite was used or has expired.
    #[schema(examples("inv_9f8e7d6c5b4a39281706f5e4d3c2b1a0"))]
    token: String,
    target_role: RoleName,
    expires_at: Timestamp,
    used_at: Option<Timestamp>,
    /// An invite that has expired unused stays Pending.
    status: InviteStatusName,
    created_at: Timestamp,
}

/// Context that the sealed token of an invite is bound to.
fn context(id: InviteId) -> String {
    format!("invite:{id}")
}
