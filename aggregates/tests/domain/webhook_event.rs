//! Webhook events: acceptance, attempts, end of the delivery and replay.

use aggregates::attempt_outcome::{AttemptReport, Outcome, RetryAfter};
use aggregates::webhook_event::{
    MappingResult, UNKNOWN_IN_A_ROW_TOLERATED, WebhookEvent, WebhookEventCommand as Command,
    WebhookEventFact as Fact, WebhookEventRefusal as Refusal,
};
use aggregates_testing::{Accepted, Attempted, Started, commitment, report};

use crate::given::{ACME, ALICE, GITHUB, Given, SHOP, given, moment};

const MAX_ATTEMPTS: u32 = 3;

fn acceptance() -> Accepted {
    aggregates_testing::accepted()
        .tenant(ACME)
        .destination(SHOP)
        .sender(GITHUB)
        .payload(commitment("delivered", 7))
        .mapping(MappingResult::Applied(commitment("received", 7)))
        .at(moment(0))
}

fn accepted() -> Fact {
    acceptance().fact()
}

fn start() -> Command {
    attempt_start(1).command()
}

fn started(attempt: u32) -> Fact {
    attempt_start(attempt).fact()
}

fn attempt_start(attempt: u32) -> Started {
    aggregates_testing::started().destination(SHOP).attempt(attempt).settings(3, 4).at(moment(1))
}

fn attempt_end(report: AttemptReport) -> Attempted {
    aggregates_testing::attempted().destination(SHOP).report(report).max_attempts(MAX_ATTEMPTS).at(moment(2))
}

fn record_report(report: AttemptReport) -> Command {
    attempt_end(report).command()
}

fn record(outcome: Outcome) -> Command {
    record_report(report(outcome))
}

fn record_last(outcome: Outcome) -> Command {
    attempt_end(report(outcome)).max_attempts(1).command()
}

fn attempted_with(attempt: u32, failed_attempts: u32, report: AttemptReport) -> Fact {
    attempt_end(report).attempt(attempt).failed_attempts(failed_attempts).fact()
}

fn worker_lost(attempt: u32, failed_attempts: u32, unknown_in_a_row: u32) -> Fact {
    attempt_end(report(Outcome::Unknown))
        .attempt(attempt)
        .failed_attempts(failed_attempts)
        .unknown_in_a_row(unknown_in_a_row)
        .fact()
}

fn attempted(attempt: u32, failed_attempts: u32, outcome: Outcome) -> Fact {
    attempted_with(attempt, failed_attempts, report(outcome))
}

fn retry_in(seconds: i64, failed_attempts: u32) -> Fact {
    let retry_at = moment(2 + seconds);
    Fact::RetryScheduled { destination_id: SHOP, failed_attempts, retry_at, at: moment(2) }
}

fn given_up(failed_attempts: u32) -> Fact {
    Fact::CriticalFailure { destination_id: SHOP, failed_attempts, at: moment(2) }
}

fn cancel() -> Command {
    Command::Cancel { reason: "purged".to_owned(), at: moment(3) }
}

fn cancelled() -> Fact {
    Fact::Cancelled { destination_id: SHOP, reason: "purged".to_owned(), at: moment(3) }
}

fn replay() -> Command {
    Command::Replay { at: moment(4) }
}

fn replayed(attempts: u32) -> Fact {
    Fact::Replayed { destination_id: SHOP, attempts, at: moment(4) }
}

fn erase() -> Command {
    Command::ErasePayload { reason: "law".to_owned(), requested_by: Some(ALICE), at: moment(5) }
}

fn erased() -> Fact {
    Fact::PayloadErased { reason: "law".to_owned(), requested_by: Some(ALICE), at: moment(5) }
}

fn waiting() -> Given<WebhookEvent> {
    given([accepted()])
}

fn delivering() -> Given<WebhookEvent> {
    given([accepted(), started(1)])
}

fn succeeded() -> Given<WebhookEvent> {
    given([accepted(), started(1), attempted(1, 0, Outcome::Succeeded)])
}

/// An event whose attempts are used up.
fn critical() -> Given<WebhookEvent> {
    given([
        accepted(),
        started(1),
        attempted(1, 1, Outcome::Timeout),
        retry_in(10, 1),
        started(2),
        attempted(2, 2, Outcome::Timeout),
        retry_in(40, 2),
        started(3),
        attempted(3, 3, Outcome::Timeout),
        given_up(3),
    ])
}

fn after_cancel() -> Given<WebhookEvent> {
    given([accepted(), cancelled()])
}

/// Every state in which the delivery has ended.
fn ended() -> [Given<WebhookEvent>; 4] {
    let erased = given([accepted(), started(1), attempted(1, 0, Outcome::Succeeded), erased()]);
    [succeeded(), critical(), after_cancel(), erased]
}

#[test]
fn an_event_is_accepted_once() {
    given::<WebhookEvent>([]).when(acceptance().command()).then([accepted()]);
    for event in [waiting(), delivering()].into_iter().chain(ended()) {
        event.when(acceptance().command()).then_refused(Refusal::AlreadyAccepted);
    }
}

