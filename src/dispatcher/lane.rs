//! A lane: the deliveries of one destination that the dispatcher holds in memory.
//!
//! A lane answers one question: how many more attempts may start now? It counts every job that was released
//! and has no outcome in the log yet, so the limit holds over all workers, however long a job waits on the
//! queue.

use std::collections::{HashSet, VecDeque};
use std::num::NonZeroU32;

use aggregates::attempt_outcome::Outcome;
use aggregates::circuit_breaker::{BreakerStep, CircuitBreaker};
use aggregates::destination::{DestinationFact, Stage};
use aggregates::ids::{TenantId, WebhookEventId};
use chrono::{DateTime, Utc};

/// Bounds of the number of waiting events that a lane keeps in memory. Between them it is four times the
/// lane's limit, so that the window can be refilled from the table before it runs dry.
const WINDOW_MIN: usize = 64;
const WINDOW_MAX: usize = 2_048;

/// A lane's row in `dispatch_lanes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LaneState {
    pub(super) tenant_id: TenantId,
    /// Most attempts in flight at once, as its owner set it.
    pub(super) concurrency_limit: u32,
    pub(super) breaker: CircuitBreaker,
    /// Version of the destination's stream up to which it was folded.
    pub(super) version: u64,
    /// Version of the destination's stream at which it entered the breaker's stage or got its limit. Jobs that
    /// were released before it are void.
    pub(super) stage_version: u64,
}

/// One destination's lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) state: LaneState,
    /// Bound of the destination's own limit; `None`: there is none.
    concurrency_max: Option<NonZeroU32>,
    /// Events with a released job or a started attempt.
    pub(super) in_flight: HashSet<WebhookEventId>,
    /// Leases of permits, for attempts that are not in `in_flight` yet.
    pub(super) leased: usize,
    /// The window: events that are due, in order.
    pub(super) ready: VecDeque<WebhookEventId>,
    /// Whether the table holds events that are due and not in memory.
    pub(super) has_more_in_table: bool,
    /// The earliest time at which an event that only the table holds becomes due.
    pub(super) next_due: Option<DateTime<Utc>>,
    /// The breaker's step that waits for its turn, is being taken, or whose fact has not been read from the log yet.
    pub(super) pending_step: Option<BreakerStep>,
    /// How often that step failed.
    pub(super) step_failures: u32,
    /// Whether the lane is in the schedule's queue of lanes with something to release.
    pub(super) is_releasable: bool,
    pub(super) is_tenant_suspended: bool,
}

impl Lane {
    /// Creates a lane from its row; all of its events are in the table.
    pub(super) fn of_row(state: LaneState, concurrency_max: Option<NonZeroU32>) -> Self {
        Self {
            state,
            concurrency_max,
            in_flight: HashSet::new(),
            leased: 0,
            ready: VecDeque::new(),
            has_more_in_table: true,
            next_due: None,
            pending_step: None,
            step_failures: 0,
            is_releasable: false,
            is_tenant_suspended: false,
        }
    }

    /// Creates the lane of a destination that was just registered.
    pub(super) fn of_new_destination(
        tenant_id: TenantId,
        concurrency_limit: u32,
        concurrency_max: Option<NonZeroU32>,
    ) -> Self {
        let breaker = CircuitBreaker::default();
        let state = LaneState { tenant_id, concurrency_limit, breaker, version: 1, stage_version: 1 };
        Self { has_more_in_table: false, ..Self::of_row(state, concurrency_max) }
    }

    /// Returns the limit in effect.
    fn concurrency_limit(&self) -> u32 {
        let own = self.state.concurrency_limit;
        self.concurrency_max.map_or(own, |max| own.min(max.get()))
    }

    /// Returns how many waiting events it keeps in memory.
    pub(super) fn window(&self) -> usize {
        (self.concurrency_limit() as usize).saturating_mul(4).clamp(WINDOW_MIN, WINDOW_MAX)
    }

    /// Returns how many more attempts may start now.
    pub(super) fn available_permits(&self) -> usize {
        if self.is_tenant_suspended || self.pending_step == Some(BreakerStep::Open) {
            return 0;
        }
        let permits = self.state.breaker.attempts_max(self.concurrency_limit()) as usize;
        permits.saturating_sub(self.in_flight.len() + self.leased)
    }

    /// Whether something that is due waits for an attempt to end.
    pub(super) fn waits_for_permit(&self) -> bool {
        self.in_flight.len() + self.leased > 0
            && self.available_permits() == 0
            && (self.has_more_in_table || !self.ready.is_empty())
    }

    /// Whether a newly due event may join the window without overtaking events of the table.
    pub(super) fn takes_more(&self) -> bool {
        !self.has_more_in_table && self.ready.len() < self.window()
    }

    /// Whether an event that becomes due at `now` has a permit, and overtakes nothing: all that waits has one too, and
    /// no attempt has failed of late, so that no step of the breaker is near. A limit of one is a wish for an order,
    /// which only the log has.
    pub(super) fn is_quiet(&self, now: DateTime<Utc>) -> bool {
        let breaker = &self.state.breaker;
        self.takes_more()
            && self.ready.len() < self.available_permits()
            && self.concurrency_limit() > 1
            && self.next_due.is_none_or(|due| due > now)
            && self.pending_step.is_none()
            && (breaker.stage, breaker.consecutive_failures) == (Stage::Active, 0)
    }

    /// Whether its window should be filled from the table.
    pub(super) fn wants_refill(&self) -> bool {
        self.has_more_in_table && self.available_permits() > 0 && self.ready.len() < self.window() / 4
    }

    /// Whether the tables hold everything that memory holds of it.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
            && self.leased == 0
            && self.ready.is_empty()
            && !self.has_more_in_table
            && self.next_due.is_none()
            && self.pending_step.is_none()
            && self.state.breaker.stage != Stage::Suspended
    }

    /// Records the outcome of an attempt. Returns whether the lane's row changes: most outcomes leave it as it
    /// is.
    pub(super) fn record(&mut self, outcome: Outcome) -> bool {
        let before = self.state.breaker.clone();
        self.state.breaker.record(outcome);
        self.state.breaker != before
    }

    /// Folds a fact of the destination. Returns whether the jobs that were released before it are void.
    pub(super) fn fold(&mut self, fact: &DestinationFact, version: u64) -> bool {
        if let DestinationFact::ConcurrencyLimitChanged { concurrency_limit, .. } = fact {
            self.state.concurrency_limit = *concurrency_limit;
        }
        self.state.version = version;
        if self.state.breaker.apply(fact) {
            self.pending_step = None;
            self.step_failures = 0;
        }
        if fact.voids_jobs() {
            self.state.stage_version = version;
        }
        fact.voids_jobs()
    }

    /// Returns when the lane needs attention although no fact of it arrives.
    pub(super) fn deadline(&self) -> Option<DateTime<Utc>> {
        let due = self.next_due.filter(|_| !self.has_more_in_table);
        [self.state.breaker.next_check_at, due].into_iter().flatten().min()
    }
}
