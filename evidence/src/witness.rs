//! Witness: cosigns the checkpoints of logs that only grow (C2SP tlog-witness v1.0.0, `add-checkpoint`).
//!
//! A log sends an [`AddCheckpoint`], and reads the answer with [`AddCheckpoint::accept`] and [`parse_size`].
//! [`AddCheckpoint::decide`] is what the witness does. It is a function of the request and of what is stored. The caller stores the tree head that it
//! returns, on the condition that the stored one is still the same, before it sends the answer: otherwise two requests
//! at the same time could be cosigned for two histories.

use std::fmt;

use thiserror::Error;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::decimal;
use crate::hash_lines::{self, HashLinesError};
use crate::note::{
    CosignerKey, KeyName, NOTE_BYTES_MAX, NoteError, NoteSignature, VerifierKey, VerifyError,
    parse_signatures,
};
use crate::tree::{ConsistencyError, Hash, TreeHead, verify_consistency};

/// Maximum length of the body of a request, in bytes.
pub const ADD_CHECKPOINT_BYTES_MAX: usize = NOTE_BYTES_MAX + 4 * 1024;

/// Reason why bytes are not the body of a request. The status of the answer is 400.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddCheckpointError {
    #[error("the body has at most {ADD_CHECKPOINT_BYTES_MAX} bytes, not {0}")]
    Length(usize),
    #[error("lines of UTF-8 and an empty line must precede the checkpoint")]
    NoCheckpoint,
    #[error("line 1: the old size must be `old` and a decimal number without leading zeros")]
    OldSize,
    #[error(transparent)]
    Hashes(#[from] HashLinesError),
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
}

/// Reason why a checkpoint is not cosigned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the log is not known here")]
    UnknownLog,
    #[error("the log has not signed the checkpoint: {0}")]
    Unsigned(VerifyError),
    #[error("the old size {old} is larger than the size {size} of the checkpoint")]
    OldSize { old: u64, size: u64 },
    #[error("the latest cosigned checkpoint has size {size}")]
    Conflict { size: u64 },
    #[error("the latest cosigned checkpoint has the same size {size} and another root")]
    OtherRoot { size: u64 },
    #[error("the checkpoint does not follow the latest cosigned one: {0}")]
    Inconsistent(#[from] ConsistencyError),
}

impl Refusal {
    /// Status of the HTTP answer. The body of a 409 is the size and a line feed, with `Content-Type`
    /// `text/x.tlog.size`.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownLog => 404,
            Self::Unsigned(_) => 403,
            Self::OldSize { .. } => 400,
            Self::Conflict { .. } | Self::OtherRoot { .. } => 409,
            Self::Inconsistent(_) => 422,
        }
    }
}

/// Decision to cosign a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    /// To be stored in place of the latest one of this log before the answer is sent.
    pub tree: TreeHead,
    /// Line of the answer, without line feed.
    pub cosignature: NoteSignature,
}

/// Reason why an answer with status 200 has no cosignature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AnswerError {
    #[error("the answer is no list of signatures: {0}")]
    Signatures(#[from] NoteError),
    #[error("no signature in the answer is of the key {name}+{key_id:08x}")]
    OtherKey { name: KeyName, key_id: u32 },
    #[error(transparent)]
    Invalid(#[from] VerifyError),
}

/// Cosignature of a witness that verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub cosignature: NoteSignature,
    /// In seconds since 1970, by the clock of the witness.
    pub timestamp: u64,
}

/// Parses the body of an answer with status 409: the size of the checkpoint that the witness has cosigned last. `None`
/// if it has another form.
#[must_use]
pub fn parse_size(body: &[u8]) -> Option<u64> {
    decimal::parse(std::str::from_utf8(body).ok()?.strip_suffix('\n')?)
}

/// Request to cosign a checkpoint. Its text form is the body of `POST <prefix>/add-checkpoint`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Size of the latest checkpoint that the witness has cosigned, as far as the log knows.
    pub old_size: u64,
    /// Consistency proof from the old size.
    pub proof: Vec<Hash>,
    pub checkpoint: SignedCheckpoint,
}

impl AddCheckpoint {
    /// Parses the body of a request.
    ///
    /// # Errors
    ///
    /// The line that is wrong. Lines of the checkpoint are counted from its first.
    pub fn parse(bytes: &[u8]) -> Result<Self, AddCheckpointError> {
        if bytes.len() > ADD_CHECKPOINT_BYTES_MAX {
            return Err(AddCheckpointError::Length(bytes.len()));
        }
        let (mut lines, checkpoint) = hash_lines::split(bytes).ok_or(AddCheckpointError::NoCheckpoint)?;
        let old_size = lines.next().and_then(|(_, line)| decimal::parse(line.strip_prefix("old ")?));
        Ok(Self {
            old_size: old_size.ok_or(AddCheckpointError::OldSize)?,
            proof: hash_lines::parse(lines)?,
            checkpoint: SignedCheckpoint::parse(checkpoint)?,
        })
    }

    /// Returns the cosignature of a witness from the body of its answer with status 200. Those of other keys are
    /// ignored.
    ///
    /// # Errors
    ///
    /// The answer has no signature of the key over this checkpoint.
    pub fn accept(&self, answer: &[u8], key: &VerifierKey) -> Result<Accepted, AnswerError> {
        let answer = std::str::from_utf8(answer).map_err(|error| NoteError::Utf8(error.valid_up_to()))?;
        let other = || AnswerError::OtherKey { name: key.name().clone(), key_id: key.id() };
        let signatures = parse_signatures(answer)?;
        let cosignature = signatures.into_iter().find(|line| line.claims(key)).ok_or_else(other)?;
        let mut checkpoint = self.checkpoint.clone();
        checkpoint.add(cosignature.clone())?;
        let verified = checkpoint.note().verify([key])?;
        let timestamp = verified.first().and_then(|verified| verified.timestamp).ok_or_else(other)?;
        Ok(Accepted { cosignature, timestamp })
    }

    /// Decides whether a witness cosigns.
    ///
    /// `logs` are the keys of all known logs; the name of each is the origin of its log. `latest` is the tree head that
    /// was cosigned last for the origin of this checkpoint. `now` is the time in seconds since 1970.
    ///
    /// # Errors
    ///
    /// The first check of the standard that fails, in its order.
    pub fn decide(
        &self,
        logs: &[VerifierKey],
        latest: Option<TreeHead>,
        key: &CosignerKey,
        now: u64,
    ) -> Result<Cosigned, Refusal> {
        let checkpoint = self.checkpoint.checkpoint();
        if !logs.iter().any(|log| *log.name() == checkpoint.origin) {
            return Err(Refusal::UnknownLog);
        }
        self.checkpoint.verify_log(logs).map_err(Refusal::Unsigned)?;
        let tree = checkpoint.tree;
        if self.old_size > tree.size {
            return Err(Refusal::OldSize { old: self.old_size, size: tree.size });
        }
        let latest = latest.unwrap_or(TreeHead { size: 0, root: Hash::EMPTY_ROOT });
        if self.old_size != latest.size {
            return Err(Refusal::Conflict { size: latest.size });
        }
        if latest.size == tree.size && latest.root != tree.root && tree.size > 0 {
            return Err(Refusal::OtherRoot { size: tree.size });
        }
        verify_consistency(&latest, &tree, &self.proof)?;
        Ok(Cosigned { tree, cosignature: key.cosign(checkpoint, now) })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
