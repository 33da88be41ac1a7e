//! The share of time in which a tenant's lists may be queried.
//!
//! How long a query takes is known at its end, so a tenant may use time that it does not have yet. It waits for it before
//! the next query.

use std::time::{Duration, Instant};

/// Time that a tenant which has rested may use at once. Lower: a user who opens a few slow lists waits. Higher: a tenant
/// takes longer to get to its share.
const BURST: Duration = Duration::from_secs(2);
/// Most time that a tenant may owe, so that a user waits little longer than for the query itself.
const DEBT_MAX: Duration = Duration::from_secs(2);

/// Time that a tenant may use. It grows by `share` of the time that passes, up to [`BURST`].
#[derive(Clone, Copy, Debug)]
pub(super) struct ListTime {
    /// Seconds; negative: time that was used and not yet had.
    available: f64,
    at: Instant,
    share: f64,
}

impl ListTime {
    /// Returns the time of a tenant that has rested, which gets this percentage of the time that passes.
    pub(super) fn new(percent: u32, now: Instant) -> Self {
        Self { available: BURST.as_secs_f64(), at: now, share: f64::from(percent) / 100.0 }
    }

    /// Returns how long the next query has to wait.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.grow(now);
        Duration::from_secs_f64((-self.available / self.share).max(0.0))
    }

    /// Counts a query.
    pub(super) fn used(&mut self, time: Duration, now: Instant) {
        self.grow(now);
        self.available = (self.available - time.as_secs_f64()).max(-DEBT_MAX.as_secs_f64());
    }

    /// Whether it is the time of a tenant that has rested.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.grow(now);
        self.available >= BURST.as_secs_f64()
    }

    fn grow(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.available = (self.available + passed * self.share).min(BURST.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_gets_its_share_of_the_time_after_a_burst() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut time = ListTime::new(50, start);
        assert!(time.is_full(start));
        time.used(BURST, start);
        assert_eq!(time.wait(start), Duration::ZERO);
        time.used(Duration::from_secs(1), start);
        assert_eq!(time.wait(start), Duration::from_secs(2));
        assert_eq!(time.wait(after(1)), Duration::from_secs(1));
        assert_eq!(time.wait(after(2)), Duration::ZERO);
        assert!(!time.is_full(after(5)));
        assert!(time.is_full(after(6)));
    }

    #[test]
    fn a_long_query_makes_the_next_one_wait_for_a_bounded_time() {
        let start = Instant::now();
        let mut time = ListTime::new(50, start);
        time.used(Duration::from_secs(60), start);
        assert_eq!(time.wait(start), Duration::from_secs(4));
    }
}
