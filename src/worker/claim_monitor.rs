//! Whether the claims of this worker are decided at all.
//!
//! A worker whose connection to the database is dead still receives jobs: the broker's heartbeats go on. It would
//! hold them while other workers are idle, so it closes its consumer until claims are decided again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::settings::SettingsCache;

/// Interval between two looks at the claims.
const INTERVAL: Duration = Duration::from_secs(1);
/// Looks in a row without a decision after which claims count as stalled. Lower: a slow commit closes the consumer.
/// Higher: other workers get the jobs later.
const STALLED_LOOKS: u32 = 5;

/// Counts claims. The counters are independent of each other, and only compared over seconds.
#[derive(Debug, Default)]
pub(super) struct ClaimMonitor {
    begun: AtomicU64,
    /// Won, lost, or refused because of newer settings. A failure of the database decides nothing.
    decided: AtomicU64,
    pending: AtomicUsize,
}

/// Counts of claims at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    begun: u64,
    decided: u64,
    pending: usize,
}

/// Looks without a decision, so far.
#[derive(Debug, Default)]
struct Looks {
    before: Counts,
    undecided: u32,
}

impl Looks {
    /// Returns whether the claims have stalled, with the counts of now.
    fn have_stalled(&mut self, now: Counts) -> bool {
        let before = std::mem::replace(&mut self.before, now);
        let were_there_any = now.pending > 0 || now.begun != before.begun;
        let none_decided = now.decided == before.decided;
        self.undecided = if were_there_any && none_decided { self.undecided + 1 } else { 0 };
        self.undecided >= STALLED_LOOKS
    }
}

impl ClaimMonitor {
    /// Waits for the result of a claim, and counts it.
    pub(super) async fn count<T, E>(&self, claim: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let _pending = Pending::of(self);
        let result = claim.await;
        if result.is_ok() {
            self.decided.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    /// Waits until there were claims for some seconds, and none was decided.
    pub(super) async fn stalled(&self) {
        let mut looks = Looks { before: self.counts(), undecided: 0 };
        loop {
            tokio::time::sleep(INTERVAL).await;
            if looks.have_stalled(self.counts()) {
                return;
            }
        }
    }

    /// Waits until a claim is decided, or none is pending and the database answers.
    pub(super) async fn recovered(&self, settings: &SettingsCache) {
        let before = self.counts().decided;
        loop {
            tokio::time::sleep(INTERVAL).await;
            let now = self.counts();
            if now.decided != before || (now.pending == 0 && settings.is_database_available().await) {
                return;
            }
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            begun: self.begun.load(Ordering::Relaxed),
            decided: self.decided.load(Ordering::Relaxed),
            pending: self.pending.load(Ordering::Relaxed),
        }
    }
}

/// A claim that is pending, until it is dropped.
struct Pending<'a>(&'a ClaimMonitor);

impl<'a> Pending<'a> {
    fn of(monitor: &'a ClaimMonitor) -> Self {
        monitor.begun.fetch_add(1, Ordering::Relaxed);
        monitor.pending.fetch_add(1, Ordering::Relaxed);
        Self(monitor)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;

    use futures::poll;

    use super::*;

    fn stalls(counts: &[(u64, u64, usize)]) -> bool {
        let mut looks = Looks::default();
        let look = |(begun, decided, pending): &(u64, u64, usize)| {
            looks.have_stalled(Counts { begun: *begun, decided: *decided, pending: *pending })
        };
        counts.iter().any(look)
    }

    #[test]
    fn claims_stall_when_none_is_decided_for_a_while() {
        assert!(stalls(&[(64, 0, 64); 5]), "they hang");
        assert!(stalls(&[(9, 0, 0), (18, 0, 0), (27, 0, 0), (36, 0, 0), (45, 0, 0)]), "they fail at once");
        assert!(!stalls(&[(64, 0, 64); 4]), "not yet");
        assert!(!stalls(&[(64, 0, 64), (64, 0, 64), (65, 1, 64), (65, 1, 64), (65, 1, 64), (65, 1, 64)]));
        assert!(!stalls(&[(64, 64, 0); 20]), "there are no jobs");
    }

    #[tokio::test]
    async fn claims_are_counted() {
        let monitor = ClaimMonitor::default();
        monitor.count(ready(Ok::<_, ()>(()))).await.unwrap();
        monitor.count(ready(Err::<(), _>(()))).await.unwrap_err();
        {
            let mut hanging = pin!(monitor.count(pending::<Result<(), ()>>()));
            assert!(poll!(&mut hanging).is_pending());
            assert_eq!(monitor.counts(), Counts { begun: 3, decided: 1, pending: 1 });
        }
        assert_eq!(monitor.counts(), Counts { begun: 3, decided: 1, pending: 0 });
    }
}
