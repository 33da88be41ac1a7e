//! Keys that sign access tokens.
//!
//! The first key signs; every key verifies, selected by the `kid` in the token's header. So a key is replaced
//! without ending sessions: put the new key first, and remove the old one when the last token that it signed
//! has expired.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::decode_any_base64;

/// Minimum length of a key in bytes: the length of the hash in HMAC-SHA256.
pub const SIGNING_KEY_BYTES_MIN: usize = 32;
/// Minimum number of different bytes in a key: a random one of the minimum length has about 30.
const DIFFERENT_BYTES_MIN: usize = 10;
/// Maximum length of a `kid` in characters.
const KID_CHARS_MAX: usize = 64;
/// Hex characters of the derived `kid` of a key without one.
const DERIVED_KID_CHARS: usize = 8;

/// A non-empty list of signing keys.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    keys: Arc<[SigningKey]>,
}

/// A key for HMAC-SHA256.
pub struct SigningKey {
    kid: String,
    bytes: SecretSlice<u8>,
}

/// Error of an invalid list of signing keys. Does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SigningKeysProblem {
    #[error(
        "key {number} has {bytes} bytes and must have at least {SIGNING_KEY_BYTES_MIN} \
         (`openssl rand -base64 32` makes one)"
    )]
    TooShort {
        /// Counted from 1.
        number: usize,
        /// Length of the key.
        bytes: usize,
    },
    #[error(
        "key {number} has only {different} different bytes and is easy to guess (`openssl rand -base64 32` makes one)"
    )]
    Repetitive {
        /// Counted from 1.
        number: usize,
        different: usize,
    },
    /// The text before the colon is not a valid name.
    #[error(
        "the name of key {number} must be 1 to {KID_CHARS_MAX} letters, digits, dots, hyphens and underscores"
    )]
    NotAName {
        /// Counted from 1.
        number: usize,
    },
    #[error("the name of key {number} is given twice")]
    NamedTwice {
        /// Counted from 1.
        number: usize,
    },
}

impl SigningKeys {
    /// Generates a list of one key.
    #[must_use]
    pub fn generate() -> Self {
        let bytes: [u8; SIGNING_KEY_BYTES_MIN] = rand::random();
        Self { keys: Arc::new([SigningKey::new(None, bytes.to_vec())]) }
    }

    /// Returns the key that signs.
    #[must_use]
    pub fn first(&self) -> &SigningKey {
        self.keys.first().expect("neither `generate` nor `from_str` returns an empty list")
    }

    /// Returns the key with a name.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&SigningKey> {
        self.keys.iter().find(|key| key.kid == kid)
    }

    /// Returns all keys, the one that signs first.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        self.keys.iter()
    }
}

impl SigningKey {
    fn new(kid: Option<&str>, bytes: Vec<u8>) -> Self {
        let derived = || hex::encode(Sha256::digest(&bytes))[..DERIVED_KID_CHARS].to_owned();
        let kid = kid.map_or_else(derived, str::to_owned);
        Self { kid, bytes: bytes.into() }
    }

    /// Returns the name of the key in tokens.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        self.bytes.expose_secret()
    }
}

impl FromStr for SigningKeys {
    type Err = SigningKeysProblem;

