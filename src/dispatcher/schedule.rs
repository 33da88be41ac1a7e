//! The schedule: which events are due, which are released, and which may be released next.
//!
//! It is plain memory without IO. Its content is the tables at the last flush plus the facts folded
//! since; what differs from the tables is kept as `changes` until the next flush. An event that is
//! accepted and delivered between two flushes never touches the tables. Memory is bounded: a lane holds
//! a window of its due events, and everything beyond it is in the table alone.

use std::collections::{HashMap, HashSet};

use aggregates::ids::{DestinationId, WebhookEventId};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::deadline_queue::DeadlineQueue;
use super::due_deliveries::DueDelivery;
use super::lane::{BreakerStep, Lane, LaneState};
use crate::fair_share::{Turns, Weights};

/// Jobs released to the queue and not yet started, at most, over all destinations. What is on the queue
/// can no longer be overtaken: more, and whoever comes next waits for longer; fewer, and workers wait for
/// jobs while the news of what they started is on its way back.
const OUTSTANDING_MAX: usize = 512;
/// Jobs one lane releases before the next lane has its turn.
const TURN_JOBS_MAX: usize = 16;
/// How long an attempt that was to be given up is left alone before that is tried again.
const GIVE_UP_AGAIN_AFTER: TimeDelta = TimeDelta::seconds(5);
/// Lanes kept in memory although nothing of theirs is on its way.
const IDLE_LANES_MAX: usize = 10_000;

/// Where an event in memory stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// In its lane's window.
    Waiting,
    /// Its job is on the queue.
    Released,
    /// An attempt is under way.
    Started,
}

/// An event in memory.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) delivery: DueDelivery,
    pub(super) stage: Stage,
}

/// What differs from an event's row in the table.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The row as it should be; `None`: there should be none.
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
}

/// The dispatcher's memory.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    pub(super) open: HashMap<WebhookEventId, Open>,
    pub(super) lanes: HashMap<DestinationId, Lane>,
    pub(super) changes: HashMap<WebhookEventId, Change>,
    pub(super) changed_lanes: HashSet<DestinationId>,
    /// Lanes with something to release: tenants take turns, and so do the lanes of each.
    releasable: Turns<DestinationId>,
    /// Lanes in which something waits for an attempt to end.
    crowded: HashSet<DestinationId>,
    /// Lanes whose window runs dry while the table has more.
    refill: HashSet<DestinationId>,
    /// When lanes must be looked at although nothing arrives.
    wakes: DeadlineQueue<DestinationId>,
    /// Up to when that was done.
    woken: DateTime<Utc>,
    /// Lanes whose breaker may have a step to take.
    breakers: HashSet<DestinationId>,
    /// Jobs released and not yet started, by when they were published last, to publish again what the
    /// queue forgot.
    released: DeadlineQueue<WebhookEventId>,
    /// Attempts under way, by when they started, to give up what a vanished worker left.
    started: DeadlineQueue<WebhookEventId>,
}

impl Schedule {
    /// An empty schedule in which tenants take turns by `weights`.
    pub(super) fn shared_by(weights: Weights) -> Self {
        Self { releasable: Turns::new(weights), ..Self::default() }
    }

    /// Takes in a lane as its row says.
    pub(super) fn take_in_lane(&mut self, id: DestinationId, state: LaneState) {
        self.lanes.entry(id).or_insert_with(|| Lane::of_row(state));
        self.touch(id);
    }

    /// Takes in an attempt that was under way when the table was written.
    pub(super) fn take_in_under_way(&mut self, delivery: DueDelivery) {
        if let Some(lane) = self.lanes.get_mut(&delivery.destination_id) {
            lane.under_way.insert(delivery.event_id);
        }
        if let Some(at) = delivery.started_at {
            self.started.set(delivery.event_id, at);
        }
        self.open.insert(delivery.event_id, Open { delivery, stage: Stage::Started });
    }

