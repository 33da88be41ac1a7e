//! A lane: what the dispatcher holds in memory about one destination.
//!
//! A lane answers one question: how many more attempts may start now? It counts every job that was
//! released and has no outcome in the log yet, so the limit holds over all workers, however long a job
//! waits on the queue.

use std::collections::{HashSet, VecDeque};

use aggregates::destination::{DestinationFact, Stage};
use aggregates::ids::{TenantId, WebhookEventId};
use chrono::{DateTime, Utc};

/// Waiting events a lane keeps in memory at least and at most; in between, four times its limit, so
/// that it can be refilled from the table before it runs dry.
const WINDOW_MIN: usize = 64;
const WINDOW_MAX: usize = 2_048;

/// What a lane's table row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaneState {
    /// Whose destination it is.
    pub(super) tenant_id: TenantId,
    /// Most attempts under way at once.
    pub(super) concurrency_limit: u32,
    pub(super) stage: Stage,
    /// Version of the destination's stream at which it entered the stage.
    pub(super) stage_version: u64,
    /// When a suspended destination is probed.
    pub(super) next_check_at: Option<DateTime<Utc>>,
    /// Failed attempts in a row.
    pub(super) consecutive_failures: u32,
    /// Whether an attempt succeeded since the stage was entered.
    pub(super) succeeded_in_stage: bool,
    /// Whether an attempt failed since the stage was entered.
    pub(super) failed_in_stage: bool,
}

/// What the breaker's rules ask for (in spirit, M. Nygard, "Release It!", Circuit Breaker).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BreakerStep {
    /// Too many failures in a row, or the probe failed: suspend the destination.
    Open,
    /// A success while it was open or half open: resume.
    Close,
    /// Its time is over: probe.
    HalfOpen,
}

/// One destination's lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) state: LaneState,
    /// Events with a released job or an attempt under way.
    pub(super) under_way: HashSet<WebhookEventId>,
    /// Events that are due, in order.
    pub(super) ready: VecDeque<WebhookEventId>,
    /// The table holds events that are due and not in memory.
    pub(super) behind: bool,
    /// The earliest time at which an event that only the table holds becomes due.
    pub(super) next_due: Option<DateTime<Utc>>,
    /// A step of the breaker that was taken and whose fact has not come back yet.
    pub(super) asked: Option<BreakerStep>,
    /// Whether the lane is in the queue of lanes with something to release.
    pub(super) queued: bool,
}

impl Lane {
    /// A lane as its row says, whose events are all in the table.
    pub(super) fn of_row(state: LaneState) -> Self {
        Self {
            state,
            under_way: HashSet::new(),
            ready: VecDeque::new(),
            behind: true,
            next_due: None,
            asked: None,
            queued: false,
        }
    }

    /// The lane of a destination that was just registered.
    pub(super) fn of_new_destination(tenant_id: TenantId, concurrency_limit: u32) -> Self {
        let state = LaneState {
            tenant_id,
            concurrency_limit,
            stage: Stage::Active,
            stage_version: 1,
            next_check_at: None,
            consecutive_failures: 0,
            succeeded_in_stage: false,
            failed_in_stage: false,
        };
        Self { behind: false, ..Self::of_row(state) }
    }

    /// How many waiting events it keeps in memory.
    pub(super) fn window(&self) -> usize {
        (self.state.concurrency_limit as usize).saturating_mul(4).clamp(WINDOW_MIN, WINDOW_MAX)
    }

    /// How many more attempts may start now.
    pub(super) fn room(&self) -> usize {
        let limit = match self.state.stage {
            // The breaker is about to open.
            _ if self.asked == Some(BreakerStep::Open) => 0,
            Stage::Active => self.state.concurrency_limit as usize,
            Stage::Probing => 1,
            Stage::Suspended | Stage::Inactive => 0,
        };
        limit.saturating_sub(self.under_way.len())
    }

    /// Whether something that is due waits for an attempt to end.
    pub(super) fn is_crowded(&self) -> bool {
        !self.under_way.is_empty() && self.room() == 0 && (self.behind || !self.ready.is_empty())
    }

