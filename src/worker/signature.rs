//! Signatures by which a receiver verifies the origin and integrity of a webhook.
//!
//! Every delivery is signed twice. `X-HookSentry-Signature` is an HMAC of the body, with the whole secret as
//! its key. The Standard Webhooks headers also sign id and time, which limits the time during which a
//! recorded delivery can be replayed, and are supported by existing libraries; their key is the base64
//! decoding of the secret after `whsec_`, as those libraries derive it.

use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine as _, alphabet};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::secrets::salt::hmac_sha256;

/// Header of the plain signature, in lower case as HTTP/2 requires.
pub const SIGNATURE_HEADER: &str = "x-hooksentry-signature";
/// Standard Webhooks header of the id.
pub const STANDARD_ID_HEADER: &str = "webhook-id";
/// Standard Webhooks header of the time, in seconds since 1970.
pub const STANDARD_TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Standard Webhooks header of the signatures.
pub const STANDARD_SIGNATURE_HEADER: &str = "webhook-signature";

/// Maximum difference between the time of a Standard Webhooks signature and the verifier's clock; the value
/// of the existing libraries.
pub const TIMESTAMP_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

const SECRET_PREFIX: &str = "whsec_";

/// Accepts base64 with and without padding, and the trailing bits that decoding a hex string as base64 may
/// leave.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Secrets of a tenant: the current one and, during a rotation, the previous one.
#[derive(Clone, Debug)]
pub struct SigningSecrets {
    pub current: SecretString,
    /// Also signs the Standard Webhooks header, so that receivers may use either secret.
    pub previous: Option<SecretString>,
}

impl From<SecretString> for SigningSecrets {
    fn from(current: SecretString) -> Self {
        Self { current, previous: None }
    }
}

/// Returns the value of `X-HookSentry-Signature` for a body.
#[must_use]
pub fn sign(secret: &SecretString, body: &[u8]) -> String {
    let digest = hmac_sha256(secret.expose_secret().as_bytes(), &[body]);
    format!("sha256={}", hex::encode(digest))
}

/// Returns whether a value of `X-HookSentry-Signature` is valid for a body. Upper-case hex is not.
#[must_use]
pub fn verify(secret: &SecretString, body: &[u8], signature: &str) -> bool {
    sign(secret, body).as_bytes().ct_eq(signature.as_bytes()).into()
}

