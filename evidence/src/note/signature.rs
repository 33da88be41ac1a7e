//! Signature lines.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use super::{KeyName, KeyNameError, VerifierKey};

/// Reason why a line is not a signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    #[error("a signature must begin with an em dash and a space")]
    Dash,
    #[error("a space must separate the name of the key from the signature")]
    Parts,
    #[error("the name of the key {0}")]
    Name(#[from] KeyNameError),
    #[error("the signature must be base64 of a key id of four bytes and at least one byte more")]
    Bytes,
}

/// Signature of a note as it is in its line: `— <name> <base64 of key id and signature>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    pub(super) name: KeyName,
    pub(super) key_id: u32,
    pub(super) bytes: Vec<u8>,
}

impl NoteSignature {
    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// The signature without the key id. Its form follows from the type of the key.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the signature is said to be of this key.
    #[must_use]
    pub fn claims(&self, key: &VerifierKey) -> bool {
        (&self.name, self.key_id) == (key.name(), key.id())
    }

    pub(super) fn is_of_same_key(&self, other: &Self) -> bool {
        (&self.name, self.key_id) == (&other.name, other.key_id)
    }
}

impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.key_id.to_be_bytes(), self.bytes.as_slice()].concat();
        write!(f, "— {} {}", self.name, STANDARD.encode(bytes))
    }
}

impl FromStr for NoteSignature {
    type Err = SignatureError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let line = line.strip_prefix("— ").ok_or(SignatureError::Dash)?;
        let (name, base64) = line.split_once(' ').ok_or(SignatureError::Parts)?;
        let bytes = STANDARD.decode(base64).map_err(|_| SignatureError::Bytes)?;
        let (key_id, bytes) = bytes.split_first_chunk().ok_or(SignatureError::Bytes)?;
        if bytes.is_empty() {
            return Err(SignatureError::Bytes);
        }
        Ok(Self { name: name.parse()?, key_id: u32::from_be_bytes(*key_id), bytes: bytes.to_vec() })
    }
}
