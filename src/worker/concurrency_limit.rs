//! Limit of the concurrent attempts of a worker and of the memory of their payloads, shared between tenants.
//!
//! An attempt that waits for its receiver costs a task, a socket and its payload. So memory is bounded, and
//! the number of attempts only far above the usual one: if it were scarce, a few destinations that hang would
//! use all permits, and the others would wait for their timeouts.
//!
//! The size of a payload is known when it was read. So attempts begin while the payloads are below their limit, and the
//! number of jobs whose payload is not read yet is limited: at most that many payloads exceed the limit.
//!
//! **Tenants.** Attempts cannot be taken back, so what is left for a tenant whose first job arrives must be free
//! already, however many others hang. So a tenant may use no more than [`FREE_FACTOR`] times its weight times what is
//! free (dynamic thresholds: A. Choudhury and E. Hahne, 1998). One tenant alone uses four fifths, two use four ninths
//! each, and tenants that always have jobs use shares that are proportional to their weights.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aggregates::ids::TenantId;
use metrics::gauge;
use tokio::sync::Notify;

use crate::config::TenantWeights;

/// Maximum number of jobs whose claim is pending or whose payload is not read yet. A third of them is in the commit of
/// claims, a third waits for the next one, and a third for its payloads. Lower: smaller batches, and deliveries fall
/// behind what is accepted. Higher: more payloads above the limit of bytes.
const PENDING_MAX: usize = 128;
/// How much a tenant of weight 1 may use for each permit or byte that is free. Lower: a tenant that is alone leaves more
/// idle. Higher: less is free at once for a tenant whose first job arrives while others use what they may.
const FREE_FACTOR: usize = 4;

/// Concurrency limit of a worker.
#[derive(Clone, Debug)]
pub(super) struct ConcurrencyLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    attempts_max: usize,
    payload_bytes_max: usize,
    weights: TenantWeights,
    in_use: Mutex<InUse>,
    /// Number of jobs that wait for a permit.
    waiting: AtomicUsize,
    freed: Notify,
}

#[derive(Debug, Default)]
struct InUse {
    total: Usage,
    pending: usize,
    /// Tenants with attempts.
    tenants: HashMap<TenantId, Usage>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    attempts: usize,
    payload_bytes: usize,
}

/// Permit for one job, held until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limit: ConcurrencyLimit,
    tenant_id: TenantId,
    is_pending: bool,
    payload_bytes: usize,
}

impl ConcurrencyLimit {
    pub(super) fn new(attempts_max: NonZeroU16, payload_bytes_max: usize, weights: TenantWeights) -> Self {
        Self(Arc::new(Shared {
            attempts_max: usize::from(attempts_max.get()),
            payload_bytes_max,
            weights,
            in_use: Mutex::default(),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
        }))
    }

    /// Returns a permit if the tenant may have one now.
    pub(super) fn try_acquire(&self, tenant_id: TenantId) -> Option<Permit> {
        let mut in_use = self.in_use();
        let tenant = in_use.tenants.get(&tenant_id).copied().unwrap_or_default();
        let Usage { attempts, payload_bytes } = in_use.total;
        let weight = usize::from(self.0.weights.of(tenant_id));
        let may_start = in_use.pending < PENDING_MAX
            && may_use(self.0.attempts_max, attempts, tenant.attempts, weight)
            && may_use(self.0.payload_bytes_max, payload_bytes, tenant.payload_bytes, weight);
        if !may_start {
            return None;
        }
        in_use.pending += 1;
        in_use.change(tenant_id, |usage| usage.attempts += 1);
        let limit = self.clone();
        Some(Permit { limit, tenant_id, is_pending: true, payload_bytes: 0 })
    }

    /// Returns a permit if the tenant may have one now and no job waits for one.
    pub(super) fn try_acquire_if_none_waits(&self, tenant_id: TenantId) -> Option<Permit> {
        if self.0.waiting.load(Ordering::Relaxed) > 0 { None } else { self.try_acquire(tenant_id) }
    }

