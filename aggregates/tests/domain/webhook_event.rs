//! A webhook event: from its acceptance, attempt by attempt, to its end, and perhaps back again.

use aggregates::attempt_outcome::{AttemptReport, Outcome, RetryAfter};
use aggregates::backoff::Backoff;
use aggregates::webhook_event::{
    Acceptance, MappingResult, PayloadDigest, UNKNOWN_IN_A_ROW_TOLERATED, WebhookEvent,
    WebhookEventCommand as Command, WebhookEventFact as Fact, WebhookEventRefusal as Refusal,
};

use crate::given::{ACME, ALICE, GITHUB, Given, SHOP, given, moment};

const MAX_ATTEMPTS: u32 = 3;

fn acceptance() -> Acceptance {
    let digest = |sha256: &str| PayloadDigest { sha256: sha256.to_owned(), bytes: 7 };
    Acceptance {
        tenant_id: ACME,
        destination_id: SHOP,
        sender_id: Some(GITHUB),
        idempotency_key: Some("order-7".to_owned()),
        payload: digest("delivered"),
        mapping: Some(MappingResult::Applied(digest("received"))),
        at: moment(0),
    }
}

fn accepted() -> Fact {
    Fact::EventAccepted(acceptance())
}

fn start() -> Command {
    let (destination_version, tenant_version) = (3, 4);
    Command::Start { worker: "worker-1".to_owned(), destination_version, tenant_version, at: moment(1) }
}

fn started(attempt: u32) -> Fact {
    let (destination_version, tenant_version) = (3, 4);
    Fact::DeliveryStarted {
        destination_id: SHOP,
        attempt,
        worker: "worker-1".to_owned(),
        destination_version,
        tenant_version,
        at: moment(1),
    }
}

fn report(outcome: Outcome) -> AttemptReport {
    AttemptReport::without_answer(outcome, 12, None)
}

fn record_report(report: AttemptReport) -> Command {
    let backoff = Backoff::default();
    Command::RecordAttempt { report, backoff, max_attempts: MAX_ATTEMPTS, jitter_sample: 0.5, at: moment(2) }
}

fn record(outcome: Outcome) -> Command {
    record_report(report(outcome))
}

fn attempted_with(attempt: u32, failed_attempts: u32, report: AttemptReport) -> Fact {
    Fact::DeliveryAttempted {
        destination_id: SHOP,
        attempt,
        failed_attempts,
        unknown_in_a_row: 0,
        report,
        at: moment(2),
    }
}

