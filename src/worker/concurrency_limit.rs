//! Limit of the concurrent attempts of a worker and of the memory of their payloads, shared between tenants.
//!
//! An attempt that waits for its receiver costs a task, a socket and its payload. So memory is bounded, and
//! the number of attempts only far above the usual one: if it were scarce, a few destinations that hang would
//! use all permits, and the others would wait for their timeouts.
//!
//! The size of a payload is known when the attempt has been claimed. So attempts begin while the payloads
//! are below their limit, and the number of jobs whose claim is pending is limited: at most that many
//! payloads exceed the limit.
//!
//! **Tenants.** A tenant may use all permits and bytes while no other waits, except a small reserve. While
//! others wait it gets no more than its share. Attempts cannot be taken back, so the reserve is what a tenant
//! gets at once whose first job arrives when another uses everything else.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aggregates::ids::TenantId;
use metrics::gauge;
use tokio::sync::Notify;

/// Maximum number of jobs whose claim is pending. One group commit claims all of them.
const PENDING_CLAIMS_MAX: usize = 64;
/// Part of the permits and bytes that is kept for tenants that use less than it.
const RESERVE: usize = 16;

/// Concurrency limit of a worker.
#[derive(Clone, Debug)]
pub(super) struct ConcurrencyLimit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    attempts_max: usize,
    payload_bytes_max: usize,
    in_use: Mutex<InUse>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct InUse {
    total: Usage,
    pending_claims: usize,
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
    is_claim_pending: bool,
    payload_bytes: usize,
}

impl ConcurrencyLimit {
    pub(super) fn new(attempts_max: NonZeroU16, payload_bytes_max: usize) -> Self {
        Self(Arc::new(Shared {
            attempts_max: usize::from(attempts_max.get()),
            payload_bytes_max,
            in_use: Mutex::default(),
            freed: Notify::new(),
        }))
    }

