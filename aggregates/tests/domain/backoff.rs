//! Delays of retries, and `Retry-After` of receivers.

use aggregates::attempt_outcome::RetryAfter;
use aggregates::backoff::Backoff;
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use crate::given::moment;

/// Sample without deviation.
const MIDDLE: f64 = 0.5;
const HOUR_MS: u64 = 60 * 60 * 1_000;

#[test]
fn delays_grow_fourfold_from_ten_seconds_to_six_hours() {
    let delays = [10_000, 40_000, 160_000, 640_000, 2_560_000, 10_240_000, 6 * HOUR_MS, 6 * HOUR_MS];
    for (failed_attempts, delay) in (1..).zip(delays) {
        assert_eq!(Backoff::default().delay_ms(failed_attempts, MIDDLE), delay, "after {failed_attempts}");
    }
    assert_eq!(Backoff::default().delay_ms(u32::MAX, MIDDLE), 6 * HOUR_MS);
}

#[test]
fn jitter_changes_a_delay_by_at_most_a_fifth() {
    assert_eq!(Backoff::default().delay_ms(1, 0.0), 8_000);
    assert_eq!(Backoff::default().delay_ms(1, 1.0), 12_000);
    assert_eq!(Backoff::default().delay_ms(2, 0.25), 36_000);
}

#[test]
fn jitter_never_exceeds_the_cap() {
    assert_eq!(Backoff::default().delay_ms(9, 1.0), 6 * HOUR_MS);
    assert_eq!(Backoff::default().delay_ms(9, 0.0), 6 * HOUR_MS / 10 * 8);
}

#[test]
fn a_sample_out_of_range_is_clamped() {
    assert_eq!(Backoff::default().delay_ms(1, -3.0), Backoff::default().delay_ms(1, 0.0));
    assert_eq!(Backoff::default().delay_ms(1, 7.0), Backoff::default().delay_ms(1, 1.0));
}

/// Four to the power of 600 overflows, and `0 * inf` is NaN.
#[test]
fn a_base_of_zero_gives_no_delay_after_any_number_of_failures() {
    let at_once = Backoff { base_ms: 0, ..Backoff::default() };
    for failed_attempts in [1, 2, 600, u32::MAX] {
        assert_eq!(at_once.delay_ms(failed_attempts, MIDDLE), 0, "after {failed_attempts}");
    }
}

#[test]
fn without_retry_after_the_backoff_applies() {
    assert_eq!(retry_at(None), moment(10));
}

#[test]
fn a_later_requested_time_is_used() {
    assert_eq!(retry_at(Some(moment(77))), moment(77));
}

#[test]
fn an_earlier_or_past_requested_time_is_not_used() {
    assert_eq!(retry_at(Some(moment(3))), moment(10));
    assert_eq!(retry_at(Some(moment(-3))), moment(10));
    assert_eq!(retry_at(Some(DateTime::<Utc>::MIN_UTC)), moment(10));
}

#[test]
fn a_requested_time_beyond_the_cap_is_reduced_to_it() {
    let six_hours_later = moment(6 * 60 * 60);
    assert_eq!(retry_at(Some(six_hours_later + TimeDelta::seconds(1))), six_hours_later);
    assert_eq!(retry_at(Some(RetryAfter::Seconds(u64::MAX).time(moment(0)))), six_hours_later);
}

#[test]
fn a_delay_beyond_the_latest_time_does_not_panic() {
    let patient = Backoff { base_ms: u64::MAX, cap_ms: u64::MAX, ..Backoff::default() };
    assert_eq!(patient.retry_at(moment(0), 1, 1.0, None), DateTime::<Utc>::MAX_UTC);
}

fn retry_at(wished: Option<DateTime<Utc>>) -> DateTime<Utc> {
    Backoff::default().retry_at(moment(0), 1, MIDDLE, wished)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_delay_stays_within_its_jitter_and_the_cap(failed_attempts in 1..10_000_u32, jitter_sample in 0.0..=1.0_f64) {
        let backoff = Backoff::default();
        let middle = backoff.delay_ms(failed_attempts, MIDDLE);
        let delay = backoff.delay_ms(failed_attempts, jitter_sample);
        prop_assert!(delay >= middle * 8 / 10, "{delay} is far below {middle}");
        prop_assert!(delay <= (middle * 12 / 10).min(backoff.cap_ms), "{delay} is far above {middle}");
    }

    #[test]
    fn any_schedule_gives_a_time_from_now_to_the_cap(
        base_ms: u64, factor in 1.0..1e300_f64, cap_ms: u64, jitter in 0.0..=1.0_f64,
        failed_attempts: u32, jitter_sample: f64, wish in prop::option::of(any::<u64>()),
    ) {
        let backoff = Backoff { base_ms, factor, cap_ms, jitter };
        prop_assert!(backoff.delay_ms(failed_attempts, jitter_sample) <= cap_ms);
        let wished = wish.map(|seconds| RetryAfter::Seconds(seconds).time(moment(0)));
        prop_assert!(backoff.retry_at(moment(0), failed_attempts, jitter_sample, wished) >= moment(0));
    }
}
