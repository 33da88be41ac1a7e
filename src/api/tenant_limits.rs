//! Limits of the number of resources that a tenant may have.
//!
//! The read models are counted before the command, and nothing is locked: requests at the same moment may exceed a limit
//! by their number. That is enough to protect the others.

use std::num::NonZeroU32;

use aggregates::ids::TenantId;
use projections::TenantScope;
use projections::tenant_usage::{self, Resource};
use sqlx::PgPool;

use crate::api::http::problem::{Kind, Problem};
use crate::config::TenantSettings;

/// Limits of every tenant.
#[derive(Clone, Debug)]
pub(crate) struct TenantLimits {
    pool: PgPool,
    settings: TenantSettings,
}

impl TenantLimits {
    pub(crate) fn new(pool: PgPool, settings: TenantSettings) -> Self {
        Self { pool, settings }
    }

    /// Checks that a tenant may have another one of a resource.
    ///
    /// # Errors
    /// A problem of kind `TenantLimit` that names the limit, or the database fails.
    pub(crate) async fn check(&self, tenant_id: TenantId, resource: Resource) -> Result<(), Problem> {
        let (most, name) = self.limit(resource);
        let Some(most) = NonZeroU32::new(most) else { return Ok(()) };
        let mut scope = TenantScope::begin(&self.pool, tenant_id).await?;
        let is_reached = tenant_usage::has(&mut scope, resource, most.get()).await?;
        scope.end().await?;
        if !is_reached {
            return Ok(());
        }
        metrics::counter!("hooksentry_tenant_limit_refusals_total", "limit" => name).increment(1);
        let detail = format!(
            "The tenant has {most} {name}, the most that this installation allows. Remove one that is not used, or ask \
             the operator for more."
        );
        Err(Problem::new(Kind::TenantLimit, detail))
    }

    /// Returns the limit of a resource, 0 for none, and its name.
    fn limit(&self, resource: Resource) -> (u32, &'static str) {
        match resource {
            Resource::Destinations => (self.settings.tenant_destinations, "destinations"),
            Resource::Senders => (self.settings.tenant_senders, "senders"),
            Resource::Users => (self.settings.tenant_users, "users"),
            Resource::ApiKeys => (self.settings.tenant_api_keys, "API keys"),
            Resource::PortalLinks => (self.settings.tenant_portal_links, "portal links"),
        }
    }
}
