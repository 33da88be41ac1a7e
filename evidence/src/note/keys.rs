//! Keys of notes and their text forms.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::NoteSignature;
use crate::checkpoint::{Checkpoint, cosigned_message};

/// Maximum length of the name of a key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 255;

/// Reason why a text is not the name of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyNameError {
    #[error("must have 1 to {KEY_NAME_BYTES_MAX} bytes, not {0}")]
    Length(usize),
    #[error("must not contain spaces, control characters or `+`, as its byte {0}")]
    Character(usize),
}

/// Name of a key, by convention a URL without scheme. It is not secret and need not be unique.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName(String);

impl KeyName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        if name.is_empty() || name.len() > KEY_NAME_BYTES_MAX {
            return Err(KeyNameError::Length(name.len()));
        }
        match name.find(|char: char| char == '+' || char.is_whitespace() || char.is_control()) {
            Some(index) => Err(KeyNameError::Character(index)),
            None => Ok(Self(name.to_owned())),
        }
    }
}

/// What a key signs. Both types are Ed25519 (RFC 8032).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// The text of a note. Identifier 0x01.
    Note,
    /// A checkpoint and the time: cosignature/v1 (C2SP tlog-cosignature v1.0.1). Identifier 0x04.
    Cosignature,
}

impl KeyType {
    fn identifier(self) -> u8 {
        match self {
            Self::Note => 0x01,
            Self::Cosignature => 0x04,
        }
    }

    fn from_identifier(identifier: u8) -> Option<Self> {
        [Self::Note, Self::Cosignature].into_iter().find(|known| known.identifier() == identifier)
    }
}

/// Reason why a text is not a key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    #[error(
        "a public key must be `<name>+<key id>+<base64>`, and a private one `PRIVATE+KEY+` and the same parts"
    )]
    Parts,
    #[error("the name {0}")]
    Name(#[from] KeyNameError),
    #[error("the key id must be eight lowercase hexadecimal digits")]
    Id,
    #[error("the key id is {found:08x}, but that of this name and key is {expected:08x}")]
    OtherId { expected: u32, found: u32 },
    #[error("the last part must be base64 of a type of one byte and a key of 32 bytes")]
    Bytes,
    #[error("the key has type {0:#04x}, which is not supported here")]
    Type(u8),
    #[error("the public key is not a point of the curve, or has a small order")]
    Point,
}

/// Public key that verifies signatures of notes. Its text form is a vkey: `<name>+<key id>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: KeyName,
    id: u32,
    key_type: KeyType,
    key: VerifyingKey,
}

impl VerifierKey {
    fn new(name: KeyName, key_type: KeyType, key: VerifyingKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(name.as_str());
        hash.update([b'\n', key_type.identifier()]);
        hash.update(key.as_bytes());
        let [a, b, c, d, ..]: [u8; 32] = hash.finalize().into();
        Self { name, id: u32::from_be_bytes([a, b, c, d]), key_type, key }
    }

    #[must_use]
    pub fn name(&self) -> &KeyName {
        &self.name
    }

    /// First four bytes of the SHA-256 of name, type and key, which tell keys with the same name apart.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    #[must_use]
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The key itself. In one policy it must not serve under two names or as two types.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// Returns the same key as that of another log, for an operator whose logs have one key. The first line of
    /// a checkpoint is the name of its log, so a checkpoint of one log is none of another.
    #[must_use]
    pub fn with_name(&self, name: KeyName) -> Self {
        Self::new(name, self.key_type, self.key)
    }

    /// Returns the timestamp of the signature, which only a cosignature has, or `None` if the signature is not one of
    /// this key over this text.
    pub(super) fn verify(&self, text: &str, signature: &NoteSignature) -> Option<Option<u64>> {
        match self.key_type {
            KeyType::Note => self.verify_message(text, signature.bytes()).then_some(None),
            KeyType::Cosignature => {
                let (timestamp, bytes) = signature.bytes().split_first_chunk()?;
                let timestamp = u64::from_be_bytes(*timestamp);
                let valid = i64::try_from(timestamp).is_ok()
                    && self.verify_message(&cosigned_message(text, timestamp), bytes);
                valid.then_some(Some(timestamp))
            }
        }
    }

    fn verify_message(&self, message: &str, signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.key.verify_strict(message.as_bytes(), &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, self, self.key.as_bytes())
    }
}

fn write_key(f: &mut impl fmt::Write, verifier: &VerifierKey, key: &[u8; 32]) -> fmt::Result {
    let bytes = [&[verifier.key_type.identifier()], key.as_slice()].concat();
    write!(f, "{}+{:08x}+{}", verifier.name, verifier.id, STANDARD.encode(bytes))
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(vkey: &str) -> Result<Self, Self::Err> {
        let parts = KeyParts::parse(vkey)?;
        let key = VerifyingKey::from_bytes(&parts.key).ok().filter(|key| !key.is_weak());
        let verifier = Self::new(parts.name, parts.key_type, key.ok_or(KeyError::Point)?);
        check_id(verifier.id, parts.id)?;
        Ok(verifier)
    }
}