#[test]
fn an_unknown_event_refuses_every_other_command() {
    for command in [start(), record(Outcome::Succeeded), cancel(), replay(), erase()] {
        given::<WebhookEvent>([]).when(command).then_refused(Refusal::NotAccepted);
    }
}

#[test]
fn the_first_attempt_has_number_one() {
    waiting().when(start()).then([started(1)]);
}

#[test]
fn an_attempt_starts_only_while_the_event_waits() {
    for event in [delivering()].into_iter().chain(ended()) {
        event.when(start()).then_refused(Refusal::NotWaiting);
    }
}

#[test]
fn an_outcome_is_recorded_once() {
    delivering()
        .when(record(Outcome::Succeeded))
        .then([attempted(1, 0, Outcome::Succeeded)])
        .when(record(Outcome::Succeeded))
        .then_refused(Refusal::NoAttemptInProgress);
    for event in [waiting()].into_iter().chain(ended()) {
        event.when(record(Outcome::Timeout)).then_refused(Refusal::NoAttemptInProgress);
    }
}

#[test]
fn after_a_success_nothing_follows() {
    succeeded().when(start()).then_refused(Refusal::NotWaiting);
}

#[test]
fn every_failure_that_counts_is_retried() {
    for outcome in Outcome::ALL.into_iter().filter(|outcome| outcome.counts_as_failure()) {
        delivering()
            .when(record(outcome))
            .then([attempted(1, 1, outcome), retry_in(10, 1)])
            .when(start())
            .then([started(2)]);
    }
}

#[test]
fn an_attempt_whose_worker_disappeared_is_retried_and_not_counted() {
    delivering()
        .when(record(Outcome::Unknown))
        .then([worker_lost(1, 0, 1), retry_in(10, 0)])
        .when(start())
        .then([started(2)])
        .when(record(Outcome::Timeout))
        .then([attempted(2, 1, Outcome::Timeout), retry_in(10, 1)]);
}

/// The worker's own delay says nothing about the destination, so it uses up nothing however often it happens.
#[test]
fn an_attempt_that_was_not_sent_is_retried_and_not_counted() {
    let mut facts = vec![accepted()];
    for attempt in 1..=20 {
        facts.extend([started(attempt), attempted(attempt, 0, Outcome::NotSent), retry_in(10, 0)]);
    }
    facts.push(started(21));
    given::<WebhookEvent>(facts)
        .when(record(Outcome::NotSent))
        .then([attempted(21, 0, Outcome::NotSent), retry_in(10, 0)]);
}

#[test]
fn an_event_whose_payload_was_erased_is_given_up_at_once() {
    delivering()
        .when(record(Outcome::PayloadErased))
        .then([attempted(1, 0, Outcome::PayloadErased), given_up(0)])
        .when(start())
        .then_refused(Refusal::NotWaiting);
    given::<WebhookEvent>([
        accepted(),
        started(1),
        attempted(1, 1, Outcome::Dns),
        retry_in(10, 1),
        started(2),
    ])
    .when(record(Outcome::PayloadErased))
    .then([attempted(2, 1, Outcome::PayloadErased), given_up(1)]);
}

/// Facts of an event that has crashed `UNKNOWN_IN_A_ROW_TOLERATED` workers and is being attempted again.
fn crashing() -> Vec<Fact> {
    let mut facts = vec![accepted()];
    for attempt in 1..=UNKNOWN_IN_A_ROW_TOLERATED {
        facts.extend([started(attempt), worker_lost(attempt, 0, attempt), retry_in(10, 0)]);
    }
    facts.push(started(UNKNOWN_IN_A_ROW_TOLERATED + 1));
    facts
}

#[test]
fn an_event_that_crashes_one_worker_after_another_is_given_up() {
    assert_eq!(UNKNOWN_IN_A_ROW_TOLERATED, 4);
    given::<WebhookEvent>(crashing())
        .when(record(Outcome::Unknown))
        .then([worker_lost(5, 1, 5), retry_in(2_560, 1)])
        .when(start())
        .then([started(6)])
        .when(record(Outcome::Unknown))
        .then([worker_lost(6, 2, 6), retry_in(21_600, 2)])
        .when(start())
        .then([started(7)])
        .when(record(Outcome::Unknown))
        .then([worker_lost(7, 3, 7), given_up(3)])
        // A replay allows the full number of attempts again.
        .when(replay())
        .then([replayed(7)])
        .when(start())
        .then([started(8)])
        .when(record(Outcome::Unknown))
        .then([worker_lost(8, 0, 1), retry_in(10, 0)]);
}

#[test]
fn a_known_outcome_resets_the_count_of_unknown_ones() {
    given::<WebhookEvent>(crashing())
        .when(record(Outcome::Timeout))
        .then([attempted(5, 1, Outcome::Timeout), retry_in(10, 1)])
        .when(start())
        .then([started(6)])
        .when(record(Outcome::Unknown))
        .then([worker_lost(6, 1, 1), retry_in(40, 1)]);
}

