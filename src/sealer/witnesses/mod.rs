//! Cosignatures of witnesses for the checkpoints of the installation's log (C2SP tlog-witness v1.0.0, as its client).
//!
//! During a term as leader, every witness of the policy is asked to cosign each new checkpoint, all at the same time. The
//! requests have a deadline, their answers a maximum length, and a cosignature is verified before it is stored. A witness
//! that fails is asked again after a growing pause, by then for the newest checkpoint. No connection to the database is held
//! while a request waits for its answer.
//!
//! When the quorum of the policy has cosigned a checkpoint, it is published: from then on it is the one that is shown.
//! **A checkpoint stays the one to cosign** until its quorum is reached, but not longer than two requests may last.
//! Otherwise witnesses of different speeds would cosign different checkpoints, and none would reach its quorum.
//!
//! **Evidence against this installation.** A witness that has cosigned more entries than the database has, or another root,
//! has seen another history under our key: the database was restored without a new era, or another party signs with the key.
//! That is logged as an error and counted, and asking again changes nothing, so the pauses are long.

mod cosigning;
mod submission;

use std::convert::Infallible;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use evidence::note::VerifierKey;
use evidence::policy::{self, POLICY_BYTES_MAX, Policy, PolicyError};
use sqlx::PgPool;
use thiserror::Error;
use tokio::sync::watch;
use url::Url;

use super::outbound::Outbound;
use super::standing::Standing;
use crate::config::EvidenceSettings;
use cosigning::Cosigning;
use submission::SubmissionFailure;

/// Maximum number of witnesses. With the signatures of the log, a checkpoint must fit in a note.
const WITNESSES_MAX: usize = 32;

/// The witnesses of a policy.
#[derive(Clone, Debug)]
pub struct Witnesses {
    policy: Policy,
    witnesses: Vec<Witness>,
    outbound: Outbound,
}

#[derive(Clone, Debug)]
struct Witness {
    /// Name in the policy, for logs and metrics.
    name: String,
    key: VerifierKey,
    /// Of its `add-checkpoint`.
    url: Url,
}

/// Reason why a policy cannot be used.
#[derive(Debug, Error)]
pub enum WitnessPolicyProblem {
    #[error("{path} cannot be read")]
    File { path: String, source: io::Error },
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("the policy has no witness")]
    NoWitness,
    #[error("the policy has more than {WITNESSES_MAX} witnesses")]
    TooMany,
    #[error(
        "the witness {0} must have a URL that begins with https:// or http://, without user, query and fragment"
    )]
    Url(String),
    #[error("the HTTP client for witnesses cannot be created")]
    Client(#[from] reqwest::Error),
}

impl Witnesses {
    /// Reads the policy; `None` if none is configured.
    ///
    /// # Errors
    /// See [`WitnessPolicyProblem`].
    pub fn read(settings: &EvidenceSettings) -> Result<Option<Self>, WitnessPolicyProblem> {
        let read = |path: &Path| {
            let bytes = read_file(path)
                .map_err(|source| WitnessPolicyProblem::File { path: path.display().to_string(), source })?;
            Self::of(&bytes, settings.evidence_timeout)
        };
        settings.witness_policy.as_deref().map(read).transpose()
    }

    fn of(policy: &[u8], timeout: Duration) -> Result<Self, WitnessPolicyProblem> {
        let policy = Policy::parse(policy)?;
        match policy.witnesses().len() {
            0 => return Err(WitnessPolicyProblem::NoWitness),
            1..=WITNESSES_MAX => {}
            _ => return Err(WitnessPolicyProblem::TooMany),
        }
        let witnesses = policy.witnesses().iter().map(Witness::of).collect::<Result<_, _>>()?;
        Ok(Self { policy, witnesses, outbound: Outbound::new(timeout)? })
    }

    /// Whether a checkpoint is shown only when some of them have cosigned it.
    pub(super) fn are_required(&self) -> bool {
        self.policy.requires_witnesses()
    }

