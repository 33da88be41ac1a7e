//! Destinations, to which events are delivered.

pub(crate) mod authentication;
pub(crate) mod get;
pub(crate) mod legal_hold;
pub(crate) mod list;
pub(crate) mod regenerate_token;
pub(crate) mod register;
pub(crate) mod update;

use std::num::NonZeroU32;
use std::sync::Arc;

use aggregates::destination::OutboundAuth;
use aggregates::ids::{DestinationId, TenantId};
use aggregates::outbound_credentials::OutboundCredentials;
use aggregates::target_rules::TargetRules;
use projections::destinations::DestinationStatus;
use projections::legal_holds::LegalHolds;
use projections::{TenantScope, destinations};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access;
use crate::api::access::authentication::Caller;
use crate::api::commands::Commands;
use crate::api::http::problem::Problem;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::{AuthTypeName, DestinationStatusName};
use crate::api::tenant_limits::TenantLimits;
use crate::api::v1::legal_holds::LegalHoldView;
use crate::secrets::vault::Vault;

/// Dependencies of the handlers of destinations.
#[derive(Clone, Debug)]
pub(crate) struct Destinations {
    pub(crate) commands: Commands,
    pub(crate) vault: Vault,
    pub(crate) rules: Arc<TargetRules>,
    /// Bound of the limits of all destinations.
    pub(crate) concurrency_max: NonZeroU32,
    pub(crate) limits: TenantLimits,
}

/// A destination.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Destination)]
pub(crate) struct DestinationView {
    id: Uuid,
    tenant_id: Uuid,
    /// URL as it was sent.
    #[schema(examples("https://my-server.com/webhook"))]
    url: String,
    status: DestinationStatusName,
    /// Largest number of concurrent requests, as it was set.
    #[schema(examples(5))]
    server_rate_limit: u32,
    /// Largest number of concurrent requests in effect: `serverRateLimit`, or the maximum of this installation if
    /// that is lower.
    #[schema(examples(5))]
    effective_server_rate_limit: u32,
    auth_type: Option<AuthTypeName>,
    /// Legal hold on the destination itself. That on the tenant covers it as well.
    legal_hold: Option<LegalHoldView>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A new ingest token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct IngestToken {
    /// Token of the ingest URL, which is shown only once.
    pub(crate) ingest_token: String,
}

/// Checks that a destination belongs to the caller's tenant.
///
/// # Errors
/// The destination does not exist or belongs to another tenant.
pub(crate) async fn check_owner(
    commands: &Commands,
    caller: &Caller,
    id: DestinationId,
) -> Result<(), Problem> {
    let owner = destinations::owner_of(&mut *commands.pool().acquire().await?, id).await?;
    caller.check_owner(owner, "destination")
}

impl Destinations {
    /// Returns a destination of the tenant.
    ///
    /// # Errors
    /// The destination does not exist or belongs to another tenant.
    async fn find(
        &self,
        tenant_id: TenantId,
        id: DestinationId,
    ) -> Result<destinations::Destination, Problem> {
        let owner = destinations::owner_of(&mut *self.commands.pool().acquire().await?, id).await?;
        access::authentication::check_owner(tenant_id, owner, "destination")?;
        let mut scope = TenantScope::begin(self.commands.pool(), tenant_id).await?;
        let destination = destinations::get(&mut scope, id).await?;
        scope.end().await?;
        destination.ok_or_else(|| Problem::not_found("destination"))
    }

    /// Returns a destination as the API shows it.
    fn view(&self, destination: destinations::Destination, holds: &LegalHolds) -> DestinationView {
        let concurrency_limit = destination.concurrency_limit;
        DestinationView {
            id: destination.id.0,
            tenant_id: destination.tenant_id.0,
            url: destination.url,
            status: DestinationStatus::from(destination.stage).into(),
            server_rate_limit: concurrency_limit,
            effective_server_rate_limit: self.effective(concurrency_limit),
            auth_type: destination.auth_type.map(Into::into),
            legal_hold: holds.on_destination(destination.id).map(Into::into),
            created_at: destination.created_at.into(),
            updated_at: destination.updated_at.into(),
        }
    }

    fn effective(&self, concurrency_limit: u32) -> u32 {
        concurrency_limit.min(self.concurrency_max.get())
    }

    async fn seal(
        &self,
        tenant_id: TenantId,
        id: DestinationId,
        credentials: &OutboundCredentials,
    ) -> Result<OutboundAuth, Problem> {
        let plaintext = credentials.to_plaintext();
        let context = format!("destination:{id}");
        let sealed = self.vault.seal(tenant_id, &context, plaintext.expose_secret().as_bytes()).await?;
        Ok(OutboundAuth { auth_type: credentials.auth_type(), credentials: sealed })
    }
}
