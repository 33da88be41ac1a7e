//! Share of the time in which expensive work may be done: lists of a tenant queried, passwords hashed.
//!
//! How long work takes is known at its end, so it may use time that is not available yet. The next work waits for that.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::sleep;

/// Time that may be used at once after a rest. Lower: a user who opens a few slow lists waits, and a few users who log in.
/// Higher: it takes longer to get down to the share.
const BURST: Duration = Duration::from_secs(2);
/// Most time that may be owed, so that the next user waits little longer than for the work itself.
const DEBT_MAX: Duration = Duration::from_secs(2);

/// Time that work may take, a share of the time that passes.
#[derive(Debug)]
pub(crate) struct TimeShare(Mutex<Account>);

/// Time that may be used. It grows by `share` of the time that passes, up to [`BURST`].
#[derive(Clone, Copy, Debug)]
struct Account {
    /// Seconds; negative: time that was used and not yet had.
    available: f64,
    at: Instant,
    share: f64,
}

impl TimeShare {
    /// Returns the time after a rest, of this percentage of the time that passes; 200: of two that work all the time.
    pub(crate) fn new(percent: u32) -> Self {
        Self(Mutex::new(Account::new(percent, Instant::now())))
    }

    /// Waits until there is time for work.
    pub(crate) async fn turn(&self) {
        let wait = self.wait();
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    /// Returns how long the next work has to wait.
    pub(crate) fn wait(&self) -> Duration {
        self.with(|account| account.wait(Instant::now()))
    }

    /// Counts work.
    pub(crate) fn used(&self, time: Duration) {
        self.with(|account| account.used(time, Instant::now()));
    }

    /// Whether nothing was used since a rest.
    pub(crate) fn is_full(&self) -> bool {
        self.with(|account| account.is_full(Instant::now()))
    }

    fn with<T>(&self, access: impl FnOnce(&mut Account) -> T) -> T {
        access(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Account {
    fn new(percent: u32, now: Instant) -> Self {
        Self { available: BURST.as_secs_f64(), at: now, share: f64::from(percent) / 100.0 }
    }

    fn wait(&mut self, now: Instant) -> Duration {
        self.grow(now);
        Duration::from_secs_f64((-self.available / self.share).max(0.0))
    }

    fn used(&mut self, time: Duration, now: Instant) {
        self.grow(now);
        self.available = (self.available - time.as_secs_f64()).max(-DEBT_MAX.as_secs_f64());
    }

    fn is_full(&mut self, now: Instant) -> bool {
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
    fn a_share_of_the_time_is_available_after_a_burst() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut time = Account::new(50, start);
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
    fn after_long_work_the_next_waits_for_a_bounded_time() {
        let start = Instant::now();
        let mut time = Account::new(50, start);
        time.used(Duration::from_secs(60), start);
        assert_eq!(time.wait(start), Duration::from_secs(4));
    }
}
