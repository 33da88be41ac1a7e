//! How many jobs of each tenant are on the queue.
//!
//! Jobs on the queue cannot be overtaken. When the attempts of one tenant use up the permits of the workers, its jobs
//! wait at the workers, and would fill what they may prefetch: then no job of another tenant reaches a worker that has
//! permits reserved for it. So a tenant whose jobs do not start soon has only few on the queue.
//!
//! That is known after a while. Until then a tenant may release at most [`FREE_FACTOR`] jobs for each that may still be
//! released (dynamic thresholds, as at the workers): however many the others have released, there is room for the first jobs of
//! a tenant.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};

use super::deadline_queue::DeadlineQueue;
use crate::clock::BootTime;

/// Age of a tenant's oldest job that has not started, from which on its jobs count as waiting at the workers. Lower: a
/// slow commit narrows the window of a tenant. Higher: its jobs delay those of others for longer.
const WAITING_AFTER: Duration = Duration::from_secs(1);
/// Most jobs on the queue of a tenant whose jobs wait at the workers. Lower: its attempts start less often when they
/// could. Higher: fewer such tenants fill what a worker prefetches.
const JOBS_MAX: usize = 32;
/// How many jobs a tenant may have on the queue for each that may still be released. Lower: a tenant that is alone leaves
/// more idle. Higher: less room is left for a tenant whose first job is due while others have released what they may.
const FREE_FACTOR: usize = 4;

#[derive(Debug, Default)]
pub(super) struct TenantWindows {
    /// Jobs released and not started, by the time of their release.
    released: HashMap<TenantId, DeadlineQueue<WebhookEventId, BootTime>>,
    /// Lanes with something to release, of tenants that have enough on the queue.
    parked: HashMap<TenantId, VecDeque<DestinationId>>,
}

impl TenantWindows {
    /// Adds a job that is released at `now`.
    pub(super) fn add(&mut self, tenant_id: TenantId, event_id: WebhookEventId, now: BootTime) {
        self.released.entry(tenant_id).or_default().set(event_id, now);
    }

    /// Removes a job that has started, or does not start any more.
    pub(super) fn remove(&mut self, tenant_id: TenantId, event_id: WebhookEventId) {
        if let Some(released) = self.released.get_mut(&tenant_id) {
            released.remove(event_id);
            if released.len() == 0 {
                self.released.remove(&tenant_id);
            }
        }
    }

    /// Returns how many more jobs of the tenant may be released now, when `left` more may be released of all tenants.
    pub(super) fn space(&self, tenant_id: TenantId, left: usize, now: BootTime) -> usize {
        let released = self.released.get(&tenant_id);
        let own = released.map_or(0, DeadlineQueue::len);
        if released.is_some_and(|released| wait_at_workers(released, now)) {
            JOBS_MAX.saturating_sub(own)
        } else {
            // Each that is released leaves one less.
            (FREE_FACTOR * left).saturating_sub(own).div_ceil(FREE_FACTOR + 1)
        }
    }

    /// Returns the number of jobs released and not started, without those of tenants whose jobs wait at the workers.
    pub(super) fn about_to_start(&self, now: BootTime) -> usize {
        let moving = self.released.values().filter(|released| !wait_at_workers(released, now));
        moving.map(DeadlineQueue::len).sum()
    }

    /// Keeps a lane of a tenant without space until it has some.
    pub(super) fn park(&mut self, tenant_id: TenantId, id: DestinationId) {
        self.parked.entry(tenant_id).or_default().push_back(id);
    }

    /// Removes and returns lanes of tenants that have space again, no more than may be of use.
    pub(super) fn unpark(&mut self, left: usize, now: BootTime) -> Vec<(TenantId, DestinationId)> {
        let mut unparked = Vec::new();
        for tenant_id in self.parked.keys().copied().collect::<Vec<_>>() {
            let space = self.space(tenant_id, left, now).min(JOBS_MAX);
            if let Some(lanes) = self.parked.get_mut(&tenant_id) {
                let count = space.min(lanes.len());
                unparked.extend(lanes.drain(..count).map(|id| (tenant_id, id)));
                if lanes.is_empty() {
                    self.parked.remove(&tenant_id);
                }
            }
        }
        unparked
    }

    /// Whether a lane waits for jobs of its tenant to start.
    pub(super) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }
}

/// Whether these jobs, with the times of their release, do not start soon.
fn wait_at_workers(released: &DeadlineQueue<WebhookEventId, BootTime>, now: BootTime) -> bool {
    released.first().is_some_and(|first| now.since(first) > WAITING_AFTER)
}
