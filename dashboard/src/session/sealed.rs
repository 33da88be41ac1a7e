//! Email address and password between the two steps of a sign-in with a second factor.
//!
//! The page of the second step carries them encrypted, so no process keeps them, and every process can read them.

use std::sync::Arc;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::clock;

/// Purpose in the key derivation.
const PURPOSE: &[u8] = b"second step of a sign-in";
/// Time for the second step, in seconds.
const VALID_SECONDS: i64 = 300;
const NONCE_BYTES: usize = 12;

/// Keys derived from those of the forms.
#[derive(Clone)]
pub(crate) struct Sealer(Arc<[SecretSlice<u8>]>);

/// First step of a sign-in.
pub(crate) struct FirstStep {
    pub(crate) email: String,
    pub(crate) password: SecretString,
}

#[derive(Serialize, Deserialize)]
struct Plaintext {
    email: String,
    password: String,
    /// Seconds since 1970.
    expires_at: i64,
}

impl Sealer {
    pub(crate) fn new(keys: &[SecretSlice<u8>]) -> Self {
        let derived = keys.iter().map(|key| {
            let mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key.expose_secret())
                .expect("HMAC takes keys of any length");
            mac.chain_update(PURPOSE).finalize().into_bytes().to_vec().into()
        });
        Self(derived.collect())
    }

    /// Encrypts the first step for the browser that `bound` identifies.
    pub(crate) fn seal(&self, step: &FirstStep, bound: &str) -> Option<String> {
        let plaintext = Plaintext {
            email: step.email.clone(),
            password: step.password.expose_secret().to_owned(),
            expires_at: clock::now().timestamp() + VALID_SECONDS,
        };
        let plaintext = serde_json::to_vec(&plaintext).ok()?;
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: &plaintext, aad: bound.as_bytes() };
        let mut sealed = nonce.to_vec();
        sealed.extend(cipher(self.0.first()?)?.encrypt(&Nonce::from(nonce), payload).ok()?);
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Decrypts the first step; `None`: it has expired, or is of another browser.
    pub(crate) fn open(&self, sealed: &str, bound: &str) -> Option<FirstStep> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let plaintext = self.0.iter().find_map(|key| {
            let payload = Payload { msg: ciphertext, aad: bound.as_bytes() };
            cipher(key)?.decrypt(&Nonce::from(*nonce), payload).ok()
        })?;
        let Plaintext { email, password, expires_at } = serde_json::from_slice(&plaintext).ok()?;
        (expires_at > clock::now().timestamp()).then(|| FirstStep { email, password: password.into() })
    }
}

fn cipher(key: &SecretSlice<u8>) -> Option<Aes256Gcm> {
    Aes256Gcm::new_from_slice(key.expose_secret()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_browser_continues_a_sign_in() {
        let old = SecretSlice::from(vec![1; 32]);
        let sealer = Sealer::new(std::slice::from_ref(&old));
        let step = FirstStep { email: "a@example.com".to_owned(), password: "correct horse".into() };
        let sealed = sealer.seal(&step, "visitor").unwrap();
        assert_eq!(sealer.open(&sealed, "visitor").unwrap().password.expose_secret(), "correct horse");
        assert!(sealer.open(&sealed, "another").is_none());
        assert!(sealer.open(&sealed[1..], "visitor").is_none());
        assert!(sealer.open("", "visitor").is_none());
        let rotated = Sealer::new(&[vec![2; 32].into(), old]);
        assert_eq!(rotated.open(&sealed, "visitor").unwrap().email, "a@example.com");
        assert!(Sealer::new(&[vec![2; 32].into()]).open(&sealed, "visitor").is_none());
    }
}
