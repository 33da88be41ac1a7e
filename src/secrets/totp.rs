//! Codes of authenticator apps: TOTP (RFC 6238) with what all apps support, SHA-1, six digits and 30 seconds.
//!
//! SHA-1 is not collision resistant, which HMAC does not need.

use std::fmt;

use aggregates::email::Email;
use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha1::Sha1;
use subtle::ConstantTimeEq;
use url::form_urlencoded::byte_serialize;

use super::base32;

/// Digits of a code.
pub const CODE_DIGITS: usize = 6;

/// Seconds for which a code is shown.
const STEP_SECONDS: i64 = 30;
/// Steps before and after the current one whose codes are valid as well, for clocks that differ and for the time that a
/// person needs.
const STEPS_OFF_MAX: i64 = 1;
/// 160 bits, as RFC 4226 recommends.
const SECRET_BYTES: usize = 20;
/// Name of the service in apps.
const ISSUER: &str = "HookSentry";

/// Secret that an app computes codes from.
#[derive(Debug)]
pub struct TotpSecret(SecretSlice<u8>);

/// Code of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct TotpCode(String);

impl fmt::Debug for TotpCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TotpCode")
    }
}

impl TotpCode {
    /// Reads a code; `None` if it is not six digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_code = text.len() == CODE_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        is_code.then(|| Self(text.to_owned()))
    }
}

impl TotpSecret {
    #[must_use]
    pub fn generate() -> Self {
        let secret: [u8; SECRET_BYTES] = rand::random();
        Self(SecretSlice::from(secret.to_vec()))
    }

    /// Returns the secret with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: SecretSlice<u8>) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Returns the form in which a person types it.
    #[must_use]
    pub fn to_base32(&self) -> SecretString {
        base32::encode(self.0.expose_secret()).into()
    }

    /// Returns the form that an app reads from a QR code.
    #[must_use]
    pub fn to_uri(&self, email: &Email) -> SecretString {
        // In a path a space is not a plus sign.
        let account = byte_serialize(email.as_str().as_bytes()).collect::<String>().replace('+', "%20");
        format!(
            "otpauth://totp/{ISSUER}:{account}?secret={}&issuer={ISSUER}&algorithm=SHA1&digits={CODE_DIGITS}\
             &period={STEP_SECONDS}",
            self.to_base32().expose_secret()
        )
        .into()
    }

    /// Returns the time step of a code that is valid at this time; `None` if it is not valid. A caller has to refuse a
    /// step that is not later than that of the last code.
    #[must_use]
    pub fn step_of(&self, code: &TotpCode, at: DateTime<Utc>) -> Option<i64> {
        let current = at.timestamp().div_euclid(STEP_SECONDS);
        let valid = |step: &i64| self.code(*step).as_bytes().ct_eq(code.0.as_bytes()).into();
        (current - STEPS_OFF_MAX..=current + STEPS_OFF_MAX).find(valid)
    }

    fn code(&self, step: i64) -> String {
        let mut mac =
            Hmac::<Sha1>::new_from_slice(self.0.expose_secret()).expect("HMAC takes a key of any length");
        mac.update(&step.to_be_bytes());
        let tag: [u8; 20] = mac.finalize().into_bytes().into();
        let offset = usize::from(tag[19] & 0xf);
        let number = u32::from_be_bytes([tag[offset], tag[offset + 1], tag[offset + 2], tag[offset + 3]]);
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> TotpSecret {
        TotpSecret::from_bytes(SecretSlice::from(b"12345678901234567890".to_vec()))
    }

    fn code(text: &str) -> TotpCode {
        TotpCode::parse(text).expect("a code")
    }

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a time")
    }

    /// RFC 6238, appendix B, has eight digits; six are the last of them.
    #[test]
    fn codes_are_those_of_rfc_6238() {
        for (seconds, digits) in [
            (59, "94287082"),
            (1_111_111_109, "07081804"),
            (1_111_111_111, "14050471"),
            (1_234_567_890, "89005924"),
            (2_000_000_000, "69279037"),
            (20_000_000_000, "65353130"),
        ] {
            assert_eq!(secret().code(seconds / 30), digits[2..], "{seconds}");
            assert_eq!(secret().step_of(&code(&digits[2..]), time(seconds)), Some(seconds / 30));
        }
    }

    #[test]
    fn a_code_is_valid_in_its_step_and_in_the_steps_beside_it() {
        let of_step_ten = code(&secret().code(10));
        for (seconds, is_valid) in
            [(269, false), (270, true), (300, true), (329, true), (359, true), (360, false)]
        {
            let step = secret().step_of(&of_step_ten, time(seconds));
            assert_eq!(step, is_valid.then_some(10), "{seconds}");
        }
        assert_eq!(TotpSecret::generate().step_of(&of_step_ten, time(300)), None);
    }

    #[test]
    fn a_code_is_six_digits() {
        for text in ["", "12345", "1234567", "12345a", "12 345", "-12345", "١٢٣", "+12345"] {
            assert_eq!(TotpCode::parse(text), None, "{text}");
        }
        assert_eq!(format!("{:?}", code("123456")), "TotpCode");
    }

    #[test]
    fn the_uri_names_service_and_user_and_has_the_parameters() {
        let email = Email::parse("o'neill+x@acme.example").expect("an email");
        assert_eq!(
            secret().to_uri(&email).expose_secret(),
            "otpauth://totp/HookSentry:o%27neill%2Bx%40acme.example?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\
             &issuer=HookSentry&algorithm=SHA1&digits=6&period=30"
        );
        assert_eq!(TotpSecret::generate().to_base32().expose_secret().len(), 32);
        assert!(!format!("{:?}", secret()).contains("49"), "the bytes are not printed");
    }
}
