//! The operator's master keys, which wrap data keys only.
//!
//! The first key wraps; every key unwraps. So a key is replaced without downtime in three steps: put the new
//! key before the old one, rewrap the data keys, remove the old key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aggregates::ids::TenantId;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use super::cipher::{KEY_BYTES, Key, NotAuthentic, TooLong};
use super::decode_any_base64;

/// Domain separator in the authenticated data of a wrapped data key, before its id and its tenant.
const BOUND_TO: &[u8] = b"hooksentry data key v1";
/// Hex characters of a master key's id.
const ID_CHARS: usize = 16;

/// A non-empty list of master keys.
#[derive(Clone)]
pub struct MasterKeys {
    keys: Arc<[MasterKey]>,
}

struct MasterKey {
    id: MasterKeyId,
    key: Key,
}

/// Id of a master key, which does not reveal it: the first 16 hex characters of its SHA-256.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterKeyId(pub String);

/// Error of an invalid list of master keys. Does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MasterKeysProblem {
    #[error("key {number} is not the base64 of exactly 32 bytes (`openssl rand -base64 32` makes one)")]
    NotAKey {
        /// Counted from 1.
        number: usize,
    },
    #[error("key {number} is given twice")]
    Twice {
        /// Counted from 1.
        number: usize,
    },
}

/// Error of unwrapping a data key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum NotUnwrapped {
    #[error("its master key is not among those given")]
    UnknownMasterKey,
    #[error(transparent)]
    NotAuthentic(#[from] NotAuthentic),
}

impl MasterKeys {
    /// Generates a list of one key.
    #[must_use]
    pub fn generate() -> Self {
        Self { keys: Arc::new([MasterKey::new(Key::generate())]) }
    }

    /// Returns the id of the key that wraps.
    #[must_use]
    pub fn first(&self) -> &MasterKeyId {
        &self.wrapping().id
    }

    /// Returns whether the list has a key with this id.
    #[must_use]
    pub fn knows(&self, id: &MasterKeyId) -> bool {
        self.keys.iter().any(|key| key.id == *id)
    }

    pub(super) fn wrap(&self, id: Uuid, tenant: TenantId, data_key: &Key) -> Result<Vec<u8>, TooLong> {
        self.wrapping().key.seal(&bound_to(id, tenant), data_key.expose_bytes())
    }

    pub(super) fn unwrap(
        &self,
        id: Uuid,
        tenant: TenantId,
        under: &MasterKeyId,
        wrapped: &[u8],
    ) -> Result<Key, NotUnwrapped> {
        let master = self.keys.iter().find(|key| key.id == *under).ok_or(NotUnwrapped::UnknownMasterKey)?;
        let bytes = master.key.open(&bound_to(id, tenant), wrapped)?;
        Ok(Key::from_bytes(bytes.expose_secret().to_vec()).ok_or(NotAuthentic)?)
    }

    fn wrapping(&self) -> &MasterKey {
        self.keys.first().expect("neither `generate` nor `from_str` returns an empty list")
    }
}

impl MasterKey {
    fn new(key: Key) -> Self {
        let mut id = hex::encode(Sha256::digest(key.expose_bytes()));
        id.truncate(ID_CHARS);
        Self { id: MasterKeyId(id), key }
    }
}

impl FromStr for MasterKeys {
    type Err = MasterKeysProblem;

    /// Parses base64 keys, separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (index, word) in text.split(',').enumerate() {
            let number = index + 1;
            let bytes = decode_any_base64(word.trim()).filter(|bytes| bytes.len() == KEY_BYTES);
            let key = bytes.and_then(Key::from_bytes).ok_or(MasterKeysProblem::NotAKey { number })?;
            let key = MasterKey::new(key);
            if keys.iter().any(|known| known.id == key.id) {
                return Err(MasterKeysProblem::Twice { number });
            }
            keys.push(key);
        }
        Ok(Self { keys: keys.into() })
    }
}

fn bound_to(id: Uuid, tenant: TenantId) -> Vec<u8> {
    [BOUND_TO, id.as_bytes(), tenant.0.as_bytes()].concat()
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|key| &key.id)).finish()
    }
}

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

    use super::*;

    fn key_of(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    #[test]
    fn keys_keep_their_order() {
        let keys: MasterKeys = format!("{}, {}", key_of(1), key_of(2)).parse().unwrap();
        let first: MasterKeys = key_of(1).parse().unwrap();
        let second: MasterKeys = key_of(2).parse().unwrap();
        assert_eq!(keys.first(), first.first());
        assert!(keys.knows(second.first()));
        assert!(!first.knows(second.first()));
    }

    #[test]
    fn every_form_of_base64_gives_the_same_key() {
        let bytes = [0xfb; 32];
        let expected: MasterKeys = STANDARD.encode(bytes).parse().unwrap();
        for text in [STANDARD_NO_PAD.encode(bytes), URL_SAFE.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)] {
            assert_eq!(text.parse::<MasterKeys>().unwrap().first(), expected.first());
        }
    }

    #[test]
    fn an_invalid_list_is_refused_and_not_repeated() {
        let short = STANDARD.encode([7; 31]);
        for (text, problem) in [
            (String::new(), MasterKeysProblem::NotAKey { number: 1 }),
            ("correct horse battery staple".to_owned(), MasterKeysProblem::NotAKey { number: 1 }),
            (short.clone(), MasterKeysProblem::NotAKey { number: 1 }),
            (format!("{},{short}", key_of(1)), MasterKeysProblem::NotAKey { number: 2 }),
            (format!("{},", key_of(1)), MasterKeysProblem::NotAKey { number: 2 }),
            (format!("{},{}", key_of(1), key_of(1)), MasterKeysProblem::Twice { number: 2 }),
        ] {
            let refused = text.parse::<MasterKeys>().unwrap_err();
            assert_eq!(refused, problem, "{text}");
            assert!(text.is_empty() || !refused.to_string().contains(&text));
        }
    }

    #[test]
    fn a_data_key_unwraps_only_with_its_id_and_tenant() {
        let keys = MasterKeys::generate();
        let (id, tenant) = (Uuid::from_u128(1), TenantId(Uuid::from_u128(2)));
        let data_key = Key::generate();
        let wrapped = keys.wrap(id, tenant, &data_key).unwrap();
        assert_eq!(wrapped.len(), 60);
        let unwrap = |id, tenant| keys.unwrap(id, tenant, keys.first(), &wrapped);
        assert_eq!(unwrap(id, tenant).ok().unwrap().expose_bytes(), data_key.expose_bytes());
        let other = Uuid::from_u128(3);
        assert_eq!(unwrap(other, tenant).err().unwrap(), NotUnwrapped::NotAuthentic(NotAuthentic));
        assert_eq!(unwrap(id, TenantId(other)).err().unwrap(), NotUnwrapped::NotAuthentic(NotAuthentic));
        let stranger = MasterKeys::generate();
        let unknown = stranger.unwrap(id, tenant, keys.first(), &wrapped).err().unwrap();
        assert_eq!(unknown, NotUnwrapped::UnknownMasterKey);
    }

    #[test]
    fn keys_are_not_printed() {
        let keys: MasterKeys = key_of(1).parse().unwrap();
        assert_eq!(format!("{keys:?}"), format!("[MasterKeyId(\"{}\")]", keys.first()));
    }
}
