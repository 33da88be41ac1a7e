//! A history that violates an invariant, for each of them: each must be found.

mod fixture;

use std::time::Duration;

use uuid::Uuid;

use super::{Invariant, check};
use crate::faults::FaultKind;
use crate::history::{AnswerResult, Behaviour, FaultSpan, History, RequestEnd};
use fixture::{EVENT, answer, attempted, delivered, fact, history, request, seconds, sent, started};

/// Returns the invariants that are violated.
fn violated(history: &History) -> Vec<Invariant> {
    let mut invariants: Vec<_> = check(history).violations.iter().map(|found| found.invariant).collect();
    invariants.sort_unstable();
    invariants.dedup();
    invariants
}

/// Checks that a history violates exactly this invariant.
#[track_caller]
fn assert_violates(history: &History, invariant: Invariant) {
    let verdict = check(history);
    assert_eq!(violated(history), [invariant], "{}", verdict.print(history));
    assert!(verdict.print(history).contains(&format!("with seed {}", history.seed)));
}

#[test]
fn a_good_history_violates_nothing() {
    let verdict = check(&history());
    assert_eq!(violated(&history()), []);
    assert_eq!((verdict.accepted, verdict.duplicates, verdict.lost_by_standby), (1, 0, 0));
}

#[test]
fn an_event_answered_with_202_must_be_in_the_log() {
    let mut history = history();
    let lost = Uuid::from_u128(99);
    history.sent.push(sent(1, vec![answer(2.0, AnswerResult::Accepted(lost))]));
    assert_violates(&history, Invariant::NoneLost);
}

#[test]
fn an_event_that_a_standby_lost_is_counted() {
    let mut history = history();
    history.lost_facts = std::mem::take(&mut history.facts);
    history.read_model.clear();
    assert_eq!(violated(&history), []);
    assert_eq!(check(&history).lost_by_standby, 1);
}

#[test]
fn a_webhook_is_accepted_once() {
    let mut history = history();
    let again = Uuid::from_u128(2);
    history.facts.extend(delivered(again, 0, 3.0));
    history.requests.push(request(again, 1, 0, 3.2));
    history.read_model.push((again, "Succeeded"));
    assert_violates(&history, Invariant::AcceptedOnce);
}

#[test]
fn a_repeated_idempotency_key_is_answered_with_the_first_event() {
    let mut history = history();
    let other = Uuid::from_u128(2);
    history.facts.extend(delivered(other, 1, 3.0));
    history.requests.push(request(other, 1, 1, 3.2));
    history.read_model.push((other, "Succeeded"));
    history.sent.push(sent(1, vec![]));
    history.sent[0].answers.push(answer(3.0, AnswerResult::Accepted(other)));
    assert_violates(&history, Invariant::AcceptedOnce);
}

#[test]
fn ingest_gives_only_documented_answers() {
    for (status, expected) in [(500, true), (401, true), (422, true), (503, false)] {
        let mut history = history();
        history.sent.push(sent(1, vec![answer(2.0, AnswerResult::Refused(status))]));
        let expected: &[Invariant] = if expected { &[Invariant::AnswerExpected] } else { &[] };
        assert_eq!(violated(&history), expected, "{status}");
    }
}

#[test]
fn every_event_ends() {
    let mut history = history();
    history.facts.truncate(1);
    history.requests.clear();
    history.read_model = vec![(EVENT, "Pending")];
    assert_violates(&history, Invariant::NoneStuck);
}

#[test]
fn an_event_counts_as_delivered_only_after_a_success() {
    let mut unanswered = history();
    unanswered.requests[0].end = RequestEnd::Answered(500);
    assert_violates(&unanswered, Invariant::Delivered);

    let mut never_sent = history();
    never_sent.requests.clear();
    assert_violates(&never_sent, Invariant::Delivered);
}

#[test]
fn an_event_for_a_healthy_destination_is_delivered() {
    let mut history = history();
    history.facts[2] = attempted(EVENT, 3, 1, "refused_status", 1.35);
    history.facts.push(fact(EVENT, 4, "CriticalFailure", 1.35, serde_json::json!({})));
    history.read_model = vec![(EVENT, "CriticalFailure")];
    history.requests[0].end = RequestEnd::Answered(500);
    assert_violates(&history, Invariant::Delivered);
    history.destinations[0].behaviour = Behaviour::Failing;
    assert_eq!(violated(&history), []);
}

