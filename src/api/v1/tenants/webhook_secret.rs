//! A tenant's webhook secret: shown, replaced, used to check a signature.

use aggregates::ids::TenantId;
use aggregates::tenant::{Tenant, TenantCommand, WebhookSecret};
use axum::Json;
use axum::extract::State;
use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::time::Timestamp;
use crate::api::http::validation;
use crate::api::openapi::schemas::OverlapSeconds;
use crate::api::v1::tenants::Tenants;
use crate::clock;
use crate::secrets::token::{self, TokenKind};
use crate::secrets::vault::Vault;
use crate::worker::signature;

/// What sealed webhook secrets are bound to.
pub(crate) const CONTEXT: &str = "webhook-secret";

/// For how long a secret that was replaced may sign too: 30 days. Longer, and a rotation protects from nothing.
pub(crate) const OVERLAP_SECONDS_MAX: u32 = 30 * 86_400;

/// A webhook secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebhookSecret)]
pub(crate) struct SecretView {
    /// The key of `X-HookSentry-Signature`, as it stands here.
    #[schema(examples("whsec_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    webhook_secret: String,
}

/// How a webhook secret is replaced.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct SecretRotation {
    /// For how many seconds the secret that is replaced signs too, at most 2592000 (30 days), so that
    /// receivers can change over: until then `webhook-signature` carries a signature with each, while
    /// `X-HookSentry-Signature` is by the new one. If absent, the old secret is dead at once.
    #[schema(value_type = Option<OverlapSeconds>)]
    overlap_seconds: Option<u32>,
}

/// A webhook secret that replaced another.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegeneratedSecret {
    /// The key of `X-HookSentry-Signature`, as it stands here.
    #[schema(examples("whsec_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    webhook_secret: String,
    /// Until when the old secret signs too; absent when it is dead.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_signs_until: Option<Timestamp>,
}

/// A delivery whose signature is in question.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct SignedPayload {
    /// The body of the delivery, exactly as it arrived.
    #[schema(examples(r#"{"a":1}"#))]
    payload: String,
    /// The value of `X-HookSentry-Signature`.
    #[schema(examples("sha256=51426af50a41dd7ff2cd3f116594734766d4018d15d6fb07169aee5d2959adf5"))]
    signature: String,
}

/// What was found out about a signature.
#[derive(Serialize, ToSchema)]
pub(crate) struct Verdict {
    /// Whether the signature fits.
    valid: bool,
}

/// Show the webhook secret.
#[utoipa::path(get, path = "/api/v1/tenants/{id}/webhook-secret", tag = "Tenants",
    responses((status = 200, body = SecretView), (status = 403), (status = 404)))]
pub(crate) async fn get(
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
/// Attempts that start from now on are signed with the new one. The old one signs besides only for as long as
/// the body asks; without a body it is dead at once. A secret that was replaced before is dead in any case.
#[utoipa::path(post, path = "/api/v1/tenants/{id}/webhook-secret", tag = "Tenants",
    request_body = SecretRotation,
    responses((status = 200, body = RegeneratedSecret), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn regenerate(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
    body: UnreadBody,
) -> Result<Json<RegeneratedSecret>, Problem> {
    tenants.own(&caller, id).await?;
    let rotation = SecretRotation::read(body).await?;
    let at = clock::now();
    let overlap = rotation.overlap_seconds.map(|seconds| TimeDelta::seconds(seconds.into()));
    let previous_signs_until = overlap.map(|overlap| at + overlap);
    let secret = TokenKind::WebhookSecret.generate();
    let webhook_secret = seal(&tenants.vault, id, &secret).await?;
    let command = TenantCommand::RegenerateWebhookSecret { webhook_secret, previous_signs_until, at };
    tenants.commands.execute::<Tenant>(id.0, command, &caller.metadata()).await?;
    Ok(Json(RegeneratedSecret {
        webhook_secret: secret.expose_secret().to_owned(),
        previous_signs_until: previous_signs_until.map(Timestamp),
    }))
}

/// Check a signature.
///
/// A signature that does not fit is no error: the answer says so.
#[utoipa::path(post, path = "/api/v1/tenants/{id}/webhook-secret/verify", tag = "Tenants",
    request_body = SignedPayload,
    responses((status = 200, body = Verdict), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn verify(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
    body: UnreadBody,
) -> Result<Json<Verdict>, Problem> {
    tenants.own(&caller, id).await?;
    let mut fields = body.fields_within(tenants.payload_body_bytes_max).await?;
    let payload = fields.required("payload", validation::text);
    let signature = fields.required("signature", validation::text);
    let signed = fields.complete(|| Some(SignedPayload { payload: payload?, signature: signature? }))?;
    let secret = tenants.current_secret(id).await?;
    let valid = signature::verify(&secret, signed.payload.as_bytes(), &signed.signature);
    Ok(Json(Verdict { valid }))
}

impl SecretRotation {
    async fn read(body: UnreadBody) -> Result<Self, Problem> {
        let mut fields = body.fields_if_any().await?;
        let overlap_seconds =
            fields.optional("overlapSeconds", |value| validation::integer(value, 1, OVERLAP_SECONDS_MAX));
        fields.complete(|| Some(Self { overlap_seconds }))
    }
}

/// A webhook secret as facts carry it.
pub(crate) async fn seal(
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