    /// Whether a newly due event may join the window without overtaking the table's.
    pub(super) fn takes_more(&self) -> bool {
        !self.behind && self.ready.len() < self.window()
    }

    /// Whether its window should be filled from the table.
    pub(super) fn wants_refill(&self) -> bool {
        self.behind && self.room() > 0 && self.ready.len() < self.window() / 4
    }

    /// Whether nothing is known of it that its rows do not say.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
            && self.ready.is_empty()
            && !self.behind
            && self.next_due.is_none()
            && self.asked.is_none()
            && self.state.stage != Stage::Suspended
    }

    /// Notes the outcome of an attempt.
    pub(super) fn attempted(&mut self, succeeded: bool, counts_as_failure: bool) {
        if succeeded {
            self.state.consecutive_failures = 0;
            self.state.succeeded_in_stage = true;
        } else if counts_as_failure {
            self.state.consecutive_failures = self.state.consecutive_failures.saturating_add(1);
            self.state.failed_in_stage = true;
        }
    }

    /// Folds a fact of the destination, and says whether it entered another stage.
    pub(super) fn fold(&mut self, fact: &DestinationFact, version: u64) -> bool {
        use DestinationFact as Fact;
        match fact {
            Fact::DestinationActivated { .. } | Fact::DestinationResumed { .. } => {
                self.enter(Stage::Active, version, None);
                self.state.consecutive_failures = 0;
            }
            Fact::DestinationDeactivated { .. } => {
                self.enter(Stage::Inactive, version, None);
                self.state.consecutive_failures = 0;
            }
            Fact::DestinationSuspended { next_check_at, .. } => {
                self.enter(Stage::Suspended, version, Some(*next_check_at));
            }
            Fact::DestinationProbed { .. } => self.enter(Stage::Probing, version, None),
            Fact::ConcurrencyLimitChanged { concurrency_limit, .. } => {
                self.state.concurrency_limit = *concurrency_limit;
                return false;
            }
            Fact::DestinationRegistered { .. }
            | Fact::DestinationUrlChanged { .. }
            | Fact::OutboundAuthConfigured { .. }
            | Fact::OutboundAuthRemoved { .. }
            | Fact::IngestTokenRegenerated { .. } => return false,
        }
        true
    }

    fn enter(&mut self, stage: Stage, version: u64, next_check_at: Option<DateTime<Utc>>) {
        self.state.stage = stage;
        self.state.stage_version = version;
        self.state.next_check_at = next_check_at;
        self.state.succeeded_in_stage = false;
        self.state.failed_in_stage = false;
        self.asked = None;
    }

    /// What the breaker's rules ask for now. The answer depends on the folded state alone, so that a
    /// dispatcher which starts anew comes to the same.
    pub(super) fn breaker_step(&self, threshold: u32, now: DateTime<Utc>) -> Option<BreakerStep> {
        let state = &self.state;
        let step = match state.stage {
            Stage::Active => (state.consecutive_failures >= threshold).then_some(BreakerStep::Open),
            Stage::Probing if state.succeeded_in_stage => Some(BreakerStep::Close),
            Stage::Probing if state.failed_in_stage => Some(BreakerStep::Open),
            Stage::Suspended if state.succeeded_in_stage => Some(BreakerStep::Close),
            Stage::Suspended if state.next_check_at.is_none_or(|check| check <= now) => {
                Some(BreakerStep::HalfOpen)
            }
            Stage::Probing | Stage::Suspended | Stage::Inactive => None,
        };
        step.filter(|step| self.asked != Some(*step))
    }

    /// When the lane must be looked at although nothing arrives.
    pub(super) fn wake_at(&self) -> Option<DateTime<Utc>> {
        let check = self.state.next_check_at.filter(|_| self.state.stage == Stage::Suspended);
        let due = self.next_due.filter(|_| !self.behind);
        [check, due].into_iter().flatten().min()
    }
}