    /// Takes in the next due events of a lane, which has no more that are due when `complete`.
    pub(super) fn take_in_window(
        &mut self,
        id: DestinationId,
        due: Vec<DueDelivery>,
        complete: bool,
        next_due: Option<DateTime<Utc>>,
    ) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        for delivery in due {
            lane.ready.push_back(delivery.event_id);
            self.open.insert(delivery.event_id, Open { delivery, stage: Stage::Waiting });
        }
        if complete {
            lane.behind = false;
            lane.next_due = next_due;
        }
        self.refill.remove(&id);
        self.touch(id);
    }

    /// Puts a waiting event where it belongs: into its lane's window when it is due and there is room,
    /// else it is left to the table.
    pub(super) fn admit(&mut self, delivery: DueDelivery, now: DateTime<Utc>) {
        let id = delivery.destination_id;
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if delivery.due_at > now {
            lane.next_due = Some(lane.next_due.map_or(delivery.due_at, |due| due.min(delivery.due_at)));
        } else if lane.takes_more() {
            lane.ready.push_back(delivery.event_id);
            self.open.insert(delivery.event_id, Open { delivery, stage: Stage::Waiting });
        } else {
            lane.behind = true;
        }
        self.touch(id);
    }

    /// Takes an event out of memory, whatever it was waiting for.
    pub(super) fn settle(&mut self, event_id: WebhookEventId, destination_id: DestinationId) {
        let before = self.open.remove(&event_id);
        self.released.clear(event_id);
        self.started.clear(event_id);
        if let Some(lane) = self.lanes.get_mut(&destination_id) {
            lane.under_way.remove(&event_id);
            if before.is_some_and(|open| open.stage == Stage::Waiting) {
                lane.ready.retain(|ready| *ready != event_id);
            }
        }
        self.touch(destination_id);
    }

    /// Takes back the jobs of a destination that has entered another stage. They are void: a worker
    /// compares the stage they were released in. They go to the front, so that whatever of them still
    /// slips through is the same event that is released anew, and starts once.
    pub(super) fn recall(&mut self, id: DestinationId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let released = |event_id: &&WebhookEventId| {
            self.open.get(event_id).is_some_and(|open| open.stage == Stage::Released)
        };
        let mut recalled: Vec<WebhookEventId> = lane.under_way.iter().filter(released).copied().collect();
        recalled.sort_unstable_by_key(|event_id| {
            self.open.get(event_id).map(|open| (open.delivery.due_at, *event_id))
        });
        for event_id in recalled.into_iter().rev() {
            lane.under_way.remove(&event_id);
            lane.ready.push_front(event_id);
            self.released.clear(event_id);
            if let Some(open) = self.open.get_mut(&event_id) {
                open.stage = Stage::Waiting;
            }
        }
    }

    /// The version at which a destination entered its present stage.
    pub(super) fn stage_version(&self, id: DestinationId) -> u64 {
        self.lanes.get(&id).map_or(0, |lane| lane.state.stage_version)
    }

    /// Notes that an attempt of this event is under way.
    pub(super) fn start(&mut self, delivery: DueDelivery, at: DateTime<Utc>) {
        let (event_id, destination_id) = (delivery.event_id, delivery.destination_id);
        self.released.clear(event_id);
        self.started.set(event_id, at);
        let before = self.open.insert(event_id, Open { delivery, stage: Stage::Started });
        if let Some(lane) = self.lanes.get_mut(&destination_id) {
            lane.under_way.insert(event_id);
            // A job that was taken back may have slipped through.
            if before.is_some_and(|open| open.stage == Stage::Waiting) {
                lane.ready.retain(|ready| *ready != event_id);
            }
        }
    }

    /// Brings the queues up to date with a lane that may have changed.
    pub(super) fn touch(&mut self, id: DestinationId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !lane.queued && lane.room() > 0 && !lane.ready.is_empty() {
            lane.queued = true;
            self.releasable.push(lane.state.tenant_id, id);
        }
        if lane.wants_refill() {
            self.refill.insert(id);
        }
        if lane.is_crowded() {
            self.crowded.insert(id);
        } else {
            self.crowded.remove(&id);
        }
        self.breakers.insert(id);
        match lane.wake_at() {
            Some(at) => self.wakes.set(id, at),
            None => self.wakes.clear(id),
        }
    }

    /// Looks at the lanes whose time has come.
    pub(super) fn wake(&mut self, now: DateTime<Utc>) {
        self.woken = now;
        for id in self.wakes.due(now) {
            if let Some(lane) = self.lanes.get_mut(&id)
                && lane.next_due.is_some_and(|due| due <= now)
            {
                lane.next_due = None;
                lane.behind = true;
            }
            // A lane may have to be looked at again, for something else, at a later time.
            self.touch(id);
        }
    }

    /// Releases what is due and has room, lane by lane in turn.
    pub(super) fn release(&mut self, now: DateTime<Utc>) -> Vec<DueDelivery> {
        let mut jobs = Vec::new();
        while self.released.len() < OUTSTANDING_MAX {
            let Some(id) = self.releasable.pop() else { break };
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.queued = false;
            let mut turn = lane.room().min(TURN_JOBS_MAX).min(OUTSTANDING_MAX - self.released.len());
            while turn > 0 {
                let Some(event_id) = lane.ready.pop_front() else { break };
                let Some(open) = self.open.get_mut(&event_id) else { continue };
                open.stage = Stage::Released;
                lane.under_way.insert(event_id);
                self.released.set(event_id, now);
                jobs.push(open.delivery.clone());
                turn -= 1;
            }
            self.touch(id);
        }
        jobs
    }

    /// Jobs that were released before `before` and never started: the queue may have forgotten them.
    pub(super) fn forgotten(&mut self, before: DateTime<Utc>, now: DateTime<Utc>) -> Vec<DueDelivery> {
        let forgotten = self.released.due(before);
        for event_id in &forgotten {
            self.released.set(*event_id, now);
        }
        self.deliveries(&forgotten)
    }

    /// Attempts that started before `before` and have no outcome: their worker has vanished. They stay
    /// under way until their outcome is in the log.
    pub(super) fn vanished(&mut self, before: DateTime<Utc>) -> Vec<DueDelivery> {
        let vanished = self.started.due(before);
        for event_id in &vanished {
            // Looked at again in case the append of its outcome fails.
            self.started.set(*event_id, before + GIVE_UP_AGAIN_AFTER);
        }
        self.deliveries(&vanished)
    }

    fn deliveries(&self, events: &[WebhookEventId]) -> Vec<DueDelivery> {
        let open = events.iter().filter_map(|event_id| self.open.get(event_id));
        open.map(|open| open.delivery.clone()).collect()
    }

    /// The steps that breakers ask for, each asked once until its fact has come back.
    pub(super) fn breaker_steps(
        &mut self,
        threshold: u32,
        now: DateTime<Utc>,
    ) -> Vec<(DestinationId, LaneState, BreakerStep)> {
        let mut steps = Vec::new();
        for id in std::mem::take(&mut self.breakers) {
            if let Some(lane) = self.lanes.get_mut(&id)
                && let Some(step) = lane.breaker_step(threshold, now)
            {
                lane.asked = Some(step);
                steps.push((id, lane.state.clone(), step));
            }
        }
        steps
    }

    /// Lets a breaker's step be asked again after it failed.
    pub(super) fn ask_again(&mut self, id: DestinationId) {
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.asked = None;
            self.touch(id);
        }
    }

    /// The lanes to refill, with how many events each wants.
    pub(super) fn refills(&mut self, lanes_max: usize) -> Vec<(DestinationId, usize)> {
        let mut wanted = Vec::new();
        for id in self.refill.iter().copied().take(lanes_max).collect::<Vec<_>>() {
            match self.lanes.get(&id) {
                Some(lane) if lane.wants_refill() => wanted.push((id, lane.window() - lane.ready.len())),
                _ => {
                    self.refill.remove(&id);
                }
            }
        }
        wanted
    }

    /// The events of a lane that are in memory.
    pub(super) fn in_memory(&self, id: DestinationId) -> impl Iterator<Item = Uuid> + '_ {
        let lane = self.lanes.get(&id).into_iter();
        lane.flat_map(|lane| lane.ready.iter().chain(&lane.under_way)).map(|event_id| event_id.0)
    }

    /// Hands over what the next flush writes. After a flush that failed, the schedule is built anew
    /// from the tables, so nothing is kept here.
    pub(super) fn take_changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        for (event_id, change) in self.changes.drain() {
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
        self.forget_idle_lanes(IDLE_LANES_MAX);
        changes
    }

    /// Forgets idle lanes when there are more than `lanes_max`: the tables hold all that is known of
    /// them.
    pub(super) fn forget_idle_lanes(&mut self, lanes_max: usize) {
        if self.lanes.len() > lanes_max {
            self.lanes.retain(|_, lane| !lane.is_idle());
        }
    }

    /// How many rows the next flush would write.
    pub(super) fn changes_len(&self) -> usize {
        self.changes.len() + self.changed_lanes.len()
    }

    /// The next time something must be looked at although nothing arrives.
    pub(super) fn next_wake(&self) -> Option<DateTime<Utc>> {
        // What was due then was looked at; if something of it is left, it waits for an answer.
        self.wakes.first_after(self.woken)
    }

    /// When the job that waits longest was published, and when the oldest attempt under way started.
    pub(super) fn oldest(&self) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        (self.released.first(), self.started.first())
    }

    /// Whether something that is due waits for news of attempts: for one to start, or to end.
    pub(super) fn is_short_of_room(&self) -> bool {
        self.released.len() >= OUTSTANDING_MAX || !self.crowded.is_empty()
    }

    /// Jobs released and not yet started.
    pub(super) fn outstanding(&self) -> usize {
        self.released.len()
    }
}
