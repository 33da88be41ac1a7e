//! Policies: which logs are trusted, and which witnesses must have cosigned a checkpoint (C2SP tlog-policy, which
//! has no version yet: as of commit 5ba5ee8).
//!
//! ```text
//! log <vkey>
//! witness A <vkey>
//! witness B <vkey>
//! group both all A B
//! quorum both
//! ```

mod parse;

use thiserror::Error;

use crate::checkpoint::SignedCheckpoint;
use crate::note::{Verified, VerifierKey, VerifyError};

pub use parse::{POLICY_BYTES_MAX, PolicyError, PolicyProblem};

/// Witness that a policy knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Name within the policy. It need not be UTF-8.
    pub name: Vec<u8>,
    pub key: VerifierKey,
    /// By convention the prefix of its `add-checkpoint`.
    pub url: Option<Vec<u8>>,
}

/// Index of a witness or of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    /// Number of members that must have witnessed a checkpoint.
    threshold: usize,
    /// Groups are those before this one.
    members: Vec<Member>,
}

/// Rule that decides whether a checkpoint is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    /// `None` if no witness is required.
    quorum: Option<Member>,
}

/// Reason why a policy does not trust a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Distrust {
    #[error("no log of the policy has signed the checkpoint: {0}")]
    Log(VerifyError),
    #[error("a witness: {0}")]
    Witness(VerifyError),
    #[error("the {cosigned} witnesses that cosigned the checkpoint are not the quorum of the policy")]
    Quorum { cosigned: usize },
}

/// Signatures of a checkpoint that a policy trusts.
#[derive(Clone, Debug)]
pub struct Trusted<'a> {
    /// Signatures of the log, at least one.
    pub log: Vec<Verified<'a>>,
    /// Cosignatures of witnesses that the policy knows, more than the quorum perhaps.
    pub witnesses: Vec<Verified<'a>>,
}

impl Policy {
    /// Returns the policy that trusts these keys of logs and requires no witness.
    #[must_use]
    pub fn without_witnesses(logs: Vec<VerifierKey>) -> Self {
        Self { logs, ..Self::default() }
    }

    /// Parses a policy file.
    ///
    /// # Errors
    ///
    /// The line that is wrong, and why.
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        parse::parse(bytes)
    }

    /// Trusts another key of a log. A policy file may leave the logs to its reader.
    pub fn add_log(&mut self, key: VerifierKey) {
        self.logs.push(key);
    }

    #[must_use]
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Checks that a log of the policy has signed a checkpoint, and that enough witnesses have.
    ///
    /// # Errors
    ///
    /// A signature is missing, or the signature of a key that the policy knows does not verify.
    pub fn check(&self, checkpoint: &SignedCheckpoint) -> Result<Trusted<'_>, Distrust> {
        let log = checkpoint.verify_log(&self.logs).map_err(Distrust::Log)?;
        Ok(Trusted { log, witnesses: self.check_witnesses(checkpoint)? })
    }

    /// Whether witnesses must have cosigned a checkpoint: the quorum is not `none`.
    #[must_use]
    pub fn requires_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Checks that enough witnesses have cosigned a checkpoint, and not who has signed it. This is for the log itself.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub fn check_witnesses(&self, checkpoint: &SignedCheckpoint) -> Result<Vec<Verified<'_>>, Distrust> {
        let keys = self.witnesses.iter().map(|witness| &witness.key);
        let witnesses = match checkpoint.note().verify(keys) {
            Ok(verified) => verified,
            Err(VerifyError::NoKnownKey) => vec![],
            Err(invalid) => return Err(Distrust::Witness(invalid)),
        };
        let cosigned = |witness: &Witness| witnesses.iter().any(|verified| *verified.key == witness.key);
        if !self.is_quorum(cosigned) {
            return Err(Distrust::Quorum { cosigned: witnesses.len() });
        }
        Ok(witnesses)
    }

    fn is_quorum(&self, cosigned: impl Fn(&Witness) -> bool) -> bool {
        let mut groups: Vec<bool> = vec![];
        let has_witnessed = |groups: &[bool], member: &Member| match *member {
            Member::Witness(index) => cosigned(&self.witnesses[index]),
            Member::Group(index) => groups[index],
        };
        for group in &self.groups {
            let count = group.members.iter().filter(|member| has_witnessed(&groups, member)).count();
            groups.push(count >= group.threshold);
        }
        self.quorum.is_none_or(|quorum| has_witnessed(&groups, &quorum))
    }
}
