//! How another party has answered lately: what is logged, and how long until it is asked again.

use std::time::Duration;

use aggregates::backoff::Backoff;

use crate::identifiers;

/// Pauses after failures. Lower: more requests to a party that is down. Higher: it is asked later when it is up again.
const BACKOFF: Backoff = Backoff { base_ms: 1_000, factor: 2.0, cap_ms: 300_000, jitter: 0.2 };

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Standing {
    failures: u32,
    /// What was logged last; `None`: the last request succeeded.
    logged: Option<String>,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failed {
    pub(super) pause: Duration,
    /// Whether the last request did not fail for the same reason, so that this is logged.
    pub(super) is_new: bool,
}

impl Standing {
    /// Records a success. Returns whether the requests before it failed.
    pub(super) fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.logged.take().is_some()
    }

    /// Records a failure.
    pub(super) fn failed(&mut self, reason: &str) -> Failed {
        self.failures = self.failures.saturating_add(1);
        let is_new = self.logged.as_deref() != Some(reason);
        self.logged = Some(reason.to_owned());
        Failed { pause: self.pause(), is_new }
    }

    /// Records a failure that asking again does not change.
    pub(super) fn failed_for_good(&mut self, reason: &str) -> Failed {
        self.failures = u32::MAX;
        self.failed(reason)
    }

    fn pause(&self) -> Duration {
        Duration::from_millis(BACKOFF.delay_ms(self.failures, identifiers::random_fraction()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_what_is_the_same_is_logged_once() {
        let mut standing = Standing::default();
        assert!(!standing.succeeded());
        let failed: Vec<Failed> = ["late", "late", "refused"].map(|reason| standing.failed(reason)).into();
        assert_eq!(failed.iter().map(|failed| failed.is_new).collect::<Vec<_>>(), [true, false, true]);
        assert!(failed[2].pause > failed[0].pause, "{failed:?}");
        assert!(standing.succeeded());
        assert!(standing.failed("late").is_new);
        let lasting = standing.failed_for_good("another history");
        assert!(lasting.pause >= Duration::from_secs(240), "{lasting:?}");
    }
}
