//! The pace of accepting while deliveries fall behind.
//!
//! Accepting takes the processors and the disk that deliver. When more is offered than can be delivered, accepting all of
//! it slows deliveries down, and then twice: what is not delivered at once costs rows of a backlog. So the committer of
//! acceptances pauses after each commit while jobs of the same process wait to start. What it does not accept meanwhile
//! waits in its queue.
//!
//! The number of waiting jobs counts what could be delivered now: an event whose destination hangs, is suspended or has
//! its limit of attempts is no job, so a backlog of receivers that are down slows down nothing.

use std::time::Duration;

/// Events in flight between their commit and the start of their attempt from which on accepting pauses. Lower: a burst is
/// accepted more slowly. Higher: more of what is offered becomes a backlog.
const PAUSES_FROM: usize = 320;
/// Events from which on the pause is the longest. It is what the dispatcher releases at most.
const PAUSES_FULLY_FROM: usize = 512;
/// Longest pause, in units of the time that the commit took: accepting has at least a third of the time. Lower: deliveries
/// fall behind. Higher: webhooks wait while a backlog of before is delivered.
const PAUSE_MAX: f64 = 2.0;
/// Longest pause after a slow commit.
const PAUSE_TIME_MAX: Duration = Duration::from_millis(50);

/// Returns how long to pause after a commit that took `commit`, while `undelivered` events wait for the start of their
/// attempts.
pub(super) fn pause_after(commit: Duration, undelivered: usize) -> Duration {
    let beyond = undelivered.min(PAUSES_FULLY_FROM).saturating_sub(PAUSES_FROM);
    let part = beyond as f64 / (PAUSES_FULLY_FROM - PAUSES_FROM) as f64;
    commit.mul_f64(PAUSE_MAX * part).min(PAUSE_TIME_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause_ms(commit_ms: u64, undelivered: usize) -> u128 {
        pause_after(Duration::from_millis(commit_ms), undelivered).as_millis()
    }

    #[test]
    fn accepting_pauses_the_longer_the_more_events_wait() {
        assert_eq!(pause_ms(10, 0), 0);
        assert_eq!(pause_ms(10, PAUSES_FROM), 0);
        assert_eq!(pause_ms(10, (PAUSES_FROM + PAUSES_FULLY_FROM) / 2), 10);
        assert_eq!(pause_ms(10, PAUSES_FULLY_FROM), 20);
        assert_eq!(pause_ms(10, usize::MAX), 20);
    }

    #[test]
    fn a_slow_commit_does_not_stop_accepting() {
        assert_eq!(pause_ms(5_000, usize::MAX), 50);
    }
}
