//! Checkpoints: signed tree heads (C2SP tlog-checkpoint v1.0.0).
//!
//! ```text
//! example.com/behind-the-sofa
//! 20852163
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
//! ```
//!
//! The standard allows more lines and discourages them; here a checkpoint has exactly three. The origin must be a valid
//! name of a key, because the key of a log has the name of the log.

use std::fmt;

use thiserror::Error;

use crate::decimal;
use crate::note::{
    KeyName, KeyNameError, KeyType, Note, NoteError, NoteSignature, SignerKey, Verified, VerifierKey,
    VerifyError,
};
use crate::tree::{Hash, TREE_SIZE_MAX, TreeHead};

/// Reason why a text is not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("a checkpoint must have exactly three lines before its signatures")]
    Lines,
    #[error("line 1: the origin {0}")]
    Origin(KeyNameError),
    #[error("line 2: the size must be a decimal number of at most {TREE_SIZE_MAX}, without leading zeros")]
    Size,
    #[error("line 3: the root hash must be the base64 of 32 bytes")]
    Root,
}

/// Tree head of a log, unsigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: KeyName,
    pub tree: TreeHead,
}

impl Checkpoint {
    /// Returns the text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.tree.size, self.tree.root)
    }

    /// Parses the text of a checkpoint.
    ///
    /// # Errors
    ///
    /// The line that is wrong.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let mut line = || lines.next().ok_or(CheckpointError::Lines);
        let (origin, size, root, end) = (line()?, line()?, line()?, line()?);
        if !end.is_empty() || lines.next().is_some() {
            return Err(CheckpointError::Lines);
        }
        let origin = origin.parse().map_err(CheckpointError::Origin)?;
        let size = decimal::parse(size).ok_or(CheckpointError::Size)?;
        let root: Hash = root.parse().map_err(|_| CheckpointError::Root)?;
        Ok(Self { origin, tree: TreeHead { size, root } })
    }

    /// Signs the checkpoint with a key of the log. During a rotation [`SignedCheckpoint::sign`] adds that of the next.
    #[must_use]
    pub fn sign(self, key: &SignerKey) -> SignedCheckpoint {
        let note = Note::sign(self.text(), key).expect("the text of a checkpoint is one of a note");
        SignedCheckpoint { checkpoint: self, note }
    }
}

/// Checkpoint with signatures, which need not be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl SignedCheckpoint {
    /// Parses a signed note whose text is a checkpoint. The signatures are not verified.
    ///
    /// # Errors
    ///
    /// The line that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::parse(bytes)?;
        Ok(Self { checkpoint: Checkpoint::parse(note.text())?, note })
    }

    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Adds the signature of another key of the log.
    ///
    /// # Errors
    ///
    /// There are too many signatures.
    pub fn sign(&mut self, key: &SignerKey) -> Result<(), NoteError> {
        self.note.add_signature(key)
    }

    /// Adds the cosignature of a witness.
    ///
    /// # Errors
    ///
    /// There are too many signatures.
    pub fn add(&mut self, cosignature: NoteSignature) -> Result<(), NoteError> {
        self.note.add(cosignature)
    }

    /// Verifies that the log has signed: with a key whose name is the origin and which signs notes.
    ///
    /// # Errors
    ///
    /// A signature of such a key does not verify, or there is none.
    pub fn verify_log<'a>(&self, keys: &'a [VerifierKey]) -> Result<Vec<Verified<'a>>, VerifyError> {
        let of_log =
            |key: &&VerifierKey| key.key_type() == KeyType::Note && *key.name() == self.checkpoint.origin;
        self.note.verify(keys.iter().filter(of_log).collect::<Vec<_>>())
    }
}

impl fmt::Display for SignedCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.note.fmt(f)
    }
}

/// Returns what a witness signs: two lines before the text of the checkpoint (C2SP tlog-cosignature v1.0.1, section
/// "Ed25519 signed message").
pub(crate) fn cosigned_message(text: &str, timestamp: u64) -> String {
    format!("cosignature/v1\ntime {timestamp}\n{text}")
}
