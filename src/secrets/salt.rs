//! Salts of commitments in the log.
//!
//! A fact about something that can be erased has an HMAC of it instead of a digest: without the salt, which is erased with
//! it, a reader of the log cannot even check a guess.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Key of a commitment. It is stored with what is committed to, and erased with it.
#[derive(Clone, Copy)]
pub struct Salt([u8; 32]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

impl Salt {
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the HMAC-SHA256 (RFC 2104) of `content`, in lower-case hex.
    #[must_use]
    pub fn commitment_to(&self, content: &[u8]) -> String {
        hex::encode(evidence::leaf::Salt::from_bytes(self.0).commit(content).as_bytes())
    }
}

/// Returns the HMAC-SHA256 (RFC 2104) of the parts, one after the other.
#[must_use]
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_is_what_openssl_computes() {
        // printf %s '{"a":1}' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707...07
        let salt = Salt([7; 32]);
        assert_eq!(
            salt.commitment_to(br#"{"a":1}"#),
            "0d733feec304f131c0dcbceb873c317e2bcc4789397082bd429646222a2eb027"
        );
    }

    #[test]
    fn each_salt_is_another() {
        assert_ne!(Salt::random().as_bytes(), Salt::random().as_bytes());
    }
}
