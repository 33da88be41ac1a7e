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
fn an_outcome_that_says_nothing_about_the_destination_neither_counts_nor_resets_the_count() {
    for outcome in [Outcome::Unknown, Outcome::NotSent] {
        let inputs = [attempts(Outcome::Timeout, 4), attempts(outcome, 3)].concat();
        assert_eq!(step(inputs.clone(), 0), None);
        assert_eq!(step([inputs, attempts(Outcome::Timeout, 1)].concat(), 0), Some(BreakerStep::Open));
    }
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

/// Timers for which the breaker stays open after so many failed probes, the last of which just ended.
fn timers_after_failed_probes(count: u32) -> i64 {
    let mut breaker = given(attempts(Outcome::Timeout, 5));
    let open =
        |breaker: &CircuitBreaker| breaker.transition(BreakerStep::Open, 10, moment(0)).expect("a fact");
    for _ in 0..count {
        breaker.apply(&open(&breaker));
        breaker.apply(&DestinationFact::DestinationProbed { at: moment(0) });
        breaker.record(Outcome::Timeout);
    }
    match open(&breaker) {
        DestinationFact::DestinationSuspended { next_check_at, at, .. } => {
            (next_check_at - at).num_seconds() / 10
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_destination_that_stays_dead_is_probed_ever_more_rarely() {
    let timers: Vec<_> = (0..8).map(timers_after_failed_probes).collect();
    assert_eq!(timers, [1, 1, 2, 4, 8, 12, 12, 12]);
    assert_eq!(timers_after_failed_probes(100), 12);
}

#[test]
fn after_a_success_the_breaker_stays_open_for_one_timer_again() {
    let again = [probing(), attempts(Outcome::Timeout, 1), suspended(), probing()].concat();
    let mut breaker = given(again);
    assert!(breaker.failed_probes > 0);
    breaker.apply(&DestinationFact::DestinationResumed { at: moment(400) });
    assert_eq!(breaker.failed_probes, 0);
}

#[test]
fn a_step_that_the_stage_does_not_allow_makes_no_fact() {
    let transition = |inputs: Vec<Input>, step| given(inputs).transition(step, 300, moment(0));
    assert_eq!(transition(vec![], BreakerStep::HalfOpen), None);
    assert_eq!(transition(vec![], BreakerStep::Close), None);
    assert_eq!(transition(suspended(), BreakerStep::Open), None);
    let probed = DestinationFact::DestinationProbed { at: moment(0) };
    assert_eq!(transition(suspended(), BreakerStep::HalfOpen), Some(probed));
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
