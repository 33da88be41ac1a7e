//! Verification of the signatures of a webhook.

use axum::http::HeaderMap;
use chrono::{DateTime, Utc};
use secrecy::SecretString;

use crate::worker::signature::{
    SIGNATURE_HEADER, STANDARD_ID_HEADER, STANDARD_SIGNATURE_HEADER, STANDARD_TIMESTAMP_HEADER,
    StandardSignatureProblem as Problem, verify, verify_standard,
};

/// Result of checking a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureStatus {
    Verified,
    /// The signature is missing or wrong, for this reason.
    NotVerified(&'static str),
    /// There is no secret to check it with.
    NotChecked,
}

/// Checks `X-HookSentry-Signature`.
pub(super) fn check_plain(
    secret: Option<&SecretString>,
    headers: &HeaderMap,
    body: &[u8],
) -> SignatureStatus {
    let Some(secret) = secret else { return SignatureStatus::NotChecked };
    match headers.get(SIGNATURE_HEADER).map(|value| value.to_str().unwrap_or_default()) {
        None => SignatureStatus::NotVerified("the header is missing"),
        Some(signature) if verify(secret, body, signature) => SignatureStatus::Verified,
        Some(_) => SignatureStatus::NotVerified("the signature does not match"),
    }
}

/// Checks the Standard Webhooks signature at the time `now`.
pub(super) fn check_standard(
    secret: Option<&SecretString>,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> SignatureStatus {
    let Some(secret) = secret else { return SignatureStatus::NotChecked };
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(timestamp), Some(signatures)) =
        (header(STANDARD_ID_HEADER), header(STANDARD_TIMESTAMP_HEADER), header(STANDARD_SIGNATURE_HEADER))
    else {
        return SignatureStatus::NotVerified("a header is missing");
    };
    match verify_standard(secret, id, timestamp, signatures, body, now) {
        Ok(()) => SignatureStatus::Verified,
        Err(Problem::MalformedTimestamp) => SignatureStatus::NotVerified("the timestamp is malformed"),
        Err(Problem::TimestampOutOfTolerance) => {
            SignatureStatus::NotVerified("the timestamp is too far from now")
        }
        Err(Problem::NoValidSignature) => SignatureStatus::NotVerified("no signature matches"),
    }
}