    /// Notes how many jobs wait for a permit.
    pub(super) fn note_waiting(&self, jobs: usize) {
        self.0.waiting.store(jobs, Ordering::Relaxed);
    }

    /// Waits until [`Self::try_acquire`] may return a permit that it refused before.
    pub(super) async fn freed(&self) {
        self.0.freed.notified().await;
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        // No change can panic halfway.
        self.0.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a tenant that uses `tenant` of the `total` in use may use more.
fn may_use(max: usize, total: usize, tenant: usize, weight: usize) -> bool {
    let free = max.saturating_sub(total);
    tenant < free.saturating_mul(FREE_FACTOR * weight)
}

impl InUse {
    fn change(&mut self, tenant_id: TenantId, change: impl Fn(&mut Usage)) {
        change(&mut self.total);
        let tenant = self.tenants.entry(tenant_id).or_default();
        change(tenant);
        if tenant.attempts == 0 {
            self.tenants.remove(&tenant_id);
        }
        gauge!("hooksentry_worker_attempts").set(self.total.attempts as f64);
        gauge!("hooksentry_worker_payload_bytes").set(self.total.payload_bytes as f64);
    }
}

impl Permit {
    /// Records the size of the payload that was read; 0 if it was erased.
    pub(super) fn payload_read(&mut self, payload_bytes: usize) {
        let mut in_use = self.limit.in_use();
        in_use.change(self.tenant_id, |usage| usage.payload_bytes += payload_bytes);
        self.payload_bytes += payload_bytes;
        if self.is_pending {
            in_use.pending -= 1;
            self.is_pending = false;
        }
        self.limit.0.freed.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut in_use = self.limit.in_use();
        in_use.pending -= usize::from(self.is_pending);
        let payload_bytes = self.payload_bytes;
        in_use.change(self.tenant_id, |usage| {
            usage.payload_bytes -= payload_bytes;
            usage.attempts -= 1;
        });
        self.limit.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const A: TenantId = TenantId(Uuid::from_u128(1));
    const B: TenantId = TenantId(Uuid::from_u128(2));
    const C: TenantId = TenantId(Uuid::from_u128(3));

    fn limit(attempts_max: u16, payload_bytes_max: usize) -> ConcurrencyLimit {
        let attempts_max = NonZeroU16::new(attempts_max).unwrap();
        ConcurrencyLimit::new(attempts_max, payload_bytes_max, TenantWeights::default())
    }

    /// Starts attempts until none may start.
    fn start_all(limit: &ConcurrencyLimit, tenant_id: TenantId, bytes: usize) -> Vec<Permit> {
        let started = std::iter::from_fn(|| {
            let mut permit = limit.try_acquire(tenant_id)?;
            permit.payload_read(bytes);
            Some(permit)
        });
        started.collect()
    }

    /// Ends attempts one by one and starts what may start, by turns of the tenants, until the shares do not change.
    fn steady_state(limit: &ConcurrencyLimit, started: &mut [(TenantId, Vec<Permit>)]) -> Vec<usize> {
        for _ in 0..2_000 {
            for (_, permits) in &mut *started {
                permits.pop();
            }
            for _ in 0..10 {
                for (tenant_id, permits) in &mut *started {
                    permits.extend(limit.try_acquire(*tenant_id).map(|mut permit| {
                        permit.payload_read(1);
                        permit
                    }));
                }
            }
        }
        started.iter().map(|(_, permits)| permits.len()).collect()
    }

    #[tokio::test]
    async fn a_job_waits_for_the_end_of_another_at_the_limit_of_attempts() {
        let limit = limit(2, 100);
        let mut started = start_all(&limit, A, 1);
        assert_eq!(started.len(), 2);
        assert!(limit.try_acquire(A).is_none());
        started.pop();
        limit.freed().await;
        assert!(limit.try_acquire(A).is_some());
    }

    #[test]
    fn a_job_waits_at_the_limit_of_payload_bytes() {
        let limit = limit(10, 100);
        let mut large = limit.try_acquire(A).unwrap();
        large.payload_read(150);
        assert!(limit.try_acquire(B).is_none());
        drop(large);
        assert!(limit.try_acquire(B).is_some());
    }

    #[test]
    fn the_number_of_payloads_of_unknown_size_is_limited() {
        let limit = limit(1_000, 100);
        let mut unknown: Vec<_> = std::iter::from_fn(|| limit.try_acquire(A)).collect();
        assert_eq!(unknown.len(), PENDING_MAX);
        // The claim was not granted, so there is no payload.
        unknown[0].payload_read(0);
        assert!(limit.try_acquire(A).is_some());
    }

    #[test]
    fn while_jobs_wait_no_other_attempt_gets_a_permit() {
        let limit = limit(10, 100);
        limit.note_waiting(1);
        assert!(limit.try_acquire_if_none_waits(A).is_none());
        assert!(limit.try_acquire(A).is_some(), "it is one of those jobs");
        limit.note_waiting(0);
        assert!(limit.try_acquire_if_none_waits(A).is_some());
    }

    #[test]
    fn one_permit_suffices_for_one_attempt_at_a_time() {
        let limit = limit(1, 100);
        let started = start_all(&limit, A, 1);
        assert_eq!(started.len(), 1);
        assert!(limit.try_acquire(B).is_none());
        drop(started);
        assert!(limit.try_acquire(B).is_some());
    }

    #[test]
    fn each_tenant_leaves_permits_for_the_next() {
        let limit = limit(1_000, 1 << 20);
        let first = start_all(&limit, A, 1);
        assert_eq!(first.len(), 800);
        let second = start_all(&limit, B, 1);
        assert_eq!(second.len(), 160);
        let third = start_all(&limit, C, 1);
        assert_eq!(third.len(), 32, "also when several tenants use what they may");
        drop(second);
        drop(third);
        assert_eq!(start_all(&limit, A, 1).len(), 0);
    }

    #[test]
    fn tenants_that_always_have_jobs_use_the_same_whoever_came_first() {
        let limit = limit(900, 1 << 20);
        let mut started = [A, B].map(|tenant_id| (tenant_id, start_all(&limit, tenant_id, 1)));
        let shares = steady_state(&limit, &mut started);
        assert!(shares.iter().all(|share| (395..=405).contains(share)), "{shares:?}");
    }

    #[test]
    fn shares_are_proportional_to_weights() {
        let weights = TenantWeights::new([(A, 3)].into());
        let limit = ConcurrencyLimit::new(NonZeroU16::new(1_700).unwrap(), 1 << 20, weights);
        let mut started = [B, A].map(|tenant_id| (tenant_id, start_all(&limit, tenant_id, 1)));
        let shares = steady_state(&limit, &mut started);
        assert!((395..=405).contains(&shares[0]) && (1_190..=1_210).contains(&shares[1]), "{shares:?}");
    }

    /// One that needs little of them.
    #[test]
    fn a_small_payload_does_not_wait_for_the_large_ones_of_another_tenant() {
        let limit = limit(1_000, 1_000);
        let large = start_all(&limit, A, 100);
        assert_eq!(large.len(), 8);
        assert_eq!(start_all(&limit, B, 1).len(), 160);
    }

    #[test]
    fn when_many_tenants_have_jobs_almost_every_permit_is_used() {
        let limit = limit(1_000, 1 << 20);
        let tenants = (1..=7).map(|number| TenantId(Uuid::from_u128(number)));
        let mut started: Vec<_> = tenants.map(|tenant_id| (tenant_id, Vec::new())).collect();
        assert!(steady_state(&limit, &mut started).iter().sum::<usize>() > 950);
    }
}