    /// Parses `kid:key` or `key`, separated by commas. A key that is the base64 of at least 32 bytes is
    /// decoded; any other text is used as it is.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keys: Vec<SigningKey> = Vec::new();
        for (index, word) in text.split(',').map(str::trim).enumerate() {
            let number = index + 1;
            let (kid, key) = word.split_once(':').map_or((None, word), |(kid, key)| (Some(kid), key));
            if kid.is_some_and(|kid| !is_name(kid)) {
                return Err(SigningKeysProblem::NotAName { number });
            }
            let decoded = decode_any_base64(key).filter(|bytes| bytes.len() >= SIGNING_KEY_BYTES_MIN);
            let bytes = decoded.unwrap_or_else(|| key.as_bytes().to_vec());
            if bytes.len() < SIGNING_KEY_BYTES_MIN {
                return Err(SigningKeysProblem::TooShort { number, bytes: bytes.len() });
            }
            let different = bytes.iter().collect::<HashSet<_>>().len();
            if different < DIFFERENT_BYTES_MIN {
                return Err(SigningKeysProblem::Repetitive { number, different });
            }
            let key = SigningKey::new(kid, bytes);
            if keys.iter().any(|known| known.kid == key.kid) {
                return Err(SigningKeysProblem::NamedTwice { number });
            }
            keys.push(key);
        }
        Ok(Self { keys: keys.into() })
    }
}

fn is_name(kid: &str) -> bool {
    (1..=KID_CHARS_MAX).contains(&kid.len())
        && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    const TEXT: &str = "correct horse battery staple, sort of";
    const OTHER: &str = "another horse, another stable, or so";

    #[test]
    fn the_first_key_signs_and_every_key_is_found_by_its_name() {
        let bytes: [u8; 48] = std::array::from_fn(|index| index as u8);
        let (encoded, old) = (STANDARD.encode(bytes), OTHER.replace(',', ""));
        let keys: SigningKeys = format!("2026-07:{encoded}, old:{old}").parse().unwrap();
        assert_eq!((keys.first().kid(), keys.first().expose_bytes()), ("2026-07", bytes.as_slice()));
        assert_eq!(keys.find("old").unwrap().expose_bytes(), old.as_bytes());
        assert!(keys.find("older").is_none());
        assert_eq!(keys.iter().map(SigningKey::kid).collect::<Vec<_>>(), ["2026-07", "old"]);
    }

    #[test]
    fn a_key_without_a_name_gets_one_derived_from_it() {
        let text = TEXT.replace(',', "");
        let (first, again): (SigningKeys, SigningKeys) = (text.parse().unwrap(), text.parse().unwrap());
        assert_eq!(first.first().kid(), again.first().kid());
        assert_eq!(first.first().kid().len(), 8);
        assert_eq!(first.first().expose_bytes(), text.as_bytes());
    }

    #[test]
    fn an_invalid_list_is_refused_and_not_repeated() {
        let good = TEXT.replace(',', "");
        for (text, problem) in [
            (String::new(), SigningKeysProblem::TooShort { number: 1, bytes: 0 }),
            ("x".repeat(31), SigningKeysProblem::TooShort { number: 1, bytes: 31 }),
            (format!("a:{good},b:short"), SigningKeysProblem::TooShort { number: 2, bytes: 5 }),
            // The base64 of 16 bytes is neither a key nor a text as long as one.
            (STANDARD.encode([1; 16]), SigningKeysProblem::TooShort { number: 1, bytes: 24 }),
            ("x".repeat(32), SigningKeysProblem::Repetitive { number: 1, different: 1 }),
            (
                format!("{good},{}", "abcdefghi".repeat(4)),
                SigningKeysProblem::Repetitive { number: 2, different: 9 },
            ),
            (format!(":{good}"), SigningKeysProblem::NotAName { number: 1 }),
            (format!("a b:{good}"), SigningKeysProblem::NotAName { number: 1 }),
            (format!("{}:{good}", "k".repeat(65)), SigningKeysProblem::NotAName { number: 1 }),
            (format!("a:{good},a:{good}y"), SigningKeysProblem::NamedTwice { number: 2 }),
            (format!("{good},{good}"), SigningKeysProblem::NamedTwice { number: 2 }),
        ] {
            assert_eq!(text.parse::<SigningKeys>().unwrap_err(), problem, "{text}");
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let keys: SigningKeys = format!("a:{}", TEXT.replace(',', "")).parse().unwrap();
        assert!(!format!("{keys:?}").contains("horse"));
        assert!(format!("{keys:?}").contains("\"a\""));
    }
}
