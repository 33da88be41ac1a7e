//! Proofs that an entry is in a log, for offline verification (C2SP tlog-proof, which has no version yet: as of
//! commit 5ba5ee8).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! index 73894
//! gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=
//! B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=
//!
//! example.com/fancylog
//! 109482
//! sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=
//!
//! — example.com/fancylog hI2DJw...
//! ```

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::decimal;
use crate::hash_lines::{self, HashLinesError};
use crate::policy::{Distrust, Policy, Trusted};
use crate::tree::{Hash, InclusionError, verify_inclusion};

/// Maximum length of a proof, in bytes.
pub const PROOF_BYTES_MAX: usize = 512 * 1024;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Reason why bytes are not a proof.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProofError {
    #[error("a proof has at most {PROOF_BYTES_MAX} bytes, not {0}")]
    Length(usize),
    #[error("lines of UTF-8 and an empty line must precede the checkpoint")]
    NoCheckpoint,
    #[error("line 1: a proof must begin with `{HEADER}`")]
    Header,
    #[error("line 2: the extra data must be base64")]
    Extra,
    #[error("line {0}: the index must be `index` and a decimal number without leading zeros")]
    Index(usize),
    #[error(transparent)]
    Hashes(#[from] HashLinesError),
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
}

/// Reason why a proof does not prove that an entry is in a log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProofFailure {
    #[error(transparent)]
    Distrust(#[from] Distrust),
    #[error(transparent)]
    Inclusion(#[from] InclusionError),
}

/// Proof that an entry is in a log. It can be verified without the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogProof {
    /// Data of the application, which the proof does not authenticate.
    pub extra: Option<Vec<u8>>,
    /// Index of the entry, from 0.
    pub index: u64,
    /// From the sibling of the leaf upwards.
    pub path: Vec<Hash>,
    pub checkpoint: SignedCheckpoint,
}

impl LogProof {
    /// Parses a proof. It is not verified.
    ///
    /// # Errors
    ///
    /// The line that is wrong. Lines of the checkpoint are counted from its first.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::Length(bytes.len()));
        }
        let (lines, checkpoint) = hash_lines::split(bytes).ok_or(ProofError::NoCheckpoint)?;
        let mut lines = lines.peekable();
        lines.next_if_eq(&(1, HEADER)).ok_or(ProofError::Header)?;
        let extra = lines.next_if(|(_, line)| line.starts_with("extra "));
        let extra =
            extra.map(|(_, line)| STANDARD.decode(&line["extra ".len()..]).map_err(|_| ProofError::Extra));
        let extra = extra.transpose()?;
        let (number, line) = lines.next().ok_or(ProofError::Index(2))?;
        let index = line.strip_prefix("index ").and_then(decimal::parse).ok_or(ProofError::Index(number))?;
        let path = hash_lines::parse(lines)?;
        Ok(Self { extra, index, path, checkpoint: SignedCheckpoint::parse(checkpoint)? })
    }

    /// Verifies that an entry is in a log that the policy trusts.
    ///
    /// # Errors
    ///
    /// The policy does not trust the checkpoint, or the entry is not at the index.
    pub fn verify<'a>(&self, entry: &[u8], policy: &'a Policy) -> Result<Trusted<'a>, ProofFailure> {
        let trusted = policy.check(&self.checkpoint)?;
        let tree = &self.checkpoint.checkpoint().tree;
        verify_inclusion(Hash::of_leaf(entry), self.index, &self.path, tree)?;
        Ok(trusted)
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}
