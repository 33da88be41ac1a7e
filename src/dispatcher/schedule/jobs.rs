//! Jobs: which are released, which are published again, and which attempts have no outcome.

use std::time::Duration;

use aggregates::ids::{DestinationId, WebhookEventId};

use super::{JobState, OUTSTANDING_MAX, Schedule};
use crate::clock::BootTime;
use crate::dispatcher::due_deliveries::DueDelivery;

/// Most times the usual wait before a job is published again.
const REPUBLISH_WAITS_MAX: u32 = 16;
/// Jobs one lane releases before the next lane has its turn.
const TURN_JOBS_MAX: usize = 16;
/// Delay before an attempt that could not be given up is given up again.
const GIVE_UP_AGAIN_AFTER: Duration = Duration::from_secs(5);

impl Schedule {
    /// Releases events that are due and have a permit, lane by lane in turn.
    pub(in crate::dispatcher) fn release(&mut self, now: BootTime) -> Vec<DueDelivery> {
        let mut jobs = Vec::new();
        for (tenant_id, id) in self.windows.unpark(OUTSTANDING_MAX - self.released.len(), now) {
            self.releasable.push(tenant_id, id);
        }
        while self.released.len() < OUTSTANDING_MAX {
            let Some(id) = self.releasable.pop() else { break };
            self.withdraw_offer(id);
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            let tenant_id = lane.state.tenant_id;
            let left = OUTSTANDING_MAX - self.released.len();
            let space = self.windows.space(tenant_id, left, now);
            if space == 0 {
                self.windows.park(tenant_id, id);
                continue;
            }
            lane.is_releasable = false;
            let mut turn = lane.available_permits().min(TURN_JOBS_MAX).min(space);
            while turn > 0 {
                let Some(event_id) = lane.ready.pop_front() else { break };
                let Some(tracked) = self.tracked.get_mut(&event_id) else { continue };
                tracked.state = JobState::Released;
                tracked.republished = 0;
                lane.in_flight.insert(event_id);
                self.released.set(event_id, now);
                self.windows.add(tenant_id, event_id, now);
                jobs.push(tracked.delivery.clone());
                turn -= 1;
            }
            self.touch(id);
        }
        jobs
    }

    /// Returns the jobs that have not started `wait` after they were published: the queue may have lost them.
    /// For a job that was returned before, the time doubles: while there are no workers, copies would only
    /// make the queue longer.
    pub(in crate::dispatcher) fn unstarted(&mut self, wait: Duration, now: BootTime) -> Vec<DueDelivery> {
        let unstarted = self.released.due(now - wait);
        for event_id in &unstarted {
            let Some(tracked) = self.tracked.get_mut(event_id) else { continue };
            tracked.republished = tracked.republished.saturating_add(1);
            let waits = 1_u32.checked_shl(tracked.republished).unwrap_or(u32::MAX).min(REPUBLISH_WAITS_MAX);
            // As if it was published later than it was, by the waits that are added.
            self.released.set(*event_id, now + wait.saturating_mul(waits - 1));
        }
        self.deliveries(&unstarted)
    }

    /// Returns all jobs that have not started, because the queue may have lost them. Their wait begins again.
    pub(in crate::dispatcher) fn all_unstarted(&mut self, now: BootTime) -> Vec<DueDelivery> {
        let unstarted = self.released.ids();
        for event_id in &unstarted {
            self.released.set(*event_id, now);
        }
        self.deliveries(&unstarted)
    }

    /// Returns the attempts whose time limit ended before `before` and that have no outcome: their worker has
    /// vanished. They stay in flight until their outcome is in the log.
    pub(in crate::dispatcher) fn vanished(&mut self, before: BootTime) -> Vec<DueDelivery> {
        let vanished = self.started.due(before);
        for event_id in &vanished {
            // Returned again later in case the append of its outcome fails.
            self.started.set(*event_id, before + GIVE_UP_AGAIN_AFTER);
        }
        self.deliveries(&vanished)
    }

    fn deliveries(&self, events: &[WebhookEventId]) -> Vec<DueDelivery> {
        let tracked = events.iter().filter_map(|event_id| self.tracked.get(event_id));
        tracked.map(|tracked| tracked.delivery.clone()).collect()
    }

    /// Returns the version at which a destination entered its present stage or got its limit.
    pub(in crate::dispatcher) fn stage_version(&self, id: DestinationId) -> u64 {
        self.lanes.get(&id).map_or(0, |lane| lane.state.stage_version)
    }

    /// Returns the time from which the wait of the job counts that is to be published again first.
    pub(in crate::dispatcher) fn oldest_published(&self) -> Option<BootTime> {
        self.released.first()
    }

    /// Returns the number of jobs released and not yet started.
    pub(in crate::dispatcher) fn outstanding(&self) -> usize {
        self.released.len()
    }

    /// Returns how many of these wait for nothing but processors: without those that wait for permits of the workers, or
    /// for a worker.
    pub(in crate::dispatcher) fn about_to_start(&self, now: BootTime) -> usize {
        self.windows.about_to_start(now)
    }
}
