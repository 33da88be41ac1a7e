//! Webhooks that wait for their commit, by tenant, and the tenants that may not add to them.
//!
//! A queue that gets short now and then absorbs a burst. One that stays long holds more than is accepted, and only delays
//! every webhook in it (K. Nichols, V. Jacobson, "Controlling Queue Delay", RFC 8289). Each tenant has a queue of its own,
//! because they take turns ([`super::group_commit`]): how long the webhooks of one wait says nothing of the others. A
//! tenant whose webhooks have waited for too long without a pause may have its share of a number, and no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aggregates::ids::TenantId;

use crate::config::TenantWeights;

/// Time for which the webhooks of a tenant have to wait for too long, without a single exception, before further ones are
/// refused. Lower: short bursts are refused. Higher: in overload webhooks wait longer at first.
const STANDING_AFTER: Duration = Duration::from_secs(1);
/// Webhooks that a tenant may always have in the queue: what one commit accepts.
const ALWAYS_ADMITTED: usize = super::acceptance::ACCEPTED_AT_ONCE;

/// When a queue is too long, and what may be in it then.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Time after which a webhook has waited for too long.
    pub delay: Duration,
    /// Webhooks that may wait, which the tenants that have any share.
    pub waiting_max: usize,
}

/// The queues of all tenants. Clones share them.
#[derive(Clone, Debug)]
pub struct AcceptQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limits: QueueLimits,
    weights: TenantWeights,
    queues: Mutex<Queues>,
}

#[derive(Debug, Default)]
struct Queues {
    by_tenant: HashMap<TenantId, TenantQueue>,
    waiting: usize,
    /// Sum of the weights of the tenants that have a queue.
    weight: usize,
}

#[derive(Debug)]
struct TenantQueue {
    waiting: usize,
    /// When the queue was last known to be short.
    short_at: Instant,
}

/// A webhook in the queue, until it is dropped.
#[derive(Debug)]
pub struct Waiting {
    queue: AcceptQueue,
    tenant_id: TenantId,
    since: Instant,
}

impl AcceptQueue {
    #[must_use]
    pub fn new(limits: QueueLimits, weights: TenantWeights) -> Self {
        Self(Arc::new(Shared { limits, weights, queues: Mutex::default() }))
    }

    /// Returns whether a tenant may add a webhook to its queue.
    #[must_use]
    pub fn admits(&self, tenant_id: TenantId) -> bool {
        let Shared { limits, weights, .. } = &*self.0;
        self.queues().admits(limits, weights, tenant_id, Instant::now())
    }

    /// Adds a webhook to the queue of its tenant.
    #[must_use]
    pub fn enter(&self, tenant_id: TenantId) -> Waiting {
        let since = Instant::now();
        self.queues().enter(&self.0.weights, tenant_id, since);
        Waiting { queue: self.clone(), tenant_id, since }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.0.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Shared { limits, weights, .. } = &*self.queue.0;
        self.queue.queues().leave(limits, weights, self.tenant_id, self.since, Instant::now());
    }
}

impl Queues {
    fn admits(
        &self,
        limits: &QueueLimits,
        weights: &TenantWeights,
        tenant_id: TenantId,
        now: Instant,
    ) -> bool {
        let Some(queue) = self.by_tenant.get(&tenant_id) else { return true };
        let is_standing = now.saturating_duration_since(queue.short_at) >= STANDING_AFTER.max(limits.delay);
        let share = limits.waiting_max * usize::from(weights.of(tenant_id)) / self.weight.max(1);
        !is_standing || queue.waiting < share.max(ALWAYS_ADMITTED)
    }

    fn enter(&mut self, weights: &TenantWeights, tenant_id: TenantId, now: Instant) {
        let queue = self.by_tenant.entry(tenant_id).or_insert_with(|| {
            self.weight += usize::from(weights.of(tenant_id));
            TenantQueue { waiting: 0, short_at: now }
        });
        queue.waiting += 1;
        self.waiting += 1;
        show(self.waiting);
    }

    fn leave(
        &mut self,
        limits: &QueueLimits,
        weights: &TenantWeights,
        tenant_id: TenantId,
        since: Instant,
        now: Instant,
    ) {
        let Some(queue) = self.by_tenant.get_mut(&tenant_id) else { return };
        queue.waiting -= 1;
        self.waiting -= 1;
        if now.saturating_duration_since(since) <= limits.delay {
            queue.short_at = now;
        }
        if queue.waiting == 0 {
            self.by_tenant.remove(&tenant_id);
            self.weight -= usize::from(weights.of(tenant_id));
        }
        show(self.waiting);
    }
}