#[test]
fn a_request_needs_a_claim() {
    let mut history = history();
    history.destinations[0].behaviour = Behaviour::Failing;
    history.facts.truncate(1);
    history.facts.push(fact(EVENT, 2, "Cancelled", 1.5, serde_json::json!({})));
    history.read_model = vec![(EVENT, "Cancelled")];
    assert_violates(&history, Invariant::Announced);
}

#[test]
fn a_claim_is_recorded_before_its_request() {
    let mut history = history();
    history.facts[1].recorded = seconds(1.9);
    history.facts[2].recorded = seconds(2.0);
    assert_violates(&history, Invariant::Announced);
}

#[test]
fn a_claim_is_for_one_request() {
    let mut history = history();
    // Its answer was not a success, so that it is no duplicate delivery.
    history.requests.insert(0, request(EVENT, 1, 0, 1.16));
    history.requests[0].ended = seconds(1.17);
    history.requests[0].end = RequestEnd::Answered(401);
    assert_violates(&history, Invariant::Announced);
}

#[test]
fn no_request_begins_after_its_attempt_was_given_up() {
    let mut history = history();
    history.destinations[0].behaviour = Behaviour::Failing;
    history.facts.truncate(2);
    history.facts.push(attempted(EVENT, 3, 1, "unknown", 1.2));
    history.facts.push(fact(EVENT, 4, "CriticalFailure", 1.2, serde_json::json!({})));
    history.read_model = vec![(EVENT, "CriticalFailure")];
    history.requests[0].began = seconds(2.0);
    history.requests[0].ended = seconds(2.1);
    assert_violates(&history, Invariant::NotLate);
}

/// Two attempts: the first is given up at `unknown`, and the second one begins at `second`.
fn two_attempts(outcome: &str, second: f64) -> History {
    let mut history = history();
    history.facts.truncate(2);
    history.facts.push(attempted(EVENT, 3, 1, outcome, 1.4));
    history.facts.push(fact(EVENT, 4, "RetryScheduled", 1.4, serde_json::json!({})));
    history.facts.push(started(EVENT, 5, 2, second - 0.05));
    history.facts.push(attempted(EVENT, 6, 2, "succeeded", second + 0.15));
    history.requests.push(request(EVENT, 2, 0, second));
    history
}

#[test]
fn an_event_has_one_request_at_a_time() {
    let mut history = two_attempts("unknown", 2.0);
    // The destination's limit is higher.
    history.destinations[0].limit = 2;
    history.requests[0].ended = seconds(2.05);
    assert_violates(&history, Invariant::NoOverlap);
}

#[test]
fn a_receiver_slower_than_the_time_limit_sees_no_overlap() {
    let mut history = two_attempts("unknown", 9.0);
    history.requests[0].ended = seconds(20.0);
    history.requests[0].end = RequestEnd::Aborted;
    assert_eq!(violated(&history), []);
}

#[test]
fn a_destination_has_at_most_its_limit_of_requests() {
    let mut history = history();
    let other = Uuid::from_u128(2);
    history.sent.push(sent(1, vec![answer(1.05, AnswerResult::Accepted(other))]));
    history.facts.extend(delivered(other, 1, 1.0));
    history.requests.push(request(other, 1, 1, 1.21));
    history.read_model.push((other, "Succeeded"));
    assert_violates(&history, Invariant::WithinLimit);
}

#[test]
fn a_body_is_what_was_sent() {
    let mut history = history();
    history.requests[0] = fixture::request_with_body(EVENT, 1, b"{\"number\": 0}", 1.2);
    assert_violates(&history, Invariant::BytesKept);
}

#[test]
fn a_body_belongs_to_its_event() {
    let mut history = history();
    history.sent.push(sent(1, vec![]));
    history.requests[0] = request(EVENT, 1, 1, 1.2);
    assert_violates(&history, Invariant::BytesKept);
}

#[test]
fn both_signatures_are_valid() {
    type Change = fn(&mut crate::history::Signatures);
    let changes: [Change; 4] = [
        |signatures| signatures.plain.push('0'),
        |signatures| signatures.standard = signatures.standard.replace("v1,", "v1,A"),
        |signatures| signatures.id = Uuid::from_u128(5).to_string(),
        |signatures| signatures.timestamp = "1".to_owned(),
    ];
    for change in changes {
        let mut history = history();
        change(&mut history.requests[0].signatures);
        assert_violates(&history, Invariant::Signed);
    }
}