#[test]
fn the_last_allowed_failure_ends_the_delivery() {
    given::<WebhookEvent>([accepted()])
        .when(start())
        .then([started(1)])
        .when(record(Outcome::Connect))
        .then([attempted(1, 1, Outcome::Connect), retry_in(10, 1)])
        .when(start())
        .then([started(2)])
        .when(record(Outcome::Connect))
        .then([attempted(2, 2, Outcome::Connect), retry_in(40, 2)])
        .when(start())
        .then([started(3)])
        .when(record(Outcome::Connect))
        .then([attempted(3, 3, Outcome::Connect), given_up(3)]);
}

#[test]
fn with_one_allowed_attempt_the_first_failure_ends_the_delivery() {
    delivering().when(record_last(Outcome::Dns)).then([attempted(1, 1, Outcome::Dns), given_up(1)]);
}

#[test]
fn if_fewer_attempts_are_allowed_than_were_made_the_next_failure_ends_the_delivery() {
    let two_failures = [
        accepted(),
        started(1),
        attempted(1, 1, Outcome::Timeout),
        retry_in(10, 1),
        started(2),
        attempted(2, 2, Outcome::Timeout),
        retry_in(40, 2),
        started(3),
    ];
    given::<WebhookEvent>(two_failures)
        .when(record_last(Outcome::Timeout))
        .then([attempted(3, 3, Outcome::Timeout), given_up(3)]);
}

#[test]
fn a_receiver_can_ask_for_a_longer_delay() {
    let mut busy = report(Outcome::RefusedStatus);
    busy.retry_after = Some(RetryAfter::Seconds(120));
    delivering().when(record_report(busy.clone())).then([attempted_with(1, 1, busy), retry_in(120, 1)]);
}

#[test]
fn a_receiver_cannot_ask_for_a_shorter_or_unlimited_delay() {
    let mut hasty = report(Outcome::RefusedStatus);
    hasty.retry_after = Some(RetryAfter::At(moment(3)));
    delivering().when(record_report(hasty.clone())).then([attempted_with(1, 1, hasty), retry_in(10, 1)]);

    let mut idle = report(Outcome::RefusedStatus);
    idle.retry_after = Some(RetryAfter::Seconds(u64::MAX));
    delivering()
        .when(record_report(idle.clone()))
        .then([attempted_with(1, 1, idle), retry_in(6 * 60 * 60, 1)]);
}

#[test]
fn a_waiting_event_can_be_cancelled() {
    waiting().when(cancel()).then([cancelled()]);
    given::<WebhookEvent>([accepted(), started(1), attempted(1, 1, Outcome::Tls), retry_in(10, 1)])
        .when(cancel())
        .then([cancelled()])
        .when(start())
        .then_refused(Refusal::NotWaiting);
}

#[test]
fn an_attempt_in_progress_cannot_be_cancelled() {
    delivering().when(cancel()).then_refused(Refusal::AttemptInProgress);
}

#[test]
fn an_ended_delivery_cannot_be_cancelled() {
    for event in ended() {
        event.when(cancel()).then_refused(Refusal::NotWaiting);
    }
}

#[test]
fn an_event_in_critical_failure_is_replayed_with_the_full_number_of_attempts() {
    critical()
        .when(replay())
        .then([replayed(3)])
        .when(start())
        .then([started(4)])
        .when(record(Outcome::Timeout))
        .then([attempted(4, 1, Outcome::Timeout), retry_in(10, 1)])
        .when(start())
        .then([started(5)])
        .when(record(Outcome::Succeeded))
        .then([attempted(5, 1, Outcome::Succeeded)]);
}

#[test]
fn an_event_is_not_replayed_twice() {
    critical().when(replay()).then([replayed(3)]).when(replay()).then_refused(Refusal::NotInCriticalFailure);
}

#[test]
fn only_an_event_in_critical_failure_can_be_replayed() {
    for event in [waiting(), delivering(), succeeded(), after_cancel()] {
        event.when(replay()).then_refused(Refusal::NotInCriticalFailure);
    }
}

#[test]
fn a_replayed_event_can_fail_and_be_replayed_again() {
    critical()
        .when(replay())
        .then([replayed(3)])
        .when(start())
        .then([started(4)])
        .when(record_last(Outcome::Timeout))
        .then([attempted(4, 1, Outcome::Timeout), given_up(1)])
        .when(replay())
        .then([replayed(4)]);
}

#[test]
fn after_the_delivery_the_payload_can_be_erased_once() {
    for event in [succeeded(), critical(), after_cancel()] {
        event.when(erase()).then([erased()]).when(erase()).then_nothing();
    }
}

#[test]
fn erasing_the_payload_of_a_waiting_event_cancels_it() {
    let cancelled = Fact::Cancelled { destination_id: SHOP, reason: "law".to_owned(), at: moment(5) };
    waiting().when(erase()).then([cancelled, erased()]).when(start()).then_refused(Refusal::NotWaiting);
}

#[test]
fn a_payload_cannot_be_erased_during_an_attempt() {
    delivering().when(erase()).then_refused(Refusal::AttemptInProgress);
}

#[test]
fn an_event_without_payload_cannot_be_replayed() {
    critical().when(erase()).then([erased()]).when(replay()).then_refused(Refusal::PayloadIsErased);
}
