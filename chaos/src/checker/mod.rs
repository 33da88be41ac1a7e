//! Checks of a history: whether everything that HookSentry promises was kept.
//!
//! Each check is a function of the history alone, and has a test with a history that violates it.

mod acceptance;
mod deliveries;
mod index;
mod log;
mod standstill;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::history::{History, print_event};
use index::Index;
pub use standstill::{FaultEffect, Standstill};

/// Tolerance for comparisons of times that different processes observed: a busy machine delays the suite.
const TIMING_SLACK: Duration = Duration::from_millis(250);

/// Maximum number of violations of one invariant that are printed with the history of their event.
const PRINTED_MAX: usize = 3;

/// Promise of HookSentry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// Every webhook that was answered with 202 is in the log.
    NoneLost,
    /// A webhook is accepted at most once, and with an idempotency key always as the same event.
    AcceptedOnce,
    /// Ingest answers 202, a documented refusal, or an error that invites a retry.
    AnswerExpected,
    /// Every accepted event ends.
    NoneStuck,
    /// An event that counts as delivered was answered with success, and every event for a healthy destination
    /// counts as delivered.
    Delivered,
    /// Every request was announced by a `DeliveryStarted` of its own.
    Announced,
    /// No request begins after its attempt was given up.
    NotLate,
    /// An event has at most one request at a time.
    NoOverlap,
    /// A destination has at most as many concurrent requests as its limit.
    WithinLimit,
    /// The body is what was sent, byte for byte.
    BytesKept,
    /// Both signatures are valid for the body.
    Signed,
    /// Every repetition after a success is explained by an attempt of unknown outcome.
    DuplicateExplained,
    /// The facts of a stream are numbered from 1 without a gap, in the order of the log.
    LogOrdered,
    /// Read models equal the fold of the log.
    ReadModelsEqualLog,
    /// Accepted events are succeeded, failed, cancelled or waiting, by the log and by the read model.
    CountsBalance,
    /// Deliveries to healthy destinations continue soon after a fault.
    NoStandstill,
    /// No process ends by itself.
    ProcessesLive,
}

/// Violation of an invariant.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: Invariant,
    /// `None` if it does not concern one event.
    pub event_id: Option<Uuid>,
    pub text: String,
}

/// Result of checking a history.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub violations: Vec<Violation>,
    /// Effect of each fault, in the order of the history.
    pub effects: Vec<FaultEffect>,
    pub accepted: usize,
    /// Events answered with 202 that a promoted asynchronous standby did not have.
    pub lost_by_standby: usize,
    /// Requests that repeated a delivery which the receiver had answered with success.
    pub duplicates: usize,
}

/// Checks a history.
#[must_use]
pub fn check(history: &History) -> Verdict {
    let index = Index::new(history);
    let mut violations = Violations::default();
    let lost_by_standby = acceptance::check(&index, &mut violations);
    log::check(&index, &mut violations);
    let duplicates = deliveries::check(&index, &mut violations);
    let effects = standstill::check(&index, &duplicates, &mut violations);
    for name in &history.ended_processes {
        violations.add(Invariant::ProcessesLive, format!("{name} ended by itself"));
    }
    Verdict {
        violations: violations.0,
        effects,
        accepted: index.events.values().filter(|event| event.is_accepted()).count(),
        lost_by_standby,
        duplicates: duplicates.len(),
    }
}

/// Violations that were found so far.
#[derive(Default)]
struct Violations(Vec<Violation>);

impl Violations {
    fn of_event(&mut self, invariant: Invariant, event_id: Uuid, text: String) {
        self.0.push(Violation { invariant, event_id: Some(event_id), text });
    }

    fn add(&mut self, invariant: Invariant, text: String) {
        self.0.push(Violation { invariant, event_id: None, text });
    }
}

impl Verdict {
    /// Returns the violations as text: their number for each invariant, and the first ones with the whole
    /// history of their event.
    #[must_use]
    pub fn print(&self, history: &History) -> String {
        let mut invariants: Vec<Invariant> = self.violations.iter().map(|found| found.invariant).collect();
        invariants.sort_unstable();
        invariants.dedup();
        let (mut text, mut printed) = (String::new(), HashSet::new());
        for invariant in invariants {
            let found: Vec<_> = self.violations.iter().filter(|found| found.invariant == invariant).collect();
            text.push_str(&format!(
                "{} violations of {invariant} with seed {}:\n",
                found.len(),
                history.seed
            ));
            for violation in found.iter().take(PRINTED_MAX) {
                text.push_str(&format!("- {}\n", violation.text));
                if let Some(event_id) = violation.event_id.filter(|id| printed.insert(*id)) {
                    text.push_str(&print_event(history, event_id));
                }
            }
        }
        text
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NoneLost => "none lost",
            Self::AcceptedOnce => "accepted once",
            Self::AnswerExpected => "answer expected",
            Self::NoneStuck => "none stuck",
            Self::Delivered => "delivered",
            Self::Announced => "announced",
            Self::NotLate => "not late",
            Self::NoOverlap => "no overlap",
            Self::WithinLimit => "within limit",
            Self::BytesKept => "bytes kept",
            Self::Signed => "signed",
            Self::DuplicateExplained => "duplicate explained",
            Self::LogOrdered => "log ordered",
            Self::ReadModelsEqualLog => "read models equal log",
            Self::CountsBalance => "counts balance",
            Self::NoStandstill => "no standstill",
            Self::ProcessesLive => "processes live",
        })
    }
}
