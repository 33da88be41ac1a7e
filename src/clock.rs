//! The system clock, read in one place.
//!
//! Facts store whole milliseconds, so the clock returns whole milliseconds: the time in a response equals the
//! time that is read back later.

use chrono::{DateTime, SubsecRound, Utc};

/// Returns the current time in whole milliseconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_has_whole_milliseconds_and_advances() {
        let first = now();
        assert_eq!(first.timestamp_subsec_nanos() % 1_000_000, 0);
        assert!(now() >= first);
    }
}
