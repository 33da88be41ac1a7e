//! `POST /api/v1/tenants/{id}/webhook-secret/verify`

use aggregates::ids::TenantId;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::{RequestBody, body};
use crate::api::http::path::Id;
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::v1::tenants::Tenants;
use crate::worker::signature;

body! {
    /// A delivery whose signature is to be checked.
    SignedPayload {
        /// Body of the delivery, exactly as it was received.
        #[schema(examples(r#"{"a":1}"#))]
        payload: String = "payload",
        /// Value of `X-HookSentry-Signature`; of `webhook-signature` if `webhookId` and `webhookTimestamp` are given.
        #[schema(examples("sha256=51426af50a41dd7ff2cd3f116594734766d4018d15d6fb07169aee5d2959adf5"))]
        signature: String = "signature",
        /// Value of `webhook-id`.
        webhook_id: Option<String> = "webhookId",
        /// Value of `webhook-timestamp`. How old it is has no influence.
        webhook_timestamp: Option<String> = "webhookTimestamp",
    }
}

/// Result of the check of a signature.
#[derive(Serialize, ToSchema)]
#[schema(as = Verdict)]
pub(crate) struct SignatureCheck {
    /// Whether the signature is valid.
    valid: bool,
}

/// Verify a signature
///
/// An invalid signature is not an error: the response says that it is not valid.
#[utoipa::path(post, path = "/api/v1/tenants/{id}/webhook-secret/verify", tag = "Tenants",
    request_body = SignedPayload,
    responses((status = 200, body = SignatureCheck, description = "Whether the signature is valid."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(tenants): State<Tenants>,
    caller: Caller,
    Id(id): Id<TenantId>,
    body: UnreadBody,
) -> Result<Json<SignatureCheck>, Problem> {
    tenants.find_own(&caller, id).await?;
    let fields = body.fields(tenants.payload_body_bytes_max).await?;
    let signed = SignedPayload::parse(fields, &())?;
    let secret = tenants.current_secret(id).await?;
    let (body, signature) = (signed.payload.as_bytes(), &signed.signature);
    let valid = match (&signed.webhook_id, &signed.webhook_timestamp) {
        (None, None) => signature::verify(&secret, body, signature),
        (Some(id), Some(timestamp)) => {
            signature::verify_standard_of_any_age(&secret, id, timestamp, signature, body)
        }
        (Some(_), None) => return Err(missing("webhookTimestamp", "webhookId")),
        (None, Some(_)) => return Err(missing("webhookId", "webhookTimestamp")),
    };
    Ok(Json(SignatureCheck { valid }))
}

fn missing(field: &'static str, other: &str) -> Problem {
    Problem::invalid(FieldErrors::of(field, format!("is required together with {other}")))
}
