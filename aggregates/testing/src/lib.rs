//! Builders of commands and facts, for the tests of all crates.
//!
//! A test sets only the fields that it is about. A new field of a fact or command therefore changes this file and not
//! the tests. It is a crate and not a feature of `aggregates`, so that tests and the program share one build of the
//! domain.
//!
//! ```
//! use aggregates::ids::SenderId;
//! use aggregates_testing::{accepted, attempted};
//!
//! let event = accepted().sender(SenderId::default());
//! let facts = [event.fact(), attempted().attempt(2).fact()];
//! ```

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::backoff::Backoff;
use aggregates::ids::{DestinationId, SenderId, TenantId};
use aggregates::webhook_event::{
    Acceptance, MappingResult, PayloadCommitment, WebhookEventCommand as Command, WebhookEventFact as Fact,
};
use chrono::{DateTime, Utc};

/// Declares setters of a builder that return it.
macro_rules! setters {
    ($($(#[$doc:meta])* $field:ident: $type:ty),+ $(,)?) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $field(mut self, $field: $type) -> Self {
            self.$field = $field;
            self
        }
    )+};
}

/// Builds an accepted event: nil ids, no sender or mapping, a payload of 2 bytes, at the Unix epoch.
#[must_use]
pub fn accepted() -> Accepted {
    Accepted(Acceptance {
        tenant_id: TenantId::default(),
        destination_id: DestinationId::default(),
        sender_id: None,
        payload: commitment("00", 2),
        mapping: None,
        at: DateTime::UNIX_EPOCH,
    })
}

/// Builds a commitment to a payload. `hmac_sha256` can be any text.
#[must_use]
pub fn commitment(hmac_sha256: &str, bytes: u64) -> PayloadCommitment {
    PayloadCommitment { hmac_sha256: Some(hmac_sha256.to_owned()), bytes }
}

#[derive(Clone, Debug)]
pub struct Accepted(Acceptance);

impl Accepted {
    #[must_use]
    pub fn tenant(self, tenant_id: TenantId) -> Self {
        Self(Acceptance { tenant_id, ..self.0 })
    }

    #[must_use]
    pub fn destination(self, destination_id: DestinationId) -> Self {
        Self(Acceptance { destination_id, ..self.0 })
    }

    #[must_use]
    pub fn sender(self, sender_id: SenderId) -> Self {
        Self(Acceptance { sender_id: Some(sender_id), ..self.0 })
    }

    #[must_use]
    pub fn payload(self, payload: PayloadCommitment) -> Self {
        Self(Acceptance { payload, ..self.0 })
    }

    #[must_use]
    pub fn mapping(self, mapping: MappingResult) -> Self {
        Self(Acceptance { mapping: Some(mapping), ..self.0 })
    }

    #[must_use]
    pub fn at(self, at: DateTime<Utc>) -> Self {
        Self(Acceptance { at, ..self.0 })
    }

    #[must_use]
    pub fn build(self) -> Acceptance {
        self.0
    }

    #[must_use]
    pub fn fact(self) -> Fact {
        Fact::EventAccepted(self.0)
    }

    #[must_use]
    pub fn command(self) -> Command {
        Command::Accept(self.0)
    }
}

/// Builds the start of attempt 1, with version 1 of the settings and a time limit of 30 s, at the Unix epoch.
#[must_use]
pub fn started() -> Started {
    Started {
        destination: DestinationId::default(),
        attempt: 1,
        worker: "worker-1",
        destination_version: 1,
        tenant_version: 1,
        timeout_ms: 30_000,
        at: DateTime::UNIX_EPOCH,
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Started {
    destination: DestinationId,
    attempt: u32,
    worker: &'static str,
    destination_version: u64,
    tenant_version: u64,
    timeout_ms: u64,
    at: DateTime<Utc>,
}

impl Started {
    setters!(
        destination: DestinationId,
        attempt: u32,
        worker: &'static str,
        timeout_ms: u64,
        at: DateTime<Utc>,
    );

    /// Sets the versions of the settings that the attempt uses.
    #[must_use]
    pub fn settings(self, destination_version: u64, tenant_version: u64) -> Self {
        Self { destination_version, tenant_version, ..self }
    }

    #[must_use]
    pub fn fact(self) -> Fact {
        let Self { destination, attempt, worker, destination_version, tenant_version, timeout_ms, at } = self;
        let worker = worker.to_owned();
        Fact::DeliveryStarted {
            destination_id: destination,
            attempt,
            worker,
            destination_version,
            tenant_version,
            timeout_ms,
            at,
        }
    }

    #[must_use]
    pub fn command(self) -> Command {
        let Self { worker, destination_version, tenant_version, timeout_ms, at, .. } = self;
        Command::Start { worker: worker.to_owned(), destination_version, tenant_version, timeout_ms, at }
    }
}

/// Builds a report of 12 ms without a response.
#[must_use]
pub fn report(outcome: Outcome) -> AttemptReport {
    AttemptReport::without_answer(outcome, 12, None)
}

/// Builds the successful end of attempt 1, without failures before it, at the Unix epoch. The command allows 10
/// attempts and uses the default backoff without deviation.
#[must_use]
pub fn attempted() -> Attempted {
    Attempted {
        destination: DestinationId::default(),
        attempt: 1,
        failed_attempts: 0,
        unknown_in_a_row: 0,
        report: report(Outcome::Succeeded),
        backoff: Backoff::default(),
        max_attempts: 10,
        at: DateTime::UNIX_EPOCH,
    }
}

#[derive(Clone, Debug)]
pub struct Attempted {
    destination: DestinationId,
    attempt: u32,
    failed_attempts: u32,
    unknown_in_a_row: u32,
    report: AttemptReport,
    backoff: Backoff,
    max_attempts: u32,
    at: DateTime<Utc>,
}

impl Attempted {
    setters!(
        destination: DestinationId,
        attempt: u32,
        /// For the fact: failed attempts including this one.
        failed_attempts: u32,
        /// For the fact: consecutive attempts with unknown outcome up to this one.
        unknown_in_a_row: u32,
        report: AttemptReport,
        backoff: Backoff,
        /// For the command.
        max_attempts: u32,
        at: DateTime<Utc>,
    );

    #[must_use]
    pub fn outcome(self, outcome: Outcome) -> Self {
        self.report(report(outcome))
    }

    #[must_use]
    pub fn fact(self) -> Fact {
        let Self { destination, attempt, failed_attempts, unknown_in_a_row, report, at, .. } = self;
        Fact::DeliveryAttempted {
            destination_id: destination,
            attempt,
            failed_attempts,
            unknown_in_a_row,
            report,
            at,
        }
    }

    #[must_use]
    pub fn command(self) -> Command {
        let Self { report, backoff, max_attempts, at, .. } = self;
        Command::RecordAttempt { report, backoff, max_attempts, jitter_sample: 0.5, at }
    }
}

/// Environment variable with the number of steps of every model-based test, such as 500000, for a long run.
const STEPS: &str = "HOOKSENTRY_TEST_STEPS";

/// Returns the number of cases of a model-based test whose cases have `steps` on average: `default`, unless the
/// environment asks for a long run.
///
/// # Panics
/// When the variable is no number.
#[must_use]
pub fn cases(default: u32, steps: u32) -> u32 {
    match std::env::var(STEPS) {
        Ok(wanted) => {
            wanted.parse::<u32>().expect("HOOKSENTRY_TEST_STEPS is a number").div_ceil(steps).max(default)
        }
        Err(_) => default,
    }
}
