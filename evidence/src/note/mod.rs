//! Signed notes: a text and the signatures of one or more keys (C2SP signed-note v1.0.0).
//!
//! `signed_note` 0.2 offers the same without cosignatures, with errors that do not say what is malformed, and with a
//! verification that accepts keys of small order. So this is our own, on `ed25519-dalek`.

mod keys;
mod signature;

use std::collections::HashSet;
use std::fmt;

use thiserror::Error;

pub use keys::{
    CosignerKey, KEY_NAME_BYTES_MAX, KeyError, KeyName, KeyNameError, KeyType, SignerKey, VerifierKey,
};
pub use signature::{NoteSignature, SignatureError};

/// Maximum length of a note, in bytes.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;
/// Maximum number of signatures of a note.
pub const SIGNATURES_MAX: usize = 64;

/// Reason why bytes are not a note.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    #[error("a note has at most {NOTE_BYTES_MAX} bytes, not {0}")]
    Length(usize),
    #[error("byte {0} is not UTF-8")]
    Utf8(usize),
    #[error("byte {0} is a control character")]
    ControlCharacter(usize),
    #[error("the text of a note must end with a line feed")]
    UnfinishedText,
    #[error("an empty line must separate the text from the signatures")]
    NoSignatures,
    #[error("the last line must end with a line feed")]
    UnfinishedLine,
    #[error("a note has at most {SIGNATURES_MAX} signatures")]
    SignatureCount,
    #[error("line {line}: {problem}")]
    Signature { line: usize, problem: SignatureError },
}

/// Reason why the signatures of a note do not suffice.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    #[error("the signature of {name} with key {key_id:08x} does not verify")]
    Invalid { name: KeyName, key_id: u32 },
    #[error("no known key has signed the note")]
    NoKnownKey,
}

/// Signature of a known key that verifies.
#[derive(Clone, Copy, Debug)]
pub struct Verified<'a> {
    pub key: &'a VerifierKey,
    /// When a witness made it, in seconds since 1970 by the clock of the witness. `None` if it is no cosignature.
    pub timestamp: Option<u64>,
}

/// Text with signatures, which need not be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Signs a text with the first key; [`Self::add_signature`] adds those of others.
    ///
    /// # Errors
    ///
    /// A text without line feed at its end, with control characters, or too long.
    pub fn sign(text: String, key: &SignerKey) -> Result<Self, NoteError> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Length(text.len()));
        }
        check_characters(&text)?;
        if !text.ends_with('\n') {
            return Err(NoteError::UnfinishedText);
        }
        let signatures = vec![key.sign(&text)];
        Ok(Self { text, signatures })
    }

    /// Parses a note. The signatures are not verified.
    ///
    /// # Errors
    ///
    /// The first rule of the format that the bytes break, and where.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Length(bytes.len()));
        }
        let note = std::str::from_utf8(bytes).map_err(|error| NoteError::Utf8(error.valid_up_to()))?;
        check_characters(note)?;
        let end = note.rfind("\n\n").ok_or(NoteError::NoSignatures)? + 1;
        let (text, block) = (&note[..end], &note[end + 1..]);
        let lines_before = text.matches('\n').count() + 1;
        let signatures = parse_signatures(block).map_err(|error| match error {
            NoteError::Signature { line, problem } => {
                NoteError::Signature { line: lines_before + line, problem }
            }
            other => other,
        })?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, including the line feed at its end.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds the signature of another key.
    ///
    /// # Errors
    ///
    /// As [`Self::add`].
    pub fn add_signature(&mut self, key: &SignerKey) -> Result<(), NoteError> {
        self.add(key.sign(&self.text))
    }

    /// Adds a signature, in place of an earlier one of the same key.
    ///
    /// # Errors
    ///
    /// The note would have more than [`SIGNATURES_MAX`] signatures.
    pub fn add(&mut self, signature: NoteSignature) -> Result<(), NoteError> {
        self.signatures.retain(|known| !known.is_of_same_key(&signature));
        if self.signatures.len() == SIGNATURES_MAX {
            return Err(NoteError::SignatureCount);
        }
        self.signatures.push(signature);
        Ok(())
    }

    /// Returns the signatures of known keys, one for each key. Signatures of other keys are ignored.
    ///
    /// # Errors
    ///
    /// The signature of a known key does not verify, or there is none.
    pub fn verify<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a VerifierKey> + Clone,
    ) -> Result<Vec<Verified<'a>>, VerifyError> {
        let mut seen = HashSet::new();
        let mut verified = vec![];
        for signature in &self.signatures {
            let Some(key) = keys.clone().into_iter().find(|key| signature.claims(key)) else { continue };
            let timestamp = key
                .verify(&self.text, signature)
                .ok_or_else(|| VerifyError::Invalid { name: key.name().clone(), key_id: key.id() })?;
            if seen.insert((key.name(), key.id())) {
                verified.push(Verified { key, timestamp });
            }
        }
        if verified.is_empty() { Err(VerifyError::NoKnownKey) } else { Ok(verified) }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// Parses signature lines without a text, such as the answer of a witness.
///
/// # Errors
///
/// There is none, there are too many, or a line is not a signature.
pub fn parse_signatures(block: &str) -> Result<Vec<NoteSignature>, NoteError> {
    let lines = block.strip_suffix('\n');
    let lines =
        lines.ok_or(if block.is_empty() { NoteError::NoSignatures } else { NoteError::UnfinishedLine })?;
    let mut signatures = vec![];
    for (line, text) in (1..).zip(lines.split('\n')) {
        if line > SIGNATURES_MAX {
            return Err(NoteError::SignatureCount);
        }
        signatures.push(text.parse().map_err(|problem| NoteError::Signature { line, problem })?);
    }
    Ok(signatures)
}

fn check_characters(text: &str) -> Result<(), NoteError> {
    match text.bytes().position(|byte| byte < b' ' && byte != b'\n') {
        Some(index) => Err(NoteError::ControlCharacter(index)),
        None => Ok(()),
    }
}
