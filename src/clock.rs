//! The time, asked for in one place.
//!
//! Facts keep milliseconds, so the clock has no more: what a caller was told and what it reads back
//! later are equal.

use chrono::{DateTime, SubsecRound, Utc};

/// Now, in whole milliseconds.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that asks")]
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_has_whole_milliseconds_and_goes_on() {
        let first = now();
        assert_eq!(first.timestamp_subsec_nanos() % 1_000_000, 0);
        assert!(now() >= first);
    }
}
