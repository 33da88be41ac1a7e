//! Which steps the breakers of destinations ask for, and when those that failed are taken again.

use std::time::Duration;

use aggregates::ids::DestinationId;

use super::Schedule;
use crate::clock::{BootTime, Present};
use crate::dispatcher::breaker_steps::LaneStep;

/// Breaker steps taken by one statement.
const BREAKER_STEPS_AT_ONCE: usize = 64;
/// First and longest pause before a breaker's step that failed is taken again. The pauses double in between.
const STEP_AGAIN_MIN: Duration = Duration::from_secs(1);
const STEP_AGAIN_MAX: Duration = Duration::from_secs(60);

impl Schedule {
    /// Returns some of the steps that breakers ask for, each once until its fact was read from the log.
    pub(in crate::dispatcher) fn breaker_steps(&mut self, threshold: u32, now: Present) -> Vec<LaneStep> {
        self.find_breaker_steps(threshold, now);
        let mut steps = Vec::new();
        while steps.len() < BREAKER_STEPS_AT_ONCE
            && let Some(id) = self.steps.pop()
        {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            // It may have changed since the lane waits for its turn.
            lane.pending_step = lane.state.breaker.step(threshold, now.wall);
            match lane.pending_step {
                Some(step) => steps.push((id, lane.state.clone(), step)),
                None => self.touch(id),
            }
        }
        steps
    }

    /// Finds the breakers that ask for a step. One that is to open releases nothing more.
    pub(in crate::dispatcher) fn find_breaker_steps(&mut self, threshold: u32, now: Present) {
        for id in self.failed_steps.due(now.boot) {
            self.failed_steps.remove(id);
            if let Some(lane) = self.lanes.get(&id).filter(|lane| lane.pending_step.is_some()) {
                self.steps.push(lane.state.tenant_id, id);
            }
        }
        for id in std::mem::take(&mut self.breakers) {
            if let Some(lane) = self.lanes.get_mut(&id)
                && lane.pending_step.is_none()
            {
                lane.pending_step = lane.state.breaker.step(threshold, now.wall);
                if lane.pending_step.is_some() {
                    self.steps.push(lane.state.tenant_id, id);
                }
            }
        }
    }

    /// Makes [`Self::breaker_steps`] return a breaker's step again after a while, because it failed.
    pub(in crate::dispatcher) fn retry_breaker_step(&mut self, id: DestinationId, now: BootTime) {
        if let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.pending_step.is_some()) {
            let pause = STEP_AGAIN_MIN.saturating_mul(1 << lane.step_failures.min(16)).min(STEP_AGAIN_MAX);
            lane.step_failures = lane.step_failures.saturating_add(1);
            self.failed_steps.set(id, now + pause);
        }
    }

    /// Returns when the first failed step is to be taken again.
    pub(in crate::dispatcher) fn next_failed_step(&self) -> Option<BootTime> {
        self.failed_steps.first()
    }
}