fn show(waiting: usize) {
    metrics::gauge!("hooksentry_webhooks_waiting").set(waiting as f64);
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LIMITS: QueueLimits = QueueLimits { delay: Duration::from_millis(50), waiting_max: 512 };
    const LOUD: TenantId = TenantId(Uuid::from_u128(1));
    const QUIET: TenantId = TenantId(Uuid::from_u128(2));

    /// Queues at times that a test gives, in milliseconds.
    struct Model {
        queues: Queues,
        weights: TenantWeights,
        start: Instant,
    }

    impl Model {
        fn new(weights: TenantWeights) -> Self {
            Self { queues: Queues::default(), weights, start: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn enter(&mut self, tenant_id: TenantId, count: usize, ms: u64) {
            let now = self.at(ms);
            (0..count).for_each(|_| self.queues.enter(&self.weights, tenant_id, now));
        }

        fn leave(&mut self, tenant_id: TenantId, count: usize, since_ms: u64, ms: u64) {
            let (since, now) = (self.at(since_ms), self.at(ms));
            (0..count).for_each(|_| self.queues.leave(&LIMITS, &self.weights, tenant_id, since, now));
        }

        fn admits(&self, tenant_id: TenantId, ms: u64) -> bool {
            self.queues.admits(&LIMITS, &self.weights, tenant_id, self.at(ms))
        }
    }

    #[test]
    fn a_burst_is_admitted_however_large_it_is() {
        let mut model = Model::new(TenantWeights::default());
        model.enter(LOUD, 5_000, 0);
        assert!(model.admits(LOUD, 999));
        model.leave(LOUD, 5_000, 0, 999);
        model.enter(LOUD, 5_000, 999);
        assert!(model.admits(LOUD, 1_998), "the queue was empty");
        assert!(!model.admits(LOUD, 1_999));
    }

    #[test]
    fn a_tenant_with_its_share_is_refused_while_all_of_its_webhooks_wait_for_too_long() {
        let mut model = Model::new(TenantWeights::default());
        model.enter(LOUD, 600, 0);
        for ms in [200, 400, 600, 800] {
            model.leave(LOUD, 20, ms - 51, ms);
            model.enter(LOUD, 20, ms);
        }
        assert!(!model.admits(LOUD, 1_000));
        model.leave(LOUD, 89, 0, 1_001);
        assert!(model.admits(LOUD, 1_001), "511 wait");
        model.enter(LOUD, 1, 1_001);
        assert!(!model.admits(LOUD, 1_002));
        model.leave(LOUD, 1, 1_000, 1_050);
        model.enter(LOUD, 1, 1_050);
        assert!(model.admits(LOUD, 1_051), "one did not wait for long");
        assert!(!model.admits(LOUD, 2_050));
    }

    #[test]
    fn a_commit_that_does_not_end_makes_the_queue_stand() {
        let mut model = Model::new(TenantWeights::default());
        model.enter(LOUD, 512, 0);
        assert!(model.admits(LOUD, 999));
        assert!(!model.admits(LOUD, 1_000));
    }

    #[test]
    fn a_quiet_tenant_is_admitted_whatever_the_loud_ones_do() {
        let mut model = Model::new(TenantWeights::default());
        for number in 10..30 {
            model.enter(TenantId(Uuid::from_u128(number)), 200, 0);
        }
        model.enter(QUIET, 63, 0);
        assert!(model.admits(QUIET, 60_000), "it has less than one commit accepts");
        model.enter(QUIET, 1, 0);
        assert!(!model.admits(QUIET, 60_000));
        assert!(!model.admits(TenantId(Uuid::from_u128(10)), 60_000));
        assert!(model.admits(TenantId(Uuid::from_u128(99)), 60_000), "it has none");
    }

    #[test]
    fn tenants_share_what_may_wait_by_their_weights() {
        let mut model = Model::new(TenantWeights::new([(LOUD, 3)].into()));
        model.enter(LOUD, 383, 0);
        model.enter(QUIET, 127, 0);
        assert!(model.admits(LOUD, 5_000) && model.admits(QUIET, 5_000));
        model.enter(LOUD, 1, 0);
        model.enter(QUIET, 1, 0);
        assert!(!model.admits(LOUD, 5_000) && !model.admits(QUIET, 5_000));
        model.leave(QUIET, 128, 0, 5_000);
        assert!(model.admits(LOUD, 5_000), "it is alone");
        model.leave(LOUD, 384, 0, 5_000);
        assert_eq!((model.queues.waiting, model.queues.weight), (0, 0));
        assert!(model.queues.by_tenant.is_empty());
    }
}