    /// Asks the witnesses to cosign the checkpoints of a term, until it is dropped.
    pub(super) async fn keep_cosigned(
        &self,
        pool: &PgPool,
        epoch: u64,
        signed: watch::Receiver<()>,
    ) -> Infallible {
        Cosigning::new(self, pool.clone(), epoch).run(signed).await
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = vec![];
    // One byte more, so that a longer file is refused and not cut off.
    std::fs::File::open(path)?.take(POLICY_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Witness {
    fn of(witness: &policy::Witness) -> Result<Self, WitnessPolicyProblem> {
        let name = String::from_utf8_lossy(&witness.name).into_owned();
        let url = witness.url.as_deref().and_then(add_checkpoint);
        match url {
            Some(url) => Ok(Self { name, key: witness.key.clone(), url }),
            None => Err(WitnessPolicyProblem::Url(name)),
        }
    }
}

impl Witness {
    fn has_cosigned(&self, standing: &mut Standing) {
        self.count("cosigned");
        if standing.succeeded() {
            tracing::info!(witness = self.name, "the witness cosigns again");
        }
    }

    /// Returns the pause until it is asked again.
    fn has_failed(&self, standing: &mut Standing, failure: SubmissionFailure) -> Duration {
        self.count(failure.result());
        let is_fork = matches!(failure, SubmissionFailure::Fork(_));
        let reason = format!("{:#}", anyhow::Error::from(failure));
        let failed = if is_fork { standing.failed_for_good(&reason) } else { standing.failed(&reason) };
        let witness = &self.name;
        match failed.is_new {
            true if is_fork => tracing::error!(
                witness,
                reason,
                "a witness has seen another history of the installation's log: if the database was restored or has lost \
                 commits, stop all processes and run `hooksentry restore --force`, which begins new logs; otherwise another \
                 party may have the signing key"
            ),
            true => tracing::warn!(witness, reason, "the witness does not cosign, will retry"),
            false => {}
        }
        failed.pause
    }

    fn count(&self, result: &'static str) {
        let witness = self.name.clone();
        metrics::counter!("hooksentry_witness_submissions_total", "witness" => witness, "result" => result)
            .increment(1);
    }
}

/// Returns the URL of `add-checkpoint` below a submission prefix.
fn add_checkpoint(prefix: &[u8]) -> Option<Url> {
    let prefix = std::str::from_utf8(prefix).ok()?;
    let url: Url = format!("{}/add-checkpoint", prefix.trim_end_matches('/')).parse().ok()?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    (matches!(url.scheme(), "http" | "https") && is_plain && url.fragment().is_none()).then_some(url)
}

#[cfg(test)]
mod tests {
    use evidence::note::CosignerKey;

    use super::*;

    fn vkey(seed: u8) -> String {
        let name = format!("witness.example/{seed}").parse().unwrap();
        CosignerKey::from_seed(name, &[seed; 32]).verifier().to_string()
    }

    fn read(policy: &str) -> Result<Witnesses, WitnessPolicyProblem> {
        Witnesses::of(policy.as_bytes(), Duration::from_secs(1))
    }

    #[test]
    fn a_policy_names_where_checkpoints_are_sent() {
        let witnesses = read(&format!(
            "witness a {} https://witness.example/prefix/\nwitness b {} http://127.0.0.1:5243\nquorum a\n",
            vkey(1),
            vkey(2)
        ))
        .unwrap();
        assert!(witnesses.are_required());
        let urls: Vec<_> = witnesses.witnesses.iter().map(|witness| witness.url.as_str()).collect();
        assert_eq!(
            urls,
            ["https://witness.example/prefix/add-checkpoint", "http://127.0.0.1:5243/add-checkpoint"]
        );
        let optional = read(&format!("witness a {} https://w.example\nquorum none\n", vkey(1))).unwrap();
        assert!(!optional.are_required());
    }

    #[test]
    fn policies_without_a_place_to_send_to_are_refused() {
        assert!(matches!(read("quorum none\n"), Err(WitnessPolicyProblem::NoWitness)));
        assert!(matches!(read("quorum a\n"), Err(WitnessPolicyProblem::Policy(_))));
        for url in [
            "",
            "w.example",
            "ftp://w.example",
            "https://user@w.example",
            "https://:secret@w.example",
            "https://w.example/?q",
            "https://w.example/#f",
        ] {
            let policy = format!("witness a {} {url}\nquorum a\n", vkey(1));
            assert!(matches!(read(&policy), Err(WitnessPolicyProblem::Url(_))), "{url}");
        }
        let many: String =
            (1..=33).map(|seed| format!("witness w{seed} {} https://w.example\n", vkey(seed))).collect();
        assert!(matches!(read(&(many + "quorum w1\n")), Err(WitnessPolicyProblem::TooMany)));
    }
}