#[test]
fn a_repeated_success_is_explained_by_an_unknown_outcome() {
    let explained = two_attempts("unknown", 2.0);
    assert_eq!(violated(&explained), []);
    assert_eq!(check(&explained).duplicates, 1);
    assert_violates(&two_attempts("refused_status", 2.0), Invariant::DuplicateExplained);
}

#[test]
fn the_facts_of_a_stream_are_in_log_order_without_a_gap() {
    let mut gap = history();
    for fact in &mut gap.facts[1..] {
        fact.sequence += 1;
    }
    assert_violates(&gap, Invariant::LogOrdered);

    let mut swapped = history();
    let tenant = |sequence| crate::history::Fact {
        aggregate_type: "Tenant".to_owned(),
        ..fact(Uuid::from_u128(7), sequence, "TenantRenamed", 0.5, serde_json::json!({}))
    };
    swapped.facts.extend([tenant(2), tenant(1)]);
    assert_violates(&swapped, Invariant::LogOrdered);
}

#[test]
fn the_log_commits_to_the_payload_that_was_sent() {
    let mut history = history();
    let accepted = history.facts.iter_mut().find(|fact| fact.stored.is_some()).expect("an accepted event");
    accepted.stored.as_mut().expect("a payload").salt[0] ^= 1;
    assert_violates(&history, Invariant::BytesKept);
}

#[test]
fn read_models_equal_the_fold() {
    let mut history = history();
    history.drift = Some("webhook_events: 1 of 1 rows differ".to_owned());
    assert_violates(&history, Invariant::ReadModelsEqualLog);
}

#[test]
fn accepted_events_are_all_accounted_for() {
    let mut wrong = history();
    wrong.read_model = vec![(EVENT, "Cancelled")];
    assert_violates(&wrong, Invariant::CountsBalance);

    let mut missing = history();
    missing.read_model.clear();
    assert_violates(&missing, Invariant::CountsBalance);

    let mut extra = history();
    extra.read_model.push((Uuid::from_u128(3), "Pending"));
    assert_violates(&extra, Invariant::CountsBalance);
}

#[test]
fn deliveries_to_healthy_destinations_continue_after_a_fault() {
    let fault = |kind, next_began| FaultSpan {
        kind,
        target: "worker-1".to_owned(),
        began: seconds(2.0),
        ended: seconds(3.0),
        step_ended: seconds(3.0),
        next_began: seconds(next_began),
    };
    for (kind, next_began, is_violation) in [
        (FaultKind::Kill, 17.0, false),
        (FaultKind::Kill, 19.0, true),
        // Its bound includes the time limit of an attempt.
        (FaultKind::Pause, 19.0, false),
        (FaultKind::Pause, 24.0, true),
    ] {
        let mut history = history();
        history.faults.push(fault(kind, next_began));
        let expected: &[Invariant] = if is_violation { &[Invariant::NoStandstill] } else { &[] };
        assert_eq!(violated(&history), expected, "{kind} until {next_began}");
        // Only healthy destinations count.
        history.destinations[0].behaviour = Behaviour::Hanging;
        assert_eq!(violated(&history), []);
    }
}

#[test]
fn a_standstill_is_the_longest_time_without_a_request() {
    let mut history = two_attempts("unknown", 6.0);
    history.faults.push(FaultSpan {
        kind: FaultKind::Cut,
        target: "worker-1".to_owned(),
        began: seconds(1.0),
        ended: seconds(4.0),
        step_ended: seconds(4.0),
        next_began: seconds(7.0),
    });
    let effect = &check(&history).effects[0];
    assert_eq!(effect.during.one, Duration::from_millis(2_800));
    assert_eq!(effect.after.one, Duration::from_secs(2));
    assert_eq!(effect.duplicates, 1);
}

#[test]
fn processes_live() {
    let mut history = history();
    history.ended_processes.push("worker-1.1".to_owned());
    assert_violates(&history, Invariant::ProcessesLive);
}

#[test]
fn a_violation_prints_the_history_of_its_event() {
    let history = two_attempts("refused_status", 2.0);
    let text = check(&history).print(&history);
    for part in ["client", "receiver    gets attempt 2", "DeliveryStarted", "refused_status", "with seed 7"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}
