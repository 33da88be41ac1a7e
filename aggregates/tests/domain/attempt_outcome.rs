//! Which outcomes count as failures, and the header `Retry-After`.

use aggregates::attempt_outcome::{AttemptReport, Outcome, RetryAfter};
use chrono::{DateTime, Utc};
use proptest::prelude::*;

use crate::given::moment;

#[test]
fn only_a_2xx_response_is_a_success() {
    let successes: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| outcome.is_success()).collect();
    assert_eq!(successes, [Outcome::Succeeded]);
}

/// Failures before a request is sent count too.
#[test]
fn every_failure_counts_unless_it_says_nothing_about_the_destination() {
    let uncounted: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| !outcome.counts_as_failure()).collect();
    assert_eq!(uncounted, [Outcome::Succeeded, Outcome::Unknown, Outcome::PayloadErased, Outcome::NotSent]);
}

#[test]
fn no_attempt_follows_a_success_or_an_erased_payload() {
    let last: Vec<_> = Outcome::ALL.into_iter().filter(|outcome| outcome.is_final()).collect();
    assert_eq!(last, [Outcome::Succeeded, Outcome::PayloadErased]);
}

#[test]
fn seconds_count_from_the_response() {
    assert_eq!(RetryAfter::Seconds(90).time(moment(5)), moment(95));
    assert_eq!(RetryAfter::At(moment(7)).time(moment(5)), moment(7));
}

#[test]
fn seconds_beyond_the_latest_time_do_not_panic() {
    for seconds in [u64::MAX, i64::MAX as u64, 9_000_000_000_000] {
        assert_eq!(RetryAfter::Seconds(seconds).time(moment(5)), DateTime::<Utc>::MAX_UTC, "{seconds}");
    }
}

#[test]
fn a_report_without_a_response_has_no_response_fields() {
    let report = AttemptReport::without_answer(Outcome::Dns, 12, Some("no such name".to_owned()));
    let stored = serde_json::to_value(&report).expect("a report");
    assert_eq!(stored, serde_json::json!({ "outcome": "dns", "durationMs": 12, "detail": "no such name" }));
}

proptest! {
    #[test]
    fn foreign_bytes_as_retry_after(header in ".{0,60}|[0-9]{0,40}|[A-Z][a-z]{2}, [0-9]{1,3} [A-Z][a-z]{2} [0-9]{1,6} [0-9:]{1,9} GMT") {
        if let Some(retry_after) = RetryAfter::parse(&header) {
            let now = moment(5);
            let stored = serde_json::to_string(&retry_after).expect("a form that can be stored");
            prop_assert_eq!(serde_json::from_str::<RetryAfter>(&stored).expect("a stored form"), retry_after);
            if let RetryAfter::Seconds(_) = retry_after {
                prop_assert!(retry_after.time(now) >= now);
            }
        }
    }
}
