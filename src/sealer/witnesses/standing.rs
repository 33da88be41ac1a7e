//! How a witness has answered lately: what is logged, counted, and how long until it is asked again.

use std::time::Duration;

use aggregates::backoff::Backoff;

use super::submission::SubmissionFailure;
use crate::identifiers;

/// Pauses after failures. Lower: more requests to a witness that is down. Higher: it cosigns later when it is up again.
const BACKOFF: Backoff = Backoff { base_ms: 1_000, factor: 2.0, cap_ms: 300_000, jitter: 0.2 };

/// Failures of a witness in a row.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    witness: &'a str,
    failures: u32,
    /// What was logged last; `None`: it cosigns.
    logged: Option<String>,
}

impl<'a> Standing<'a> {
    pub(super) fn of(witness: &'a str) -> Self {
        Self { witness, failures: 0, logged: None }
    }

    /// Records that it has cosigned.
    pub(super) fn cosigned(&mut self) {
        self.count("cosigned");
        self.failures = 0;
        if self.logged.take().is_some() {
            tracing::info!(witness = self.witness, "the witness cosigns again");
        }
    }

    /// Records a failure, and returns the pause after it. It is logged unless the last one was the same.
    pub(super) fn failed(&mut self, failure: SubmissionFailure) -> Duration {
        self.count(failure.result());
        let is_fork = matches!(failure, SubmissionFailure::Fork(_));
        self.failures = if is_fork { u32::MAX } else { self.failures.saturating_add(1) };
        let reason = format!("{:#}", anyhow::Error::from(failure));
        if self.logged.as_ref() != Some(&reason) {
            let witness = self.witness;
            if is_fork {
                tracing::error!(
                    witness,
                    reason,
                    "a witness has seen another history of the installation's log: if the database was restored or has lost \
                     commits, stop all processes and run `hooksentry restore --force`, which begins new logs; otherwise another \
                     party may have the signing key"
                );
            } else {
                tracing::warn!(witness, reason, "the witness does not cosign, will retry");
            }
            self.logged = Some(reason);
        }
        Duration::from_millis(BACKOFF.delay_ms(self.failures, identifiers::random_fraction()))
    }

    fn count(&self, result: &'static str) {
        let witness = self.witness.to_owned();
        metrics::counter!("hooksentry_witness_submissions_total", "witness" => witness, "result" => result)
            .increment(1);
    }
}
