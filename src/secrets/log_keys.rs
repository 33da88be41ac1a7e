//! Keys that sign the heads of the transparency logs.
//!
//! All keys have one name, which is that of the installation, and every one of them signs. So a key is replaced without
//! interruption: add the new one, let the verifiers learn its public half, and remove the old one.

use std::str::FromStr;
use std::sync::Arc;

use evidence::checkpoint::{Checkpoint, SignedCheckpoint};
use evidence::note::{KeyError, KeyName, SignerKey, VerifierKey};
use secrecy::SecretString;
use secrecy::zeroize::Zeroize;
use thiserror::Error;

/// Maximum number of keys. Two suffice for a rotation.
const KEYS_MAX: usize = 8;
/// Maximum length of the name, in bytes: the names of logs are longer.
const NAME_BYTES_MAX: usize = 180;

/// A non-empty list of private keys with one name. They are wiped on drop and cannot be printed.
#[derive(Clone, Debug)]
pub struct LogKeys(Arc<[SignerKey]>);

/// Error of an invalid list of keys. Does not contain the text. Keys are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogKeysProblem {
    #[error("key {number} is not valid: {problem} (`hooksentry audit keygen` makes one)")]
    NotAKey { number: usize, problem: KeyError },
    #[error("the name of key {number} has more than {NAME_BYTES_MAX} bytes")]
    Name { number: usize },
    #[error("key {number} must have the same name as the first: the name of a log never changes")]
    OtherName { number: usize },
    #[error("key {number} is given twice")]
    Twice { number: usize },
    #[error("there must be 1 to {KEYS_MAX} keys, not {0}")]
    Count(usize),
}

impl LogKeys {
    /// Generates a list of one key.
    ///
    /// # Errors
    /// The name is too long.
    pub fn generate(name: KeyName) -> Result<Self, LogKeysProblem> {
        let mut seed: [u8; 32] = rand::random();
        let key = SignerKey::from_seed(name, &seed);
        seed.zeroize();
        Self::check(vec![key])
    }

    /// Returns the public halves.
    pub fn verifiers(&self) -> impl Iterator<Item = &VerifierKey> {
        self.0.iter().map(SignerKey::verifier)
    }

    /// Returns the texts that [`FromStr`] reads, one for each key.
    pub fn to_secret_texts(&self) -> impl Iterator<Item = SecretString> {
        self.0.iter().map(|key| key.to_secret_text().into())
    }

    /// Name of the installation.
    #[must_use]
    pub fn name(&self) -> &KeyName {
        let key = self.0.first().expect("`check` returns no empty list");
        key.verifier().name()
    }

    /// Signs the head of a log with every key, each under the name of the log.
    #[must_use]
    pub fn sign(&self, checkpoint: Checkpoint) -> SignedCheckpoint {
        let origin = checkpoint.origin.clone();
        let mut keys = self.0.iter().map(|key| key.with_name(origin.clone()));
        let first = keys.next().expect("`check` returns no empty list");
        let mut signed = checkpoint.sign(&first);
        for key in keys {
            signed.sign(&key).expect("a checkpoint takes more signatures than there are keys");
        }
        signed
    }

    fn check(keys: Vec<SignerKey>) -> Result<Self, LogKeysProblem> {
        if keys.is_empty() || keys.len() > KEYS_MAX {
            return Err(LogKeysProblem::Count(keys.len()));
        }
        for (index, key) in keys.iter().enumerate() {
            let (number, verifier) = (index + 1, key.verifier());
            if verifier.name().as_str().len() > NAME_BYTES_MAX {
                return Err(LogKeysProblem::Name { number });
            }
            if verifier.name() != keys[0].verifier().name() {
                return Err(LogKeysProblem::OtherName { number });
            }
            if keys[..index].iter().any(|earlier| earlier.verifier() == verifier) {
                return Err(LogKeysProblem::Twice { number });
            }
        }
        Ok(Self(keys.into()))
    }
}

impl FromStr for LogKeys {
    type Err = LogKeysProblem;

    /// Reads keys separated by commas or white space.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let words =
            text.split(|char: char| char == ',' || char.is_whitespace()).filter(|word| !word.is_empty());
        let keys = words.enumerate().map(|(index, word)| {
            SignerKey::parse(word).map_err(|problem| LogKeysProblem::NotAKey { number: index + 1, problem })
        });
        Self::check(keys.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use evidence::tree::{Hash, TreeHead};

    use super::*;

    fn key(name: &str, seed: u8) -> SignerKey {
        SignerKey::from_seed(name.parse().unwrap(), &[seed; 32])
    }

    fn parse(keys: &[SignerKey]) -> Result<LogKeys, LogKeysProblem> {
        keys.iter().map(SignerKey::to_secret_text).collect::<Vec<_>>().join(",\n").parse()
    }

    #[test]
    fn every_key_signs_under_the_name_of_the_log() {
        let (one, two) = (key("example.com", 1), key("example.com", 2));
        let keys = parse(&[one.clone(), two.clone()]).unwrap();
        let origin: KeyName = "example.com/log/7".parse().unwrap();
        let tree = TreeHead { size: 0, root: Hash::EMPTY_ROOT };
        let signed = keys.sign(Checkpoint { origin: origin.clone(), tree });
        for key in [one, two] {
            assert_eq!(signed.verify_log(&[key.verifier().with_name(origin.clone())]).unwrap().len(), 1);
            assert!(signed.verify_log(&[key.verifier().clone()]).is_err());
        }
    }

    #[test]
    fn keys_of_different_logs_and_repeated_ones_are_refused() {
        let refused = |keys: &[SignerKey]| parse(keys).unwrap_err();
        let one = key("example.com", 1);
        assert_eq!(refused(&[one.clone(), key("example.org", 1)]), LogKeysProblem::OtherName { number: 2 });
        assert_eq!(refused(&[one.clone(), one.clone()]), LogKeysProblem::Twice { number: 2 });
        assert_eq!(refused(&[key(&"a".repeat(181), 1)]), LogKeysProblem::Name { number: 1 });
        assert_eq!(refused(&[]), LogKeysProblem::Count(0));
    }

    #[test]
    fn neither_the_list_nor_an_error_contains_a_private_key() {
        let text = key("example.com", 1).to_secret_text();
        let private = text.rsplit('+').next().unwrap();
        let keys: LogKeys = text.parse().unwrap();
        assert!(!format!("{keys:?}").contains(private));
        let damaged = text.replace("PRIVATE+KEY+", "PRIVATE+KEY+x");
        let problem = damaged.parse::<LogKeys>().unwrap_err();
        assert!(matches!(problem, LogKeysProblem::NotAKey { number: 1, .. }), "{problem:?}");
        assert!(!format!("{problem}{problem:?}").contains(private));
    }
}
