//! A tenant's webhook secret: shown, replaced, used to check a signature.

use aggregates::ids::TenantId;
use aggregates::tenant::{Tenant, TenantCommand, WebhookSecret};
use axum::Json;
use axum::extract::State;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

use super::authentication::Caller;
use super::body::UnreadBody;
use super::path::Id;
use super::problem::Problem;
use super::rules;
use super::tenants::Tenants;
use crate::clock;
use crate::secrets::token::{self, TokenKind};
use crate::secrets::vault::Vault;
use crate::worker::signature;

/// What sealed webhook secrets are bound to.
pub(crate) const CONTEXT: &str = "webhook-secret";

/// A webhook secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookSecret)]
pub(super) struct SecretView {
    /// The key of `X-HookSentry-Signature`, as it stands here.
    #[schema(examples("whsec_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    webhook_secret: String,
}

/// A delivery whose signature is in question.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct SignedPayload {
    /// The body of the delivery, exactly as it arrived.
    #[schema(examples(r#"{"a":1}"#))]
    payload: String,
    /// The value of `X-HookSentry-Signature`.
    #[schema(examples("sha256=51426af50a41dd7ff2cd3f116594734766d4018d15d6fb07169aee5d2959adf5"))]
    signature: String,
}

/// What was found out about a signature.
#[derive(Serialize, ToSchema)]
pub(super) struct Verdict {
    /// Whether the signature fits.
    valid: bool,
}

/// Show the webhook secret.
#[utoipa::path(get, path = "/api/v1/tenants/{id}/webhook-secret", tag = "Tenants",
    responses((status = 200, body = SecretView), (status = 403), (status = 404)))]
pub(super) async fn get(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
) -> Result<Json<SecretView>, Problem> {
    tenants.own(&caller, id).await?;
    let secret = tenants.current_secret(id).await?;
    Ok(Json(SecretView { webhook_secret: secret.expose_secret().to_owned() }))
}

/// Replace the webhook secret.
///
/// Attempts that start from now on are signed with the new one only.
#[utoipa::path(post, path = "/api/v1/tenants/{id}/webhook-secret", tag = "Tenants",
    responses((status = 200, body = SecretView), (status = 403), (status = 404)))]
pub(super) async fn regenerate(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
) -> Result<Json<SecretView>, Problem> {
    tenants.own(&caller, id).await?;
    let secret = TokenKind::WebhookSecret.generate();
    let webhook_secret = seal(&tenants.vault, id, &secret).await?;
    let command = TenantCommand::RegenerateWebhookSecret {
        webhook_secret,
        previous_signs_until: None,
        at: clock::now(),
    };
    tenants.commands.execute::<Tenant>(id.0, command, &caller.metadata()).await?;
    Ok(Json(SecretView { webhook_secret: secret.expose_secret().to_owned() }))
}

/// Check a signature.
///
/// A signature that does not fit is no error: the answer says so.
#[utoipa::path(post, path = "/api/v1/tenants/{id}/webhook-secret/verify", tag = "Tenants",
    request_body = SignedPayload,
    responses((status = 200, body = Verdict), (status = 400), (status = 403), (status = 404)))]
pub(super) async fn verify(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
    body: UnreadBody,
) -> Result<Json<Verdict>, Problem> {
    tenants.own(&caller, id).await?;
    let mut fields = body.fields_within(tenants.payload_body_bytes_max).await?;
    let payload = fields.required("payload", rules::text);
    let signature = fields.required("signature", rules::text);
    let signed = fields.complete(|| Some(SignedPayload { payload: payload?, signature: signature? }))?;
    let secret = tenants.current_secret(id).await?;
    let valid = signature::verify(&secret, signed.payload.as_bytes(), &signed.signature);
    Ok(Json(Verdict { valid }))
}

/// A webhook secret as facts carry it.
pub(super) async fn seal(
    vault: &Vault,
    tenant_id: TenantId,
    secret: &SecretString,
) -> Result<WebhookSecret, Problem> {
    let sealed = vault.seal(tenant_id, CONTEXT, secret.expose_secret().as_bytes()).await?;
    Ok(WebhookSecret { sealed, fingerprint: token::fingerprint(secret.expose_secret()) })
}

impl Tenants {
    /// The secret in force, from the tenant's own stream: what was just replaced is not shown again.
    async fn current_secret(&self, id: TenantId) -> Result<SecretString, Problem> {
        match self.commands.store().load::<Tenant>(id.0).await?.state {
            Tenant::Registered(account) => {
                Ok(self.vault.open_text(id, CONTEXT, &account.webhook_secret.sealed).await?)
            }
            Tenant::Unknown => Err(Problem::not_found("tenant")),
        }
    }
}
