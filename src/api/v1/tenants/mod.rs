//! Tenants.

pub(crate) mod get;
pub(crate) mod legal_hold;
pub(crate) mod register;
pub(crate) mod update;
pub(crate) mod webhook_secret;

use aggregates::ids::TenantId;
use aggregates::tenant::Retention;
use projections::legal_holds::LegalHolds;
use projections::{TenantScope, tenants};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::access::recorder::AccessRecorder;
use crate::api::commands::Commands;
use crate::api::http::problem::Problem;
use crate::api::http::rate_limits::RateLimiter;
use crate::api::http::time::Timestamp;
use crate::api::v1::legal_holds::LegalHoldView;
use crate::config::Registration;
use crate::secrets::passwords::Passwords;
use crate::secrets::tenant_invitations::TenantInvitations;
use crate::secrets::vault::Vault;

/// Dependencies of the handlers of tenants and their webhook secrets.
#[derive(Clone, Debug)]
pub(crate) struct Tenants {
    pub(crate) commands: Commands,
    pub(crate) passwords: Passwords,
    pub(crate) vault: Vault,
    /// Retention of a new tenant.
    pub(crate) retention: Retention,
    pub(crate) registration: Registration,
    pub(crate) accesses: AccessRecorder,
    pub(crate) invitations: TenantInvitations,
    /// Limits registrations by client address.
    pub(crate) creations: RateLimiter,
    /// Longest body that contains a payload, in bytes.
    pub(crate) payload_body_bytes_max: usize,
}

/// A tenant and its settings.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Tenant)]
pub(crate) struct TenantView {
    id: Uuid,
    name: String,
    /// Attempts after which a delivery is given up.
    #[serde(rename = "maxTrys")]
    max_attempts: u32,
    /// Seconds for which a destination's circuit breaker stays open.
    circuit_breaker_timer: u32,
    /// Days after acceptance at which the payloads of completed events are erased; `null`: never.
    payload_retention_days: Option<u32>,
    /// Days after acceptance at which completed events are removed from the lists, with their payloads;
    /// `null`: never.
    event_retention_days: Option<u32>,
    legal_hold: Option<LegalHoldView>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Tenants {
    /// Returns the caller's tenant, if `id` is its id.
    ///
    /// # Errors
    /// The tenant is another one or does not exist.
    async fn find_own(&self, caller: &Caller, id: TenantId) -> Result<tenants::Tenant, Problem> {
        let pool = self.commands.pool();
        if id != caller.tenant_id {
            let exists = tenants::exists(&mut *pool.acquire().await?, id).await?;
            caller.check_owner(exists.then_some(id), "tenant")?;
        }
        let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
        let tenant = tenants::get(&mut scope).await?;
        scope.end().await?;
        tenant.ok_or_else(|| Problem::not_found("tenant"))
    }
}

impl TenantView {
    fn of(tenant: tenants::Tenant, holds: &LegalHolds) -> Self {
        Self {
            id: tenant.id.0,
            name: tenant.name,
            max_attempts: tenant.resilience.max_attempts,
            circuit_breaker_timer: tenant.resilience.circuit_breaker_timer,
            payload_retention_days: tenant.retention.payload_days,
            event_retention_days: tenant.retention.event_days,
            legal_hold: holds.on_tenant().map(Into::into),
            created_at: tenant.created_at.into(),
            updated_at: tenant.updated_at.into(),
        }
    }
}
