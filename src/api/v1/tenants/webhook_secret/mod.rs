//! Webhook secret of a tenant, with which deliveries are signed.

pub(crate) mod get;
pub(crate) mod regenerate;
pub(crate) mod verify;

use aggregates::ids::TenantId;
use aggregates::tenant::{Tenant, WebhookSecret};
use secrecy::{ExposeSecret, SecretString};

use super::Tenants;
use crate::api::http::problem::Problem;
use crate::secrets::token;
use crate::secrets::vault::Vault;

/// Context that sealed webhook secrets are bound to.
const CONTEXT: &str = "webhook-secret";

/// Seals a webhook secret for a fact.
///
/// # Errors
/// The vault cannot seal it.
pub(super) async fn seal(
    vault: &Vault,
    tenant_id: TenantId,
    secret: &SecretString,
) -> Result<WebhookSecret, Problem> {
    let sealed = vault.seal(tenant_id, CONTEXT, secret.expose_secret().as_bytes()).await?;
    Ok(WebhookSecret { sealed, fingerprint: token::fingerprint(secret.expose_secret()) })
}

impl Tenants {
    /// Returns the secret in force, from the tenant's stream: a read model might still have the previous one.
    async fn current_secret(&self, id: TenantId) -> Result<SecretString, Problem> {
        match self.commands.store().load::<Tenant>(id.0).await?.state {
            Tenant::Registered(tenant) => {
                Ok(self.vault.open_text(id, CONTEXT, &tenant.webhook_secret.sealed).await?)
            }
            Tenant::Unknown => Err(Problem::not_found("tenant")),
        }
    }
}