/// Returns the value of `webhook-signature`: one signature for each secret, separated by spaces.
#[must_use]
pub fn sign_standard(secrets: &SigningSecrets, id: &str, timestamp: DateTime<Utc>, body: &[u8]) -> String {
    std::iter::once(&secrets.current)
        .chain(&secrets.previous)
        .map(|secret| standard_signature(secret, id, timestamp.timestamp(), body))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Error of an invalid Standard Webhooks signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StandardSignatureProblem {
    #[error("the timestamp is not a number")]
    MalformedTimestamp,
    /// Possibly a replayed recording.
    #[error("the timestamp is more than five minutes away from now")]
    TimestampOutOfTolerance,
    #[error("no signature is valid")]
    NoValidSignature,
}

/// Verifies the three Standard Webhooks headers of a body.
///
/// # Errors
/// When the timestamp is invalid or too far from `now`, or no signature is valid.
pub fn verify_standard(
    secret: &SecretString,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
    now: DateTime<Utc>,
) -> Result<(), StandardSignatureProblem> {
    use StandardSignatureProblem as Problem;

    let seconds: i64 = timestamp.parse().map_err(|_| Problem::MalformedTimestamp)?;
    let time = DateTime::from_timestamp_secs(seconds).ok_or(Problem::MalformedTimestamp)?;
    if (now - time).abs() > TIMESTAMP_TOLERANCE {
        return Err(Problem::TimestampOutOfTolerance);
    }
    let fits = fits_standard(secret, id, seconds, signatures, body);
    if fits { Ok(()) } else { Err(Problem::NoValidSignature) }
}

/// Returns whether the three Standard Webhooks headers of a body are valid but for the age of the timestamp.
#[must_use]
pub fn verify_standard_of_any_age(
    secret: &SecretString,
    id: &str,
    timestamp: &str,
    signatures: &str,
    body: &[u8],
) -> bool {
    timestamp.parse().is_ok_and(|seconds| fits_standard(secret, id, seconds, signatures, body))
}

fn fits_standard(secret: &SecretString, id: &str, seconds: i64, signatures: &str, body: &[u8]) -> bool {
    let expected = standard_signature(secret, id, seconds, body);
    signatures.split(' ').any(|signature| expected.as_bytes().ct_eq(signature.as_bytes()).into())
}

fn standard_signature(secret: &SecretString, id: &str, timestamp: i64, body: &[u8]) -> String {
    let secret = secret.expose_secret();
    let encoded = secret.strip_prefix(SECRET_PREFIX).unwrap_or(secret);
    // Every secret generated here decodes. For another secret, the key is its text.
    let key = LENIENT_BASE64.decode(encoded).unwrap_or_else(|_| encoded.as_bytes().to_vec());
    let signed = format!("{id}.{timestamp}.");
    format!("v1,{}", STANDARD.encode(hmac_sha256(&key, &[signed.as_bytes(), body])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c";

    fn now() -> DateTime<Utc> {
        // The library reads the system clock, so this test has to as well.
        crate::clock::now()
    }

    #[test]
    fn the_documented_example_is_correct() {
        let signature = "sha256=51426af50a41dd7ff2cd3f116594734766d4018d15d6fb07169aee5d2959adf5";
        let secret = "whsec_test".into();
        assert_eq!(sign(&secret, br#"{"a":1}"#), signature);
        assert!(verify(&secret, br#"{"a":1}"#, signature));
    }

    #[test]
    fn other_signatures_are_invalid() {
        let secret = SECRET.into();
        let signature = sign(&secret, b"{}");
        assert!(!verify(&secret, b"{ }", &signature));
        assert!(!verify(&"whsec_other".into(), b"{}", &signature));
        assert!(!verify(&secret, b"{}", &signature.to_uppercase()));
        assert!(!verify(&secret, b"{}", signature.strip_prefix("sha256=").unwrap()));
        assert!(!verify(&secret, b"{}", &format!("{signature}0")));
        assert!(!verify(&secret, b"{}", ""));
    }

    #[test]
    fn the_standard_webhooks_library_accepts_the_headers() {
        let body = br#"{"type":"order.paid"}"#;
        let secrets = SigningSecrets { current: SECRET.into(), previous: Some("whsec_AAAABBBB".into()) };
        let time = now();
        let signatures = sign_standard(&secrets, "0198c5a2", time, body);
        assert_eq!(signatures.split(' ').count(), 2);

        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("webhook-id", "0198c5a2".parse().unwrap());
        headers.insert("webhook-timestamp", time.timestamp().into());
        headers.insert("webhook-signature", signatures.parse().unwrap());
        for secret in [SECRET, "whsec_AAAABBBB"] {
            let stock = standardwebhooks::Webhook::new(secret).unwrap();
            stock.verify(body, &headers).unwrap();
            assert!(stock.verify(b"{}", &headers).is_err());
            let seconds = time.timestamp().to_string();
            verify_standard(&secret.into(), "0198c5a2", &seconds, &signatures, body, time).unwrap();
        }
    }

    /// The expected value was made by `standardwebhooks` 1.1.0 for Python.
    #[test]
    fn a_signature_equals_that_of_the_library_for_python() {
        let secret = SecretString::from("whsec_5f8a3b2c1d9e4f6a7b8c9d0e1f2a3b4c");
        let time = DateTime::from_timestamp_secs(1_783_089_120).unwrap();
        let (id, body) = ("0198c5a2-7e31-7c3a-9f64-2b8d1e0c4a57", r#"{"event":"bezahlt","betrag":"9,90 €"}"#);
        assert_eq!(
            sign_standard(&secret.into(), id, time, body.as_bytes()),
            "v1,Rr0kCUlrHcMo9CKTQyOeYMXUB/SucCOOIm8XCoxFZ38="
        );
    }

    #[test]
    fn a_signature_of_the_standard_webhooks_library_is_accepted() {
        let stock = standardwebhooks::Webhook::new(SECRET).unwrap();
        let time = now();
        let signature = stock.sign("id", time.timestamp(), b"{}").unwrap();
        let seconds = time.timestamp().to_string();
        verify_standard(&SECRET.into(), "id", &seconds, &format!("v1a,abc {signature}"), b"{}", time)
            .unwrap();
    }

    #[test]
    fn each_problem_of_a_standard_signature_has_its_own_error() {
        use StandardSignatureProblem as Problem;
        let time = now();
        let secrets = SigningSecrets::from(SecretString::from(SECRET));
        let signature = sign_standard(&secrets, "id", time, b"{}");
        let seconds = time.timestamp().to_string();
        let verify = |id: &str, seconds: &str, body: &[u8], now| {
            verify_standard(&SECRET.into(), id, seconds, &signature, body, now).err()
        };
        assert_eq!(verify("id", &seconds, b"{}", time), None);
        assert_eq!(verify("other", &seconds, b"{}", time), Some(Problem::NoValidSignature));
        assert_eq!(verify("id", &seconds, b"[]", time), Some(Problem::NoValidSignature));
        assert_eq!(verify("id", "soon", b"{}", time), Some(Problem::MalformedTimestamp));
        assert_eq!(verify("id", "99999999999999999", b"{}", time), Some(Problem::MalformedTimestamp));
        for late in [TimeDelta::minutes(6), TimeDelta::minutes(-6)] {
            assert_eq!(verify("id", &seconds, b"{}", time + late), Some(Problem::TimestampOutOfTolerance));
        }
    }
}