    /// Returns a permit if the tenant may have one now. `waiting` is the number of tenants with jobs that wait, this
    /// one included.
    pub(super) fn try_acquire(&self, tenant_id: TenantId, waiting: usize) -> Option<Permit> {
        let mut in_use = self.in_use();
        let tenant = in_use.tenants.get(&tenant_id).copied().unwrap_or_default();
        let Usage { attempts, payload_bytes } = in_use.total;
        let may_start = in_use.pending_claims < PENDING_CLAIMS_MAX
            && may_use(self.0.attempts_max, attempts, tenant.attempts, waiting)
            && may_use(self.0.payload_bytes_max, payload_bytes, tenant.payload_bytes, waiting);
        if !may_start {
            return None;
        }
        in_use.pending_claims += 1;
        in_use.change(tenant_id, |usage| usage.attempts += 1);
        let limit = self.clone();
        Some(Permit { limit, tenant_id, is_claim_pending: true, payload_bytes: 0 })
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

/// Whether a tenant that uses `tenant` of the `total` in use may use more. When all tenants that wait have their
/// share, everything is in use.
fn may_use(max: usize, total: usize, tenant: usize, waiting: usize) -> bool {
    let reserve = max / RESERVE;
    let share = max / waiting.max(1);
    total < max && tenant < share.max(1) && (total < max - reserve || tenant < reserve)
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
    /// Records that the claim is no longer pending, with the size of the payload; 0 when it was not granted.
    pub(super) fn claimed(&mut self, payload_bytes: usize) {
        let mut in_use = self.limit.in_use();
        in_use.change(self.tenant_id, |usage| usage.payload_bytes += payload_bytes);
        self.payload_bytes += payload_bytes;
        if self.is_claim_pending {
            in_use.pending_claims -= 1;
            self.is_claim_pending = false;
        }
        self.limit.0.freed.notify_one();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut in_use = self.limit.in_use();
        in_use.pending_claims -= usize::from(self.is_claim_pending);
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

    fn limit(attempts_max: u16, payload_bytes_max: usize) -> ConcurrencyLimit {
        ConcurrencyLimit::new(NonZeroU16::new(attempts_max).unwrap(), payload_bytes_max)
    }

    /// Starts attempts until none may start.
    fn start_all(limit: &ConcurrencyLimit, tenant_id: TenantId, waiting: usize, bytes: usize) -> Vec<Permit> {
        let started = std::iter::from_fn(|| {
            let mut permit = limit.try_acquire(tenant_id, waiting)?;
            permit.claimed(bytes);
            Some(permit)
        });
        started.collect()
    }

    #[tokio::test]
    async fn a_job_waits_for_the_end_of_another_at_the_limit_of_attempts() {
        let limit = limit(2, 100);
        let mut started = start_all(&limit, A, 1, 1);
        assert_eq!(started.len(), 2);
        assert!(limit.try_acquire(A, 1).is_none());
        started.pop();
        limit.freed().await;
        assert!(limit.try_acquire(A, 1).is_some());
    }

    #[test]
    fn a_job_waits_at_the_limit_of_payload_bytes() {
        let limit = limit(10, 100);
        let mut large = limit.try_acquire(A, 1).unwrap();
        large.claimed(150);
        assert!(limit.try_acquire(B, 1).is_none());
        drop(large);
        assert!(limit.try_acquire(B, 1).is_some());
    }

    #[test]
    fn the_number_of_payloads_of_unknown_size_is_limited() {
        let limit = limit(1_000, 100);
        let mut unknown: Vec<_> = std::iter::from_fn(|| limit.try_acquire(A, 1)).collect();
        assert_eq!(unknown.len(), PENDING_CLAIMS_MAX);
        // The claim was not granted, so there is no payload.
        unknown[0].claimed(0);
        assert!(limit.try_acquire(A, 1).is_some());
    }

    #[test]
    fn a_tenant_that_is_alone_uses_everything_but_the_reserve() {
        let limit = limit(160, 1 << 20);
        let first = start_all(&limit, A, 1, 1);
        assert_eq!(first.len(), 150);
        let second = start_all(&limit, B, 1, 1);
        assert_eq!(second.len(), 10, "the reserve is there at once");
        drop(second);
        assert_eq!(start_all(&limit, A, 1, 1).len(), 0);
    }

    #[test]
    fn while_another_waits_a_tenant_gets_no_more_than_its_share() {
        let limit = limit(160, 1 << 20);
        let mut first = start_all(&limit, A, 1, 1);
        let mut second = start_all(&limit, B, 2, 1);
        while let Some(ended) = first.pop() {
            drop(ended);
            if first.len() < 80 {
                break;
            }
            assert!(limit.try_acquire(A, 2).is_none(), "it has {} of 160", first.len());
            second.extend(start_all(&limit, B, 2, 1));
        }
        assert_eq!((first.len(), second.len()), (79, 70), "and the reserve");
        assert!(limit.try_acquire(A, 2).is_some());
    }

    /// One that needs little of them.
    #[test]
    fn a_small_payload_does_not_wait_for_the_large_ones_of_another_tenant() {
        let limit = limit(1_000, 1_600);
        let large = start_all(&limit, A, 1, 100);
        assert_eq!(large.len(), 15);
        assert!(limit.try_acquire(A, 1).is_none());
        assert_eq!(start_all(&limit, B, 2, 1).len(), 100, "as much as the reserve");
    }

    #[test]
    fn when_many_tenants_wait_no_permit_is_idle() {
        let tenants: Vec<_> = (1..=7).map(|number| TenantId(Uuid::from_u128(number))).collect();
        let limit = limit(100, 1 << 20);
        let mut started: Vec<_> = start_all(&limit, A, 1, 1);
        for _ in 0..100 {
            for tenant in &tenants {
                started.extend(limit.try_acquire(*tenant, tenants.len()).into_iter().map(|mut permit| {
                    permit.claimed(1);
                    permit
                }));
            }
        }
        assert_eq!(started.len(), 100);
    }
}
