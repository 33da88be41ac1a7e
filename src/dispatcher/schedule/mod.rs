//! The schedule: which events are due, which are released, and which may be released next.
//!
//! The schedule is memory without IO. Its content is the tables at the last flush plus the facts folded
//! since; what differs from the tables is kept as `changes` until the next flush. An event that is accepted
//! and delivered between two flushes never touches the tables. Memory is bounded: a lane holds a window of
//! its due events, and the rest is in the table alone.

mod ahead_of_log;
mod breakers;
mod events_set_aside;
mod jobs;
mod leases;
mod suspended_tenants;

use std::collections::{HashMap, HashSet};
use std::num::NonZeroU32;

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::deadline_queue::DeadlineQueue;
use super::due_deliveries::{DueDelivery, Window};
use super::lane::{Lane, LaneState};
use super::set_aside::SetAside;
use super::tenant_windows::TenantWindows;
use crate::clock::BootTime;
use crate::config::TenantWeights;
use crate::event_store::Lessor;
use crate::fair_share::Turns;
use crate::queue::UNSTARTED_MAX;
use ahead_of_log::AheadOfLog;

/// Most jobs released to the queue and not yet started, over all destinations.
const OUTSTANDING_MAX: usize = UNSTARTED_MAX.get() as usize;
/// Lanes kept in memory although they are idle.
const IDLE_LANES_MAX: usize = 10_000;

/// Progress of an event in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobState {
    /// In its lane's window.
    Waiting,
    /// Its job is on the queue.
    Released,
    /// An attempt has started.
    Started,
}

/// An event in memory.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    pub(super) delivery: DueDelivery,
    pub(super) state: JobState,
    /// How often its job was published again.
    republished: u32,
}

impl Tracked {
    fn of(delivery: DueDelivery, state: JobState) -> Self {
        Self { delivery, state, republished: 0 }
    }
}

/// The difference between an event's row as it should be and the table.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The row to write; `None`: the row is to be deleted.
    pub(super) row: Option<DueDelivery>,
    /// Whether the table has a row now.
    pub(super) persisted: bool,
}

/// What the next flush writes.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) written: Vec<DueDelivery>,
    pub(super) removed: Vec<Uuid>,
    pub(super) lanes: Vec<(DestinationId, LaneState)>,
    /// Events to be set aside.
    pub(super) set_aside: Vec<SetAside>,
    /// Events that were set aside and are no more.
    pub(super) restored: Vec<Uuid>,
    /// Tenants that are suspended.
    pub(super) suspended_tenants: Vec<Uuid>,
    /// Tenants that were suspended and are no more.
    pub(super) resumed_tenants: Vec<Uuid>,
}

/// The dispatcher's memory.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) tracked: HashMap<WebhookEventId, Tracked>,
    pub(super) lanes: HashMap<DestinationId, Lane>,
    /// Bound of the limits of all destinations; `None`: there is none.
    pub(super) concurrency_max: Option<NonZeroU32>,
    pub(super) changes: HashMap<WebhookEventId, Change>,
    pub(super) changed_lanes: HashSet<DestinationId>,
    /// Events that are set aside: their facts are not folded.
    set_aside: HashSet<WebhookEventId>,
    /// Those that the table does not have yet.
    new_set_aside: Vec<SetAside>,
    /// Those that the table still has, although they are restored.
    restored: Vec<Uuid>,
    /// Tenants that are suspended: nothing is released for them.
    suspended_tenants: HashSet<TenantId>,
    /// Those whose row differs from the table.
    changed_tenants: HashSet<TenantId>,
    /// Lanes with something to release: tenants take turns, and so do the lanes of each.
    releasable: Turns<DestinationId>,
    /// Lanes in which a due event waits for an attempt to end.
    waiting_for_permits: HashSet<DestinationId>,
    /// Lanes whose window runs dry while the table has more.
    refill: HashSet<DestinationId>,
    /// When lanes need attention although no fact of them arrives.
    lane_deadlines: DeadlineQueue<DestinationId, DateTime<Utc>>,
    /// Up to when [`Self::advance_to`] has processed `lane_deadlines`.
    advanced_to: DateTime<Utc>,
    /// Lanes whose breaker may have a step to take.
    breakers: HashSet<DestinationId>,
    /// Lanes whose breaker has a step to take: tenants take turns.
    steps: Turns<DestinationId>,
    /// Lanes whose breaker's step failed, by the time at which it is taken again.
    failed_steps: DeadlineQueue<DestinationId, BootTime>,
    /// Jobs released and not started, by the time from which their wait counts: that of their publication at first.
    released: DeadlineQueue<WebhookEventId, BootTime>,
    /// The same jobs, by tenant.
    windows: TenantWindows,
    /// Attempts in flight, by the end of their time limit.
    started: DeadlineQueue<WebhookEventId, BootTime>,
    pub(super) ahead_of_log: AheadOfLog,
    /// `None`: not all attempts in flight are known yet.
    pub(super) lessor: Option<Lessor>,
}