fn check_id(expected: u32, found: u32) -> Result<(), KeyError> {
    if expected == found { Ok(()) } else { Err(KeyError::OtherId { expected, found }) }
}

/// What the text of a public and of a private key have in common.
struct KeyParts {
    name: KeyName,
    id: u32,
    key_type: KeyType,
    key: [u8; 32],
}

impl KeyParts {
    fn parse(text: &str) -> Result<Self, KeyError> {
        let (name, rest) = text.split_once('+').ok_or(KeyError::Parts)?;
        let (id, key) = rest.split_once('+').ok_or(KeyError::Parts)?;
        let hexadecimal = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if id.len() != 8 || !hexadecimal {
            return Err(KeyError::Id);
        }
        let id = u32::from_str_radix(id, 16).map_err(|_| KeyError::Id)?;
        let bytes = STANDARD.decode(key).map_err(|_| KeyError::Bytes)?;
        let (&identifier, key) = bytes.split_first().ok_or(KeyError::Bytes)?;
        let key_type = KeyType::from_identifier(identifier).ok_or(KeyError::Type(identifier))?;
        let key = key.try_into().map_err(|_| KeyError::Bytes)?;
        Ok(Self { name: name.parse()?, id, key_type, key })
    }
}

#[derive(Clone)]
struct PrivateKey {
    key: SigningKey,
    verifier: VerifierKey,
}

impl PrivateKey {
    fn from_seed(name: KeyName, key_type: KeyType, seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        Self { verifier: VerifierKey::new(name, key_type, key.verifying_key()), key }
    }

    fn parse(text: &str, key_type: KeyType) -> Result<Self, KeyError> {
        let parts = KeyParts::parse(text.strip_prefix("PRIVATE+KEY+").ok_or(KeyError::Parts)?)?;
        if parts.key_type != key_type {
            return Err(KeyError::Type(parts.key_type.identifier()));
        }
        let key = Self::from_seed(parts.name, parts.key_type, &parts.key);
        check_id(key.verifier.id, parts.id)?;
        Ok(key)
    }

    fn to_secret_text(&self) -> String {
        let mut text = "PRIVATE+KEY+".to_owned();
        write_key(&mut text, &self.verifier, self.key.as_bytes()).expect("a string takes any text");
        text
    }

    fn sign(&self, message: &str) -> [u8; 64] {
        self.key.sign(message.as_bytes()).to_bytes()
    }

    fn signature(&self, bytes: Vec<u8>) -> NoteSignature {
        NoteSignature { name: self.verifier.name.clone(), key_id: self.verifier.id, bytes }
    }
}

/// Methods that both kinds of private keys have.
macro_rules! private_key {
    ($name:ident, $key_type:expr) => {
        impl $name {
            /// Makes a key of 32 random bytes.
            #[must_use]
            pub fn from_seed(name: KeyName, seed: &[u8; 32]) -> Self {
                Self(PrivateKey::from_seed(name, $key_type, seed))
            }

            /// Parses `PRIVATE+KEY+<name>+<key id>+<base64>`, the form of Go's `sumdb/note`.
            ///
            /// # Errors
            ///
            /// What is wrong with the text, without the key.
            pub fn parse(text: &str) -> Result<Self, KeyError> {
                PrivateKey::parse(text, $key_type).map(Self)
            }

            /// Returns the form that [`Self::parse`] reads. It is secret.
            #[must_use]
            pub fn to_secret_text(&self) -> String {
                self.0.to_secret_text()
            }

            #[must_use]
            pub fn verifier(&self) -> &VerifierKey {
                &self.0.verifier
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}, ..)", stringify!($name), self.0.verifier)
            }
        }
    };
}

/// Private key of a log, which signs notes.
#[derive(Clone)]
pub struct SignerKey(PrivateKey);

private_key!(SignerKey, KeyType::Note);

impl SignerKey {
    /// Returns the same key as that of another log: see [`VerifierKey::with_name`].
    #[must_use]
    pub fn with_name(&self, name: KeyName) -> Self {
        let PrivateKey { key, verifier } = &self.0;
        Self(PrivateKey { key: key.clone(), verifier: verifier.with_name(name) })
    }

    /// Signs the text of a note.
    pub(super) fn sign(&self, text: &str) -> NoteSignature {
        self.0.signature(self.0.sign(text).to_vec())
    }
}

/// Private key of a witness, which cosigns checkpoints.
#[derive(Clone)]
pub struct CosignerKey(PrivateKey);

private_key!(CosignerKey, KeyType::Cosignature);

impl CosignerKey {
    /// Cosigns a checkpoint. `timestamp` is the time now, in seconds since 1970.
    #[must_use]
    pub fn cosign(&self, checkpoint: &Checkpoint, timestamp: u64) -> NoteSignature {
        let message = cosigned_message(&checkpoint.text(), timestamp);
        self.0.signature([timestamp.to_be_bytes().as_slice(), &self.0.sign(&message)].concat())
    }
}
