//! Limit of the webhooks that each tenant may send per second.
//!
//! A token bucket for each tenant (as GCRA: its only state is the time at which it is full again), in the memory of this
//! process, which is bounded. It is checked before the body is read.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aggregates::ids::TenantId;
use moka::sync::Cache;

use crate::api::http::problem::Problem;

/// Time whose webhooks a tenant may send at once. Lower: sources with bursts are refused. Higher: a burst is larger.
const BURST: Duration = Duration::from_secs(10);
/// Buckets in memory, about 100 bytes each. One that is dropped is full when its tenant returns.
const BUCKETS_MAX: u64 = 50_000;

/// The limit of every tenant. Clones share the buckets.
#[derive(Clone, Debug)]
pub(crate) struct EventRates(Option<Buckets>);

#[derive(Clone, Debug)]
struct Buckets {
    per_second: NonZeroU32,
    start: Instant,
    /// Nanoseconds since `start` at which the bucket of a tenant is full.
    full_at: Cache<TenantId, Arc<AtomicU64>>,
}

impl EventRates {
    /// Without a limit nothing is refused.
    pub(crate) fn new(per_second: Option<NonZeroU32>) -> Self {
        Self(per_second.map(|per_second| Buckets {
            per_second,
            start: Instant::now(),
            full_at: Cache::builder().max_capacity(BUCKETS_MAX).time_to_idle(BURST * 2).build(),
        }))
    }

    /// Counts a webhook of a tenant.
    ///
    /// # Errors
    /// A problem of kind `TooManyRequests` if the limit is exceeded; the webhook is not counted then.
    pub(crate) fn count(&self, tenant_id: TenantId) -> Result<(), Problem> {
        match &self.0 {
            Some(buckets) => buckets.count(tenant_id, buckets.start.elapsed()),
            None => Ok(()),
        }
    }
}

impl Buckets {
    fn count(&self, tenant_id: TenantId, now: Duration) -> Result<(), Problem> {
        let (now, interval) = (nanoseconds(now), 1_000_000_000 / u64::from(self.per_second.get()));
        // One webhook is always allowed.
        let full_at_most = now + nanoseconds(BURST).max(interval);
        let full_at = self.full_at.get_with(tenant_id, Arc::default);
        let counted = full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let after = full_at.max(now) + interval;
            (after <= full_at_most).then_some(after)
        });
        counted.map(|_| ()).map_err(|full_at| {
            metrics::counter!("hooksentry_tenant_limit_refusals_total", "limit" => "events per second")
                .increment(1);
            let wait = Duration::from_nanos(full_at + interval - full_at_most);
            Problem::event_rate_exceeded(self.per_second, wait)
        })
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn buckets(per_second: u32) -> Buckets {
        EventRates::new(NonZeroU32::new(per_second)).0.unwrap()
    }

    fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    #[test]
    fn a_tenant_may_send_what_it_saved_and_then_as_much_as_its_rate() {
        let buckets = buckets(2);
        let allowed = |tenant_id, seconds, tries: usize| {
            let now = Duration::from_secs(seconds);
            (0..tries).filter(|_| buckets.count(tenant_id, now).is_ok()).count()
        };
        assert_eq!(allowed(tenant(1), 100, 50), 20);
        assert_eq!(allowed(tenant(1), 101, 50), 2);
        assert_eq!(allowed(tenant(2), 101, 50), 20, "another tenant has a bucket of its own");
        assert_eq!(allowed(tenant(1), 104, 50), 6);
        assert_eq!(allowed(tenant(1), 1_000, 50), 20);
    }

    #[test]
    fn without_a_limit_nothing_is_refused() {
        let rates = EventRates::new(None);
        assert!((0..1_000).all(|_| rates.count(tenant(1)).is_ok()));
    }
}