impl Schedule {
    /// Creates an empty schedule in which tenants take turns by `weights`, and no destination has more than
    /// `concurrency_max` attempts in flight.
    pub(super) fn shared_by(weights: TenantWeights, concurrency_max: Option<NonZeroU32>) -> Self {
        let (releasable, steps) = (Turns::new(weights.clone()), Turns::new(weights));
        Self { releasable, steps, concurrency_max, ..Self::default() }
    }

    /// Adds a lane from its row.
    pub(super) fn add_lane(&mut self, id: DestinationId, state: LaneState) {
        self.insert_lane(id, Lane::of_row(state, self.concurrency_max));
        self.touch(id);
    }

    /// Adds a lane unless it is there already.
    pub(super) fn insert_lane(&mut self, id: DestinationId, mut lane: Lane) {
        lane.is_tenant_suspended = self.suspended_tenants.contains(&lane.state.tenant_id);
        self.lanes.entry(id).or_insert(lane);
    }

    /// Adds an attempt that was in flight when its row was written. How long it has been is not known, so its
    /// time limit begins now.
    pub(super) fn add_in_flight(&mut self, delivery: DueDelivery, now: BootTime) {
        if let Some(lane) = self.lanes.get_mut(&delivery.destination_id) {
            lane.in_flight.insert(delivery.event_id);
        }
        if let Some(started) = delivery.started {
            self.started.set(delivery.event_id, now + started.timeout());
        }
        self.tracked.insert(delivery.event_id, Tracked::of(delivery, JobState::Started));
    }

