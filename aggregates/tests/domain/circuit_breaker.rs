//! The rules of the circuit breaker, in the order of the specification.

use aggregates::attempt_outcome::Outcome;
use aggregates::circuit_breaker::{BreakerStep, CircuitBreaker};
use aggregates::destination::{DestinationFact, Stage};

use crate::given::moment;

const THRESHOLD: u32 = 5;

/// What a breaker is folded from.
#[derive(Clone)]
enum Input {
    Attempt(Outcome),
    Fact(DestinationFact),
}

use Input::{Attempt, Fact};

fn given(inputs: impl IntoIterator<Item = Input>) -> CircuitBreaker {
    let mut breaker = CircuitBreaker::default();
    for input in inputs {
        match input {
            Attempt(outcome) => breaker.record(outcome),
            Fact(fact) => assert!(breaker.apply(&fact), "{fact:?} enters a stage"),
        }
    }
    breaker
}

fn attempts(outcome: Outcome, count: usize) -> Vec<Input> {
    vec![Attempt(outcome); count]
}

fn suspended() -> Vec<Input> {
    let suspended = DestinationFact::DestinationSuspended {
        consecutive_failures: THRESHOLD,
        next_check_at: moment(300),
        at: moment(0),
    };
    [attempts(Outcome::Timeout, 5), vec![Fact(suspended)]].concat()
}

fn probing() -> Vec<Input> {
    [suspended(), vec![Fact(DestinationFact::DestinationProbed { at: moment(300) })]].concat()
}

fn step(inputs: impl IntoIterator<Item = Input>, seconds: i64) -> Option<BreakerStep> {
    given(inputs).step(THRESHOLD, moment(seconds))
}

#[test]
fn the_fifth_consecutive_failure_opens_the_breaker_and_the_fourth_does_not() {
    assert_eq!(step(attempts(Outcome::RefusedStatus, 4), 0), None);
    assert_eq!(step(attempts(Outcome::RefusedStatus, 5), 0), Some(BreakerStep::Open));
}

#[test]
fn a_success_resets_the_count() {
    let failures = attempts(Outcome::Timeout, 4);
    let success = attempts(Outcome::Succeeded, 1);
    assert_eq!(step([failures.clone(), success, failures].concat(), 0), None);
}

#[test]
fn failures_before_a_request_was_sent_count() {
    use Outcome::{BlockedAddress, Credentials, Dns, TokenEndpoint};
    let inputs = [BlockedAddress, Credentials, Dns, TokenEndpoint, BlockedAddress].map(Attempt);
    assert_eq!(step(inputs, 0), Some(BreakerStep::Open));
}

#[test]
fn an_unknown_outcome_neither_counts_nor_resets_the_count() {
    let inputs = [attempts(Outcome::Timeout, 4), attempts(Outcome::Unknown, 3)].concat();
    assert_eq!(step(inputs.clone(), 0), None);
    assert_eq!(step([inputs, attempts(Outcome::Timeout, 1)].concat(), 0), Some(BreakerStep::Open));
}

#[test]
fn a_suspended_destination_is_probed_when_its_time_is_over() {
    assert_eq!(step(suspended(), 299), None);
    assert_eq!(step(suspended(), 300), Some(BreakerStep::HalfOpen));
}

#[test]
fn the_result_of_a_probe_closes_the_breaker_or_opens_it_again() {
    assert_eq!(step(probing(), 1_000), None);
    let after = |outcome| step([probing(), attempts(outcome, 1)].concat(), 301);
    assert_eq!(after(Outcome::Succeeded), Some(BreakerStep::Close));
    assert_eq!(after(Outcome::Timeout), Some(BreakerStep::Open));
    assert_eq!(after(Outcome::Unknown), None);
}

#[test]
fn a_late_success_closes_an_open_breaker_and_a_late_failure_changes_nothing() {
    let after = |outcome| step([suspended(), attempts(outcome, 1)].concat(), 20);
    assert_eq!(after(Outcome::Timeout), None);
    assert_eq!(after(Outcome::Succeeded), Some(BreakerStep::Close));
}

#[test]
fn a_breaker_that_closed_or_was_reset_takes_five_failures_to_open_again() {
    let resumed = DestinationFact::DestinationResumed { at: moment(301) };
    let activated = DestinationFact::DestinationActivated { at: moment(301) };
    for closed in [[probing(), vec![Fact(resumed)]].concat(), [suspended(), vec![Fact(activated)]].concat()] {
        let after = |failures| step([closed.clone(), attempts(Outcome::Timeout, failures)].concat(), 400);
        assert_eq!(after(4), None);
        assert_eq!(after(5), Some(BreakerStep::Open));
    }
}

#[test]
fn a_deactivated_destination_is_left_alone() {
    let deactivated = DestinationFact::DestinationDeactivated { at: moment(10) };
    let breaker = given([suspended(), vec![Fact(deactivated)], attempts(Outcome::Timeout, 5)].concat());
    assert_eq!(breaker.stage, Stage::Inactive);
    assert_eq!(breaker.next_check_at, None);
    assert_eq!(breaker.step(THRESHOLD, moment(10_000)), None);
}

#[test]
fn the_stage_limits_the_attempts_in_flight() {
    assert_eq!(given([]).attempts_max(7), 7);
    assert_eq!(given(suspended()).attempts_max(7), 0);
    assert_eq!(given(probing()).attempts_max(7), 1);
}

#[test]
fn facts_about_other_settings_enter_no_stage() {
    let mut breaker = given(suspended());
    let before = breaker.clone();
    let changed = DestinationFact::ConcurrencyLimitChanged { concurrency_limit: 9, at: moment(5) };
    assert!(!breaker.apply(&changed));
    assert_eq!(breaker, before);
}
