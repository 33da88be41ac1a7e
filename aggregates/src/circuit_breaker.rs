//! The circuit breaker of a destination (after M. Nygard, "Release It!"): stops requests to a destination that
//! keeps failing, and tries again later.
//!
//! | Stage | Breaker | Requests |
//! |---|---|---|
//! | [`Stage::Active`] | closed | up to the destination's limit |
//! | [`Stage::Suspended`] | open | none until [`CircuitBreaker::next_check_at`] |
//! | [`Stage::Probing`] | half open | one at a time |
//! | [`Stage::Inactive`] | reset | none: the destination was deactivated |
//!
//! The breaker stays open for the tenant's timer. While probe after probe fails the time doubles, up to
//! [`PAUSE_TIMERS_MAX`] timers: a destination that stays dead for months should cost little.
//!
//! The breaker is folded from the log: the destination's facts and the outcomes of its attempts. The next step
//! follows from that state and the time alone, so every process that folds the same log takes the same step.

use chrono::{DateTime, Utc};

use crate::attempt_outcome::Outcome;
use crate::destination::{DestinationCommand, DestinationFact, Stage};

/// State of a destination's circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    pub stage: Stage,
    /// Failed attempts since the last success or activation. An unknown outcome does not count.
    pub consecutive_failures: u32,
    /// Whether an attempt succeeded since the stage was entered.
    pub succeeded_in_stage: bool,
    /// Whether an attempt failed since the stage was entered.
    pub failed_in_stage: bool,
    /// When a suspended destination is probed; `None` in every other stage.
    pub next_check_at: Option<DateTime<Utc>>,
    /// Failed probes since the breaker was last closed.
    pub failed_probes: u32,
}

/// Most timers for which the breaker stays open. Lower: a destination that stays dead is probed more often.
/// Higher: one that recovers after a long time waits longer for its next probe.
pub const PAUSE_TIMERS_MAX: u32 = 12;

/// A transition that the breaker's state asks for. The destination's aggregate decides whether it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerStep {
    /// Suspend the destination: too many consecutive failures, or a failed probe.
    Open,
    /// Resume the destination: a success while the breaker was open or half open.
    Close,
    /// Probe the destination: its time of suspension is over.
    HalfOpen,
}

impl Default for CircuitBreaker {
    /// Returns the closed breaker of a destination that was just registered.
    fn default() -> Self {
        Self {
            stage: Stage::Active,
            consecutive_failures: 0,
            succeeded_in_stage: false,
            failed_in_stage: false,
            next_check_at: None,
            failed_probes: 0,
        }
    }
}

impl CircuitBreaker {
    /// Records the outcome of an attempt.
    pub fn record(&mut self, outcome: Outcome) {
        if outcome.is_success() {
            self.consecutive_failures = 0;
            self.succeeded_in_stage = true;
        } else if outcome.counts_as_failure() {
            self.consecutive_failures = self.consecutive_failures.saturating_add(1);
            self.failed_in_stage = true;
        }
    }

    /// Folds a fact of the destination. Returns whether the destination entered a stage by it.
    pub fn apply(&mut self, fact: &DestinationFact) -> bool {
        use DestinationFact as Fact;
        match fact {
            Fact::DestinationActivated { .. } | Fact::DestinationResumed { .. } => {
                *self = Self::default();
            }
            Fact::DestinationDeactivated { .. } => {
                *self = Self { stage: Stage::Inactive, ..Self::default() };
            }
            Fact::DestinationSuspended { next_check_at, .. } => {
                self.enter(Stage::Suspended, Some(*next_check_at));
            }
            Fact::DestinationProbed { .. } => self.enter(Stage::Probing, None),
            Fact::DestinationRegistered { .. }
            | Fact::DestinationUrlChanged { .. }
            | Fact::ConcurrencyLimitChanged { .. }
            | Fact::OutboundAuthConfigured { .. }
            | Fact::OutboundAuthRemoved { .. }
            | Fact::IngestTokenRegenerated { .. } => return false,
        }
        true
    }

    fn enter(&mut self, stage: Stage, next_check_at: Option<DateTime<Utc>>) {
        let consecutive_failures = self.consecutive_failures;
        let is_failed_probe = self.stage == Stage::Probing && stage == Stage::Suspended;
        let failed_probes = self.failed_probes.saturating_add(is_failed_probe.into());
        *self = Self { stage, consecutive_failures, next_check_at, failed_probes, ..Self::default() };
    }

    /// Returns the step to take at `now`. `threshold` is the number of consecutive failures that open the
    /// breaker.
    #[must_use]
    pub fn step(&self, threshold: u32, now: DateTime<Utc>) -> Option<BreakerStep> {
        match self.stage {
            Stage::Active => (self.consecutive_failures >= threshold).then_some(BreakerStep::Open),
            Stage::Probing if self.succeeded_in_stage => Some(BreakerStep::Close),
            Stage::Probing if self.failed_in_stage => Some(BreakerStep::Open),
            // An attempt that was in flight when the breaker opened may still succeed.
            Stage::Suspended if self.succeeded_in_stage => Some(BreakerStep::Close),
            Stage::Suspended if self.next_check_at.is_none_or(|check| check <= now) => {
                Some(BreakerStep::HalfOpen)
            }
            Stage::Probing | Stage::Suspended | Stage::Inactive => None,
        }
    }

    /// Returns the fact of a step. `timer_seconds` is the tenant's timer. `None` if the stage does not allow the step.
    #[must_use]
    pub fn transition(
        &self,
        step: BreakerStep,
        timer_seconds: u32,
        at: DateTime<Utc>,
    ) -> Option<DestinationFact> {
        self.stage.decide(match step {
            BreakerStep::Open => DestinationCommand::Suspend {
                consecutive_failures: self.consecutive_failures,
                timer_seconds: self.pause_seconds(timer_seconds),
                at,
            },
            BreakerStep::HalfOpen => DestinationCommand::Probe { at },
            BreakerStep::Close => DestinationCommand::Resume { at },
        })
    }

    /// Returns for how long the breaker stays open if it opens now: one timer at first and after the first failed
    /// probe, and twice as long after every further one.
    fn pause_seconds(&self, timer_seconds: u32) -> u32 {
        let timers = 1_u32.checked_shl(self.failed_probes).unwrap_or(PAUSE_TIMERS_MAX);
        timer_seconds.saturating_mul(timers.min(PAUSE_TIMERS_MAX))
    }

    /// Returns how many attempts may be in flight at once, for a destination with this concurrency limit.
    #[must_use]
    pub fn attempts_max(&self, concurrency_limit: u32) -> u32 {
        match self.stage {
            Stage::Active => concurrency_limit,
            Stage::Probing => 1,
            Stage::Suspended | Stage::Inactive => 0,
        }
    }
}