fn vanished(attempt: u32, failed_attempts: u32, unknown_in_a_row: u32) -> Fact {
    Fact::DeliveryAttempted {
        destination_id: SHOP,
        attempt,
        failed_attempts,
        unknown_in_a_row,
        report: report(Outcome::Unknown),
        at: moment(2),
    }
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

/// After as many failures as are allowed.
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

/// Every stage after the end.
fn over() -> [Given<WebhookEvent>; 4] {
    let erased = given([accepted(), started(1), attempted(1, 0, Outcome::Succeeded), erased()]);
    [succeeded(), critical(), after_cancel(), erased]
}

#[test]
fn an_event_is_accepted_once() {
    given::<WebhookEvent>([]).when(Command::Accept(acceptance())).then([accepted()]);
    for event in [waiting(), delivering()].into_iter().chain(over()) {
        event.when(Command::Accept(acceptance())).then_refused(Refusal::AlreadyAccepted);
    }
}

#[test]
fn nothing_can_be_asked_of_an_unknown_event() {
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
    for event in [delivering()].into_iter().chain(over()) {
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
    for event in [waiting()].into_iter().chain(over()) {
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
fn an_attempt_whose_worker_vanished_is_retried_and_uses_up_nothing() {
    delivering()
        .when(record(Outcome::Unknown))
        .then([vanished(1, 0, 1), retry_in(10, 0)])
        .when(start())
        .then([started(2)])
        .when(record(Outcome::Timeout))
        .then([attempted(2, 1, Outcome::Timeout), retry_in(10, 1)]);
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

/// The event that `UNKNOWN_IN_A_ROW_TOLERATED` workers did not survive, as the next one is about to try.
fn poisonous() -> Vec<Fact> {
    let mut facts = vec![accepted()];
    for attempt in 1..=UNKNOWN_IN_A_ROW_TOLERATED {
        facts.extend([started(attempt), vanished(attempt, 0, attempt), retry_in(10, 0)]);
    }
    facts.push(started(UNKNOWN_IN_A_ROW_TOLERATED + 1));
    facts
}

#[test]
fn an_event_that_takes_down_worker_after_worker_comes_to_an_end() {
    assert_eq!(UNKNOWN_IN_A_ROW_TOLERATED, 4);
    given::<WebhookEvent>(poisonous())
        .when(record(Outcome::Unknown))
        .then([vanished(5, 1, 5), retry_in(2_560, 1)])
        .when(start())
        .then([started(6)])
        .when(record(Outcome::Unknown))
        .then([vanished(6, 2, 6), retry_in(21_600, 2)])
        .when(start())
        .then([started(7)])
        .when(record(Outcome::Unknown))
        .then([vanished(7, 3, 7), given_up(3)])
        // A replay is a full set of attempts.
        .when(replay())
        .then([replayed(7)])
        .when(start())
        .then([started(8)])
        .when(record(Outcome::Unknown))
        .then([vanished(8, 0, 1), retry_in(10, 0)]);
}

#[test]
fn an_outcome_that_is_known_begins_the_count_anew() {
    given::<WebhookEvent>(poisonous())
        .when(record(Outcome::Timeout))
        .then([attempted(5, 1, Outcome::Timeout), retry_in(10, 1)])
        .when(start())
        .then([started(6)])
        .when(record(Outcome::Unknown))
        .then([vanished(6, 1, 1), retry_in(40, 1)]);
}

#[test]
fn the_last_failure_allowed_is_the_end() {
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
fn with_one_attempt_allowed_the_first_failure_is_the_end() {
    let backoff = Backoff::default();
    let report = report(Outcome::Dns);
    delivering()
        .when(Command::RecordAttempt { report, backoff, max_attempts: 1, jitter_sample: 0.5, at: moment(2) })
        .then([attempted(1, 1, Outcome::Dns), given_up(1)]);
}

#[test]
fn fewer_attempts_allowed_than_were_made_is_the_end_at_the_next_failure() {
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
    let backoff = Backoff::default();
    let report = report(Outcome::Timeout);
    given::<WebhookEvent>(two_failures)
        .when(Command::RecordAttempt { report, backoff, max_attempts: 1, jitter_sample: 0.5, at: moment(2) })
        .then([attempted(3, 3, Outcome::Timeout), given_up(3)]);
}

#[test]
fn a_receiver_that_asks_for_more_time_gets_it() {
    let mut busy = report(Outcome::RefusedStatus);
    busy.retry_after = Some(RetryAfter::Seconds(120));
    delivering().when(record_report(busy.clone())).then([attempted_with(1, 1, busy), retry_in(120, 1)]);
}

#[test]
fn a_receiver_cannot_ask_for_less_time_or_for_ever() {
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
fn an_event_that_waits_can_be_cancelled() {
    waiting().when(cancel()).then([cancelled()]);
    given::<WebhookEvent>([accepted(), started(1), attempted(1, 1, Outcome::Tls), retry_in(10, 1)])
        .when(cancel())
        .then([cancelled()])
        .when(start())
        .then_refused(Refusal::NotWaiting);
}

#[test]
fn an_attempt_under_way_cannot_be_cancelled() {
    delivering().when(cancel()).then_refused(Refusal::AttemptInProgress);
}

#[test]
fn an_event_that_is_over_cannot_be_cancelled() {
    for event in over() {
        event.when(cancel()).then_refused(Refusal::NotWaiting);
    }
}

#[test]
fn an_event_given_up_is_replayed_with_a_full_set_of_attempts() {
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
fn only_an_event_given_up_can_be_replayed() {
    for event in [waiting(), delivering(), succeeded(), after_cancel()] {
        event.when(replay()).then_refused(Refusal::NotInCriticalFailure);
    }
}

#[test]
fn a_replayed_event_can_be_given_up_and_replayed_again() {
    let backoff = Backoff::default();
    let last = |report| Command::RecordAttempt {
        report,
        backoff,
        max_attempts: 1,
        jitter_sample: 0.5,
        at: moment(2),
    };
    critical()
        .when(replay())
        .then([replayed(3)])
        .when(start())
        .then([started(4)])
        .when(last(report(Outcome::Timeout)))
        .then([attempted(4, 1, Outcome::Timeout), given_up(1)])
        .when(replay())
        .then([replayed(4)]);
}

#[test]
fn the_payload_of_an_event_that_is_over_can_be_erased_again_and_again() {
    for event in over() {
        event.when(erase()).then([erased()]).when(erase()).then([erased()]);
    }
}

#[test]
fn an_event_that_waits_is_cancelled_with_its_payload() {
    let cancelled = Fact::Cancelled { destination_id: SHOP, reason: "law".to_owned(), at: moment(5) };
    waiting().when(erase()).then([cancelled, erased()]).when(start()).then_refused(Refusal::NotWaiting);
}

#[test]
fn a_payload_on_its_way_cannot_be_erased() {
    delivering().when(erase()).then_refused(Refusal::AttemptInProgress);
}

#[test]
fn an_event_without_payload_cannot_be_replayed() {
    critical().when(erase()).then([erased()]).when(replay()).then_refused(Refusal::PayloadIsErased);
}
