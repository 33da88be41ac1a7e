//! `POST /api/v1/tenants/{id}/webhook-secret`

use aggregates::ids::TenantId;
use aggregates::tenant::{Tenant, TenantCommand};
use axum::Json;
use axum::extract::State;
use chrono::TimeDelta;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use super::seal;
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::number::OverlapSeconds;
use crate::api::http::fields::{RequestBody, body};
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::time::Timestamp;
use crate::api::v1::tenants::Tenants;
use crate::clock;
use crate::secrets::token::TokenKind;

body! {
    /// Replacement of a webhook secret.
    SecretRotation {
        /// Seconds for which the previous secret keeps signing, at most 2592000 (30 days), so that receivers can
        /// change over. Until then `webhook-signature` carries a signature by each secret, while
        /// `X-HookSentry-Signature` is by the new one. If absent, the previous secret is void at once.
        overlap_seconds: Option<OverlapSeconds> = "overlapSeconds",
    }
}

/// A webhook secret that replaced another.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RegeneratedSecret {
    /// Key of `X-HookSentry-Signature`, including its prefix.
    #[schema(examples("whsec_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c"))]
    webhook_secret: String,
    /// Time until which the previous secret keeps signing; absent if it is void.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_signs_until: Option<Timestamp>,
}

/// Replace the webhook secret
///
/// Attempts that start from now on are signed with the new secret. The previous one keeps signing as well for as
/// long as the body asks; without a body it is void at once. Secrets before that one are void in any case.
#[utoipa::path(post, path = "/api/v1/tenants/{id}/webhook-secret", tag = "Tenants",
    request_body = SecretRotation,
    responses((status = 200, body = RegeneratedSecret, description = "The new webhook secret."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
    body: UnreadBody,
) -> Result<Json<RegeneratedSecret>, Problem> {
    tenants.find_own(&caller, id).await?;
    let rotation = SecretRotation::parse(body.fields_if_present().await?, &())?;
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
