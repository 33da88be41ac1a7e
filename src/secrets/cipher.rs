//! AES-256-GCM, used with every key of the vault.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use hmac::{Hmac, Mac};
use secrecy::zeroize::Zeroize;
use secrecy::{ExposeSecret, SecretBox, SecretSlice};
use sha2::Sha256;
use thiserror::Error;

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of a nonce, which precedes the ciphertext. Nonces are random: with up to 2^32 uses of a key the
/// probability of a repetition is below 2^-32, and a data key is used once for each secret of one tenant.
const NONCE_BYTES: usize = 12;

/// A key that is wiped on drop and cannot be printed.
pub(super) struct Key(SecretBox<[u8; KEY_BYTES]>);

/// Error of a ciphertext that was altered, or sealed with another key or for another use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the ciphertext is not authentic")]
pub(super) struct NotAuthentic;

/// Error of a plaintext longer than AES-GCM can seal with one nonce (64 GiB).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("too long to be sealed")]
pub(super) struct TooLong;

impl Key {
    /// Generates a random key.
    pub(super) fn generate() -> Self {
        Self(SecretBox::init_with_mut(|bytes: &mut [u8; KEY_BYTES]| rand::fill(bytes)))
    }

    /// Returns the key of [`KEY_BYTES`] bytes; `None` for another length. The bytes are wiped.
    pub(super) fn from_bytes(mut bytes: Vec<u8>) -> Option<Self> {
        let key =
            <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).ok().map(|key| Self(SecretBox::new(Box::new(key))));
        bytes.zeroize();
        key
    }

    pub(super) fn expose_bytes(&self) -> &[u8; KEY_BYTES] {
        self.0.expose_secret()
    }

    /// Returns a key for another purpose: HMAC-SHA256 of the purpose.
    pub(super) fn derive(&self, purpose: &[u8]) -> [u8; KEY_BYTES] {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(self.expose_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(purpose);
        mac.finalize().into_bytes().into()
    }

    /// Returns [`Self::derive`] as a key.
    pub(super) fn derive_key(&self, purpose: &[u8]) -> Self {
        Self(SecretBox::init_with(|| self.derive(purpose)))
    }

    /// Returns nonce, ciphertext and tag. `bound` is authenticated and not stored; opening needs the same
    /// bytes.
    pub(super) fn seal(&self, bound: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, TooLong> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload { msg: plaintext, aad: bound };
        let ciphertext = self.cipher().encrypt(&Nonce::from(nonce), payload).map_err(|_| TooLong)?;
        Ok([nonce.as_slice(), &ciphertext].concat())
    }

    /// Opens what [`Self::seal`] sealed with the same `bound`.
    pub(super) fn open(&self, bound: &[u8], sealed: &[u8]) -> Result<SecretSlice<u8>, NotAuthentic> {
        let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(NotAuthentic)?;
        let payload = Payload { msg: ciphertext, aad: bound };
        let plaintext = self.cipher().decrypt(&Nonce::from(*nonce), payload).map_err(|_| NotAuthentic)?;
        Ok(SecretSlice::from(plaintext))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(self.0.expose_secret().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_opens_for_its_use_and_no_other() {
        let key = Key::generate();
        let sealed = key.seal(b"use", b"secret").unwrap();
        assert_eq!(sealed.len(), 12 + 6 + 16);
        assert_eq!(key.open(b"use", &sealed).unwrap().expose_secret(), b"secret");
        assert_eq!(key.open(b"other use", &sealed).unwrap_err(), NotAuthentic);
        assert_eq!(Key::generate().open(b"use", &sealed).unwrap_err(), NotAuthentic);
    }

    #[test]
    fn a_ciphertext_with_any_bit_changed_does_not_open() {
        let key = Key::generate();
        let sealed = key.seal(b"", b"secret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(key.open(b"", &altered).unwrap_err(), NotAuthentic, "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(key.open(b"", &sealed[..len]).unwrap_err(), NotAuthentic, "{len} bytes");
        }
    }

    #[test]
    fn no_two_ciphertexts_are_equal() {
        let key = Key::generate();
        assert_ne!(key.seal(b"", b"secret").unwrap(), key.seal(b"", b"secret").unwrap());
    }

    #[test]
    fn the_cipher_is_aes_256_gcm() {
        // Test case 16 of the GCM specification (McGrew and Viega).
        let hex = |text: &str| hex::decode(text).unwrap();
        let key =
            Key::from_bytes(hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")).unwrap();
        let nonce = "cafebabefacedbaddecaf888";
        let ciphertext = "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
                          8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662";
        let tag = "76fc6ece0f4e1768cddf8853bb2d551b";
        let opened = key
            .open(
                &hex("feedfacedeadbeeffeedfacedeadbeefabaddad2"),
                &hex(&format!("{nonce}{ciphertext}{tag}")),
            )
            .unwrap();
        let plaintext = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
                         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
        assert_eq!(opened.expose_secret(), hex(plaintext));
    }

    #[test]
    fn a_key_has_32_bytes() {
        assert!(Key::from_bytes(vec![0; 31]).is_none());
        assert!(Key::from_bytes(vec![0; 33]).is_none());
        assert!(Key::from_bytes(vec![0; 32]).is_some());
    }
}
