//! Properties of webhook events for any sequence of commands.

use aggregates::Decide;
use aggregates::attempt_outcome::{AttemptReport, Outcome, RetryAfter};
use aggregates::backoff::Backoff;
use aggregates::fact::{Fact as AnyFact, StoredFact};
use aggregates::webhook_event::{
    UNKNOWN_IN_A_ROW_TOLERATED, WebhookEvent, WebhookEventCommand as Command, WebhookEventFact as Fact,
};
use aggregates_testing::accepted;
use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::given::{ACME, SHOP, moment};

const MAX_ATTEMPTS: u32 = 3;

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        1 => Just(Outcome::Succeeded),
        1 => Just(Outcome::Unknown),
        4 => prop::sample::select(Outcome::ALL.to_vec()),
    ]
}

/// Any command. Attempts are frequent, so that many events reach their end.
fn command() -> impl Strategy<Value = Command> {
    let at = (-10..1_000_i64).prop_map(moment);
    let retry_after = prop::option::of(prop_oneof![
        any::<u64>().prop_map(RetryAfter::Seconds),
        (-1_000..100_000_i64).prop_map(|seconds| RetryAfter::At(moment(seconds))),
    ]);
    let start = at.clone().prop_map(|at| Command::Start {
        worker: "worker".to_owned(),
        destination_version: 1,
        tenant_version: 1,
        timeout_ms: 30_000,
        at,
    });
    let record = (outcome(), retry_after, 0.0..=1.0_f64, at.clone()).prop_map(
        |(outcome, retry_after, jitter_sample, at)| {
            let report = AttemptReport { retry_after, ..AttemptReport::without_answer(outcome, 1, None) };
            Command::RecordAttempt {
                report,
                backoff: Backoff::default(),
                max_attempts: MAX_ATTEMPTS,
                jitter_sample,
                at,
            }
        },
    );
    let cancel = at.clone().prop_map(|at| Command::Cancel { reason: "purged".to_owned(), at });
    let replay = at.clone().prop_map(|at| Command::Replay { at });
    let erase =
        at.clone().prop_map(|at| Command::ErasePayload { reason: "law".to_owned(), requested_by: None, at });
    prop_oneof![
        2 => at.prop_map(accept),
        40 => start,
        40 => record,
        1 => cancel,
        6 => replay,
        1 => erase,
    ]
}

fn accept(at: DateTime<Utc>) -> Command {
    accepted().tenant(ACME).destination(SHOP).at(at).command()
}

/// State and facts of an event after its acceptance and these commands.
fn run(commands: Vec<Command>) -> (WebhookEvent, Vec<Fact>) {
    let mut event = WebhookEvent::default();
    let mut facts = vec![];
    for command in std::iter::once(accept(moment(0))).chain(commands) {
        for fact in event.decide(command).unwrap_or_default() {
            event.apply(fact.clone());
            facts.push(fact);
        }
    }
    (event, facts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(aggregates_testing::cases(256, 40)))]

    #[test]
    fn attempts_are_numbered_without_gaps(commands in vec(command(), 0..80)) {
        let (_, facts) = run(commands);
        let started: Vec<u32> = facts
            .iter()
            .filter_map(|fact| if let Fact::DeliveryStarted { attempt, .. } = fact { Some(*attempt) } else { None })
            .collect();
        let expected: Vec<u32> = (1..).take(started.len()).collect();
        prop_assert_eq!(started, expected);
    }

    #[test]
    fn every_outcome_belongs_to_the_attempt_that_was_just_started(commands in vec(command(), 0..80)) {
        let (_, facts) = run(commands);
        for (index, fact) in facts.iter().enumerate() {
            let Fact::DeliveryAttempted { attempt, .. } = fact else { continue };
            let before = index.checked_sub(1).and_then(|index| facts.get(index));
            let starts_the_attempt =
                matches!(before, Some(Fact::DeliveryStarted { attempt: started, .. }) if started == attempt);
            prop_assert!(starts_the_attempt, "{before:?} comes before {fact:?}");
        }
    }

    #[test]
    fn failures_are_counted_up_to_the_limit_and_from_zero_after_a_replay(commands in vec(command(), 0..80)) {
        let (_, facts) = run(commands);
        let (mut failed, mut unknown, mut is_final) = (0, 0, false);
        for fact in &facts {
            match fact {
                Fact::DeliveryAttempted { failed_attempts, report, .. } => {
                    unknown = if report.outcome == Outcome::Unknown { unknown + 1 } else { 0 };
                    is_final = report.outcome.is_final();
                    let uses_up = report.outcome.counts_as_failure() || unknown > UNKNOWN_IN_A_ROW_TOLERATED;
                    failed += u32::from(uses_up);
                    prop_assert_eq!(*failed_attempts, failed);
                    prop_assert!(failed <= MAX_ATTEMPTS);
                }
                Fact::RetryScheduled { failed_attempts, retry_at, at, .. } => {
                    prop_assert_eq!(*failed_attempts, failed);
                    prop_assert!(failed < MAX_ATTEMPTS && !is_final, "a retry after the last attempt");
                    prop_assert!(retry_at > at);
                }
                Fact::CriticalFailure { failed_attempts, .. } => {
                    prop_assert_eq!(*failed_attempts, failed);
                    prop_assert!(failed == MAX_ATTEMPTS || is_final);
                }
                Fact::Replayed { .. } => (failed, unknown) = (0, 0),
                _ => {}
            }
        }
    }

    #[test]
    fn every_failure_is_followed_by_a_retry_or_the_end_and_every_success_by_neither(
        commands in vec(command(), 0..80),
    ) {
        let (_, facts) = run(commands);
        for (index, fact) in facts.iter().enumerate() {
            let Fact::DeliveryAttempted { report, .. } = fact else { continue };
            let follows =
                matches!(facts.get(index + 1), Some(Fact::RetryScheduled { .. } | Fact::CriticalFailure { .. }));
            prop_assert_eq!(follows, !report.outcome.is_success());
        }
    }

    #[test]
    fn the_state_is_the_fold_of_the_stored_facts(commands in vec(command(), 0..80)) {
        let (event, facts) = run(commands);
        let mut read_back = WebhookEvent::default();
        for fact in facts {
            let stored = serde_json::to_string(&fact).expect("a fact that can be stored");
            let (event_type, event_version) = (fact.event_type(), fact.event_version());
            let stored = StoredFact {
                aggregate_type: WebhookEvent::TYPE,
                event_type: &event_type,
                event_version: &event_version,
                payload: &stored,
            };
            let read = AnyFact::read(stored).expect("a fact that can be read");
            prop_assert_eq!(&read, &AnyFact::WebhookEvent(fact.clone()));
            read_back.apply(fact);
        }
        prop_assert_eq!(&read_back, &event);
        // The form of snapshots.
        let snapshot = serde_json::to_string(&event).expect("a state that can be stored");
        prop_assert_eq!(serde_json::from_str::<WebhookEvent>(&snapshot).expect("a state"), event);
    }
}
