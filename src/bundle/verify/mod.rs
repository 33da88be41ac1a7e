//! Verification of a bundle, offline. Everything in it is untrusted.
//!
//! The bundle is read several times and never unpacked. The first pass checks the form of the archive and keeps what is
//! small: manifest, checkpoints, proofs, and the tiles from which the root of each log follows. Then facts, full tiles of
//! level 0 and payloads are read one after another, each from a pass of its own, because they have the same order.

mod entries;
mod facts;
mod members;
mod survey;

use std::io;
use std::path::Path;

use evidence::note::VerifierKey;
use evidence::policy::Policy;
use thiserror::Error;

use super::report::{BadPosition, Report};

/// Whom a verifier trusts.
#[derive(Clone, Debug)]
pub(crate) struct Trust {
    /// Keys of the installation, all with its name. A checkpoint must have the signature of one of them.
    pub(crate) keys: Vec<VerifierKey>,
    /// Witnesses that must have cosigned the checkpoints of the installation's log.
    pub(crate) policy: Option<Policy>,
}

/// Reason why a file could not be checked.
#[derive(Debug, Error)]
pub(crate) enum Unreadable {
    #[error("the file cannot be read")]
    File(#[source] io::Error),
    #[error("the file is not a complete tar.gz archive")]
    Archive(#[source] io::Error),
    #[error("the archive has {0:?}, which no bundle has")]
    Member(String),
    #[error("the archive has {0} twice")]
    Twice(String),
    #[error("{member} has {bytes} bytes, more than {max}")]
    Size { member: String, bytes: u64, max: u64 },
    #[error("the archive has more than {max} {what}")]
    Count { what: &'static str, max: usize },
    #[error("the archive has no {0}, so it is not a complete bundle")]
    Missing(&'static str),
    #[error("manifest.json cannot be read: {0}")]
    Manifest(String),
}

impl Unreadable {
    /// The reader of archives quotes names and fields of the archive, which may have any characters, such as line ends and
    /// control sequences of terminals.
    fn archive(error: io::Error) -> Self {
        let kind = error.kind();
        let quoted = format!("{:#}", anyhow::Error::from(error));
        Self::Archive(io::Error::new(kind, quoted.escape_debug().to_string()))
    }
}

/// Reason why a verification ends early.
enum Failure {
    Unreadable(Unreadable),
    /// Boxed, because it is large.
    Bad(Box<BadPosition>),
}

impl From<Unreadable> for Failure {
    fn from(reason: Unreadable) -> Self {
        Self::Unreadable(reason)
    }
}

impl From<BadPosition> for Failure {
    fn from(position: BadPosition) -> Self {
        Self::Bad(Box::new(position))
    }
}

/// Verifies a bundle.
///
/// # Errors
/// The file is not a bundle that could be checked. A bundle that is wrong is a report.
pub(crate) fn verify(file: &Path, trust: &Trust) -> Result<Report, Unreadable> {
    let survey = survey::survey(file)?;
    let mut report = Report { subject: survey.subject(), ..Report::default() };
    let verified = check(file, &survey, trust, &mut report);
    match verified {
        Ok(()) => report.verified = true,
        Err(Failure::Bad(position)) => report.problems.push(*position),
        Err(Failure::Unreadable(reason)) => return Err(reason),
    }
    Ok(report)
}

fn check(file: &Path, survey: &survey::Survey, trust: &Trust, report: &mut Report) -> Result<(), Failure> {
    report.unsealed_facts = survey.manifest.unsealed_facts;
    let logs = survey.trees(trust)?;
    facts::check(file, survey, logs, report)
}