    /// Adds the next due events of a lane to its window. `complete` says that the table has no more that are
    /// due.
    pub(super) fn fill_window(
        &mut self,
        id: DestinationId,
        due: Vec<DueDelivery>,
        complete: bool,
        next_due: Option<DateTime<Utc>>,
    ) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        for delivery in due {
            lane.ready.push_back(delivery.event_id);
            self.tracked.insert(delivery.event_id, Tracked::of(delivery, JobState::Waiting));
        }
        if complete {
            lane.has_more_in_table = false;
            lane.next_due = next_due;
        }
        self.refill.remove(&id);
        self.touch(id);
    }

    /// Adds a waiting event to its lane's window when it is due and the window has space. Otherwise the event
    /// stays in the table.
    pub(super) fn admit(&mut self, delivery: DueDelivery, now: DateTime<Utc>) {
        let id = delivery.destination_id;
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if delivery.due_at > now {
            lane.next_due = Some(lane.next_due.map_or(delivery.due_at, |due| due.min(delivery.due_at)));
        } else if lane.takes_more() {
            lane.ready.push_back(delivery.event_id);
            self.tracked.insert(delivery.event_id, Tracked::of(delivery, JobState::Waiting));
        } else {
            lane.has_more_in_table = true;
        }
        self.touch(id);
    }

    /// Removes an event from memory, in any state.
    pub(super) fn settle(&mut self, event_id: WebhookEventId, destination_id: DestinationId) {
        let before = self.tracked.remove(&event_id);
        self.released.remove(event_id);
        if let Some(before) = &before {
            self.windows.remove(before.delivery.tenant_id, event_id);
        }
        self.started.remove(event_id);
        if let Some(lane) = self.lanes.get_mut(&destination_id) {
            lane.in_flight.remove(&event_id);
            if before.is_some_and(|tracked| tracked.state == JobState::Waiting) {
                lane.ready.retain(|ready| *ready != event_id);
            }
        }
        self.touch(destination_id);
    }

    /// Takes back the released jobs of a destination that has entered another stage or got another limit, or
    /// whose tenant is suspended. Those jobs are void, because a claim compares the version at which they were
    /// released, and none is granted for a suspended tenant. They go to the front of the window: should a worker
    /// have started one of them before, the same event is released again and starts once. So the limit holds
    /// although the old jobs of a tenant are valid again when it is resumed: its lanes release these events first.
    pub(super) fn recall(&mut self, id: DestinationId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let released = |event_id: &&WebhookEventId| {
            self.tracked.get(event_id).is_some_and(|tracked| tracked.state == JobState::Released)
        };
        let mut recalled: Vec<WebhookEventId> = lane.in_flight.iter().filter(released).copied().collect();
        recalled.sort_unstable_by_key(|event_id| {
            self.tracked.get(event_id).map(|tracked| (tracked.delivery.due_at, *event_id))
        });
        for event_id in recalled.into_iter().rev() {
            lane.in_flight.remove(&event_id);
            lane.ready.push_front(event_id);
            self.released.remove(event_id);
            self.windows.remove(lane.state.tenant_id, event_id);
            if let Some(tracked) = self.tracked.get_mut(&event_id) {
                tracked.state = JobState::Waiting;
            }
        }
    }

    /// Notes that an attempt of this event has started, whose time limit ends at `ends`.
    pub(super) fn start(&mut self, delivery: DueDelivery, ends: BootTime) {
        let (event_id, destination_id) = (delivery.event_id, delivery.destination_id);
        self.released.remove(event_id);
        self.windows.remove(delivery.tenant_id, event_id);
        self.started.set(event_id, ends);
        let before = self.tracked.insert(event_id, Tracked::of(delivery, JobState::Started));
        if let Some(lane) = self.lanes.get_mut(&destination_id) {
            lane.in_flight.insert(event_id);
            // A worker may have started a job before it was recalled.
            if before.is_some_and(|tracked| tracked.state == JobState::Waiting) {
                lane.ready.retain(|ready| *ready != event_id);
            }
        }
        self.settle_lease(destination_id, event_id);
    }

    /// Updates the queues for a lane that may have changed.
    pub(super) fn touch(&mut self, id: DestinationId) {
        self.withdraw_offer(id);
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !lane.is_releasable && lane.available_permits() > 0 && !lane.ready.is_empty() {
            lane.is_releasable = true;
            self.releasable.push(lane.state.tenant_id, id);
        }
        if lane.wants_refill() {
            self.refill.insert(id);
        }
        if lane.waits_for_permit() {
            self.waiting_for_permits.insert(id);
        } else {
            self.waiting_for_permits.remove(&id);
        }
        self.breakers.insert(id);
        match lane.deadline() {
            Some(at) => self.lane_deadlines.set(id, at),
            None => self.lane_deadlines.remove(id),
        }
        self.offer_permits(id);
    }

    /// Processes the lanes whose deadline has passed at `now`.
    pub(super) fn advance_to(&mut self, now: DateTime<Utc>) {
        self.advanced_to = now;
        for id in self.lane_deadlines.due(now) {
            if let Some(lane) = self.lanes.get_mut(&id)
                && lane.next_due.is_some_and(|due| due <= now)
            {
                lane.next_due = None;
                lane.has_more_in_table = true;
            }
            // The lane may have another, later deadline.
            self.touch(id);
        }
    }

    /// Whether some lanes may have to be refilled.
    pub(super) fn wants_refill(&self) -> bool {
        !self.refill.is_empty()
    }

    /// Returns up to `lanes_max` lanes to refill, with the number of events that each wants.
    pub(super) fn refills(&mut self, lanes_max: usize) -> Vec<Window> {
        let mut wanted = Vec::new();
        for id in self.refill.iter().copied().take(lanes_max).collect::<Vec<_>>() {
            match self.lanes.get(&id) {
                Some(lane) if lane.wants_refill() => {
                    let rows_max = lane.window() - lane.ready.len();
                    wanted.push(Window { destination_id: id, rows_max });
                }
                _ => {
                    self.refill.remove(&id);
                }
            }
        }
        wanted
    }

    /// Returns the events of a lane that are in memory.
    pub(super) fn in_memory(&self, id: DestinationId) -> impl Iterator<Item = Uuid> + '_ {
        let lane = self.lanes.get(&id).into_iter();
        lane.flat_map(|lane| lane.ready.iter().chain(&lane.in_flight)).map(|event_id| event_id.0)
    }

    /// Removes and returns what the next flush writes, which is what the log up to its position says. After a flush that failed the schedule is loaded again
    /// from the tables, so no copy is kept here.
    pub(super) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes {
            set_aside: std::mem::take(&mut self.new_set_aside),
            restored: std::mem::take(&mut self.restored),
            ..Changes::default()
        };
        for (event_id, change) in self.changes.extract_if(|id, _| !self.ahead_of_log.contains(*id)) {
            match change.row {
                Some(row) => changes.written.push(row),
                None => changes.removed.push(event_id.0),
            }
        }
        for id in self.changed_lanes.drain() {
            if let Some(lane) = self.lanes.get(&id) {
                changes.lanes.push((id, lane.state.clone()));
            }
        }
        self.take_changed_tenants(&mut changes);
        self.evict_idle_lanes(IDLE_LANES_MAX);
        changes
    }

    /// Evicts idle lanes when there are more than `lanes_max` lanes: the tables hold the same.
    pub(super) fn evict_idle_lanes(&mut self, lanes_max: usize) {
        if self.lanes.len() > lanes_max {
            let idle: Vec<_> =
                self.lanes.iter().filter(|(_, lane)| lane.is_idle()).map(|(id, _)| *id).collect();
            for id in idle {
                self.withdraw_offer(id);
                if self.lanes.get(&id).is_some_and(Lane::is_idle) {
                    self.lanes.remove(&id);
                }
            }
        }
    }

    /// Returns how many rows the next flush would write.
    pub(super) fn changes_len(&self) -> usize {
        self.changes.len() + self.changed_lanes.len() + self.changed_tenants.len()
    }

    /// Returns the next time at which a lane needs attention although no fact of it arrives.
    pub(super) fn next_deadline(&self) -> Option<DateTime<Utc>> {
        // Earlier deadlines were processed; a lane that still has one waits for the fact of a step.
        self.lane_deadlines.first_after(self.advanced_to)
    }

    /// Returns the first end of the time limit of an attempt in flight.
    pub(super) fn first_time_limit(&self) -> Option<BootTime> {
        self.started.first()
    }

    /// Whether something that is due waits for an attempt to start or to end.
    pub(super) fn waits_for_attempts(&self) -> bool {
        !self.takes_more_jobs() || !self.waiting_for_permits.is_empty()
    }

    /// Whether an event that gets a permit is released at once.
    fn takes_more_jobs(&self) -> bool {
        self.released.len() < OUTSTANDING_MAX && !self.windows.has_parked()
    }
}
