//! The pace of accepting while deliveries fall behind.
//!
//! Accepting takes the processors and the disk that deliver. When more is offered than can be delivered, accepting all of
//! it slows deliveries down, and then twice: what is not delivered at once costs rows of a backlog. So the committer of
//! acceptances pauses after each commit while jobs of the same process wait to start. What it does not accept meanwhile
//! waits in its queue.
//!
//! The number of waiting jobs counts what could be delivered now: an event whose destination hangs, is suspended or has
//! its limit of attempts is no job, so a backlog of receivers that are down slows down nothing.
//!
//! The committer of large webhooks pauses as well while small ones are accepted: storing megabytes takes a processor and
//! the disk, which the small ones of other tenants wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Events in flight between their commit and the start of their attempt from which on accepting pauses. Lower: a burst is
/// accepted more slowly. Higher: more of what is offered becomes a backlog.
const PAUSES_FROM: usize = 320;
/// Events from which on the pause is the longest. It is what the dispatcher releases at most.
const PAUSES_FULLY_FROM: usize = 512;
/// Longest pause, in units of the time that the commit took: accepting has at least a quarter of the time. Lower: deliveries
/// fall behind. Higher: webhooks wait while a backlog of before is delivered.
const PAUSE_MAX: f64 = 3.0;
/// Longest pause after a slow commit.
const PAUSE_TIME_MAX: Duration = Duration::from_millis(50);

/// Returns how long to pause after a commit that took `commit`, while `undelivered` events wait for the start of their
/// attempts.
pub(super) fn pause_after(commit: Duration, undelivered: usize) -> Duration {
    let beyond = undelivered.min(PAUSES_FULLY_FROM).saturating_sub(PAUSES_FROM);
    let part = beyond as f64 / (PAUSES_FULLY_FROM - PAUSES_FROM) as f64;
    commit.mul_f64(PAUSE_MAX * part).min(PAUSE_TIME_MAX)
}

/// Time after a small webhook for which large ones leave room for the next. Higher: a tenant that sends one now and then
/// slows the large ones of all down for longer.
const SMALL_EXPECTED_FOR: Duration = Duration::from_secs(1);
/// Pause of the committer of large webhooks while small ones come, in units of the time that the commit took: large ones
/// are stored for a third of the time. Lower: small ones wait for them. Higher: large ones are accepted more slowly.
const LARGE_PAUSE: f64 = 2.0;
/// Longest such pause.
const LARGE_PAUSE_TIME_MAX: Duration = Duration::from_millis(250);

/// When small webhooks were accepted last. The committers of small and of large ones share it.
#[derive(Clone, Debug)]
pub struct SmallTraffic {
    begun: Instant,
    /// Milliseconds from `begun` to the end of [`SMALL_EXPECTED_FOR`] after the last one; 0: there was none.
    expected_until: Arc<AtomicU64>,
}

impl Default for SmallTraffic {
    fn default() -> Self {
        Self { begun: Instant::now(), expected_until: Arc::default() }
    }
}

impl SmallTraffic {
    /// Notes that small webhooks were accepted.
    pub(super) fn note(&self, now: Instant) {
        self.expected_until.store(self.millis(now + SMALL_EXPECTED_FOR), Ordering::Relaxed);
    }

    /// Returns how long to pause after a commit of large webhooks that took `commit`.
    pub(super) fn pause_after_large(&self, commit: Duration, now: Instant) -> Duration {
        if self.millis(now) < self.expected_until.load(Ordering::Relaxed) {
            commit.mul_f64(LARGE_PAUSE).min(LARGE_PAUSE_TIME_MAX)
        } else {
            Duration::ZERO
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_webhooks_leave_room_while_small_ones_come() {
        let (traffic, commit) = (SmallTraffic::default(), Duration::from_millis(40));
        let now = Instant::now();
        let pause_ms = |commit, after_ms| {
            traffic.pause_after_large(commit, now + Duration::from_millis(after_ms)).as_millis()
        };
        assert_eq!(pause_ms(commit, 0), 0);
        traffic.note(now);
        assert_eq!(pause_ms(commit, 0), 80);
        assert_eq!(pause_ms(commit, 900), 80);
        assert_eq!(pause_ms(Duration::from_secs(5), 900), 250);
        assert_eq!(pause_ms(commit, 1_100), 0);
    }

    fn pause_ms(commit_ms: u64, undelivered: usize) -> u128 {
        pause_after(Duration::from_millis(commit_ms), undelivered).as_millis()
    }

    #[test]
    fn accepting_pauses_the_longer_the_more_events_wait() {
        assert_eq!(pause_ms(10, 0), 0);
        assert_eq!(pause_ms(10, PAUSES_FROM), 0);
        assert_eq!(pause_ms(10, (PAUSES_FROM + PAUSES_FULLY_FROM) / 2), 15);
        assert_eq!(pause_ms(10, PAUSES_FULLY_FROM), 30);
        assert_eq!(pause_ms(10, usize::MAX), 30);
    }

    #[test]
    fn a_slow_commit_does_not_stop_accepting() {
        assert_eq!(pause_ms(5_000, usize::MAX), 50);
    }
}
