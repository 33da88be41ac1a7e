//! Lists of webhook events compared with a naive model, over random events: every filter, order, page and walk by
//! cursor equals sorting all of them in memory.

use std::cmp::Ordering;
use std::collections::HashMap;

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use projections::paging::Direction;
use projections::webhook_events::{self, EventStatus, Filter, Listing, PageStart, SortField, WebhookEvent};
use projections::{Projection, TenantScope};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::given::{
    ACME, Log, RIVAL, accepted, at, attempted, destination_registered, events_filter, id, report, retry,
    started, suspended,
};
use crate::rows;

/// Number of cases, each with some dozens of questions.
const CASES: u32 = 24;

/// A webhook event: destination, time of acceptance and course of its delivery.
#[derive(Clone, Copy, Debug)]
struct Sample {
    destination: u128,
    accepted_at: i64,
    course: u8,
}

/// A request for a page.
#[derive(Clone, Copy, Debug)]
struct Question {
    status: Option<EventStatus>,
    destination: Option<u128>,
    from: Option<i64>,
    to: Option<i64>,
    sort: SortField,
    direction: Direction,
    limit: i64,
    offset: i64,
}

/// Times in the same hours and days, at their boundaries, and far apart.
fn seconds() -> impl Strategy<Value = i64> {
    // Second 0 of the tests is 1.8e9 in Unix time: 08:00.
    prop_oneof![
        select(vec![0, 1, 1_799, 3_599, 3_600, 3_601, 57_599, 57_600, 57_601, 86_400 * 9 + 57_600]),
        -90_000..90_000i64,
        0..7_200i64,
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    (0..3u128, seconds(), 0..8u8).prop_map(|(destination, accepted_at, course)| Sample {
        destination,
        accepted_at,
        course,
    })
}

fn question() -> impl Strategy<Value = Question> {
    let filter = (
        proptest::option::weighted(0.4, select(EventStatus::ALL.to_vec())),
        proptest::option::weighted(0.4, 0..4u128),
        proptest::option::weighted(0.5, seconds()),
        proptest::option::weighted(0.5, seconds()),
    );
    let order = (select(SortField::ALL.to_vec()), select(vec![Direction::Ascending, Direction::Descending]));
    let page = (1..12i64, prop_oneof![Just(0), 0..50i64]);
    (filter, order, page).prop_map(|((status, destination, from, to), (sort, direction), (limit, offset))| {
        Question { status, destination, from, to, sort, direction, limit, offset }
    })
}

fn destination(number: u128) -> DestinationId {
    id(10 + number)
}

fn log_of(samples: &[Sample]) -> Log {
    let mut log = Log::default();
    for number in 0..3 {
        log.add(
            ACME,
            destination(number),
            destination_registered(ACME, &format!("https://{number}.example/")),
        );
    }
    log.add(ACME, destination(2), suspended(at(1_000)));
    log.add(RIVAL, id::<WebhookEventId>(1), accepted(RIVAL, id(12), at(3)));
    for (number, sample) in (100u128..).zip(samples) {
        add(&mut log, number, *sample);
    }
    log
}

fn add(log: &mut Log, number: u128, sample: Sample) {
    let to = destination(sample.destination);
    // The order of ids differs from that of time.
    let event: WebhookEventId = id(number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
    let event_accepted =
        aggregates_testing::accepted().tenant(ACME).destination(to).at(at(sample.accepted_at));
    log.add(ACME, event, event_accepted.fact());
    let failed = attempted(to, 1, 1, report(Outcome::Timeout));
    let facts = match sample.course {
        0 => vec![],
        1 => vec![started(to, 1)],
        2 | 3 => vec![started(to, 1), attempted(to, 1, 0, report(Outcome::Succeeded))],
        4 => vec![started(to, 1), failed],
        5 => vec![started(to, 1), failed, retry(to, 1, at(500 + sample.accepted_at % 1_000))],
        6 => vec![
            started(to, 1),
            failed,
            WebhookEventFact::CriticalFailure { destination_id: to, failed_attempts: 2, at: at(12) },
        ],
        _ => {
            vec![WebhookEventFact::Cancelled { destination_id: to, reason: "purged".to_owned(), at: at(12) }]
        }
    };
    for fact in facts {
        log.add(ACME, event, fact);
    }
}

/// Stores payloads of most of the events, some of them equal, and some with an idempotency key.
async fn give_payloads(pool: &PgPool, events: &[WebhookEvent]) -> HashMap<WebhookEventId, Payload> {
    let mut payloads = HashMap::new();
    for (number, event) in events.iter().enumerate().filter(|(number, _)| number % 5 != 0) {
        let bytes = format!("{{\"n\":{}}}", number * 7 % 11).into_bytes();
        let key = (number % 2 == 0).then(|| format!("key {}", number * 7 % 101));
        sqlx::query!(
            "INSERT INTO payloads (event_id, tenant_id, delivered, idempotency_key) VALUES ($1, $2, $3, $4)",
            event.id.0,
            ACME.0,
            bytes,
            key.clone(),
        )
        .execute(pool)
        .await
        .unwrap();
        payloads.insert(event.id, (bytes, key));
    }
    payloads
}

/// Compares like PostgreSQL: NULL is the largest.
fn nulls_last<T: Ord>(left: Option<T>, right: Option<T>) -> Ordering {
    match (left, right) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => left.cmp(&right),
    }
}

/// What is delivered, and the idempotency key.
type Payload = (Vec<u8>, Option<String>);

struct Model {
    events: Vec<WebhookEvent>,
    payloads: HashMap<WebhookEventId, Payload>,
}

impl Model {
    fn list(&self, question: &Question) -> Vec<WebhookEvent> {
        let Filter { status, destination_id, from, to, .. } = question.filter();
        let matches = |event: &&WebhookEvent| {
            status.is_none_or(|status| event.status == status)
                && destination_id.is_none_or(|id| event.destination_id == id)
                && from.is_none_or(|from| event.accepted_at >= from)
                && to.is_none_or(|to| event.accepted_at <= to)
        };
        let mut list: Vec<_> = self.events.iter().filter(matches).cloned().collect();
        list.sort_by(|left, right| self.compare(question.sort, left, right));
        if question.direction == Direction::Descending {
            list.reverse();
        }
        list
    }

    fn compare(&self, sort: SortField, left: &WebhookEvent, right: &WebhookEvent) -> Ordering {
        let bytes = |event: &WebhookEvent| self.payloads.get(&event.id).map(|(bytes, _)| bytes);
        let key = |event: &WebhookEvent| self.payloads.get(&event.id)?.1.as_ref();
        let by_field = match sort {
            SortField::Id => left.id.cmp(&right.id),
            SortField::TenantId | SortField::AcceptedAt => Ordering::Equal,
            SortField::DestinationUrlId => left.destination_id.cmp(&right.destination_id),
            SortField::Payload => nulls_last(bytes(left), bytes(right)),
            SortField::Status => left.status.number().cmp(&right.status.number()),
            SortField::IdempotencyKey => nulls_last(key(left), key(right)),
            SortField::CurrentRetryCount => left.failed_attempts.cmp(&right.failed_attempts),
            SortField::NextAttemptAt => nulls_last(left.next_attempt_at, right.next_attempt_at),
            SortField::DeliveredAt => nulls_last(left.delivered_at, right.delivered_at),
        };
        by_field.then(left.accepted_at.cmp(&right.accepted_at)).then(left.id.cmp(&right.id))
    }
}

impl Question {
    fn filter(&self) -> Filter {
        let time = |seconds: Option<i64>| -> Option<DateTime<Utc>> { seconds.map(at) };
        let of = events_filter(self.status, self.destination.map(destination));
        Filter { from: time(self.from), to: time(self.to), ..of }
    }

    async fn ask(&self, pool: &PgPool, start: PageStart) -> Listing {
        let mut scope = TenantScope::begin(pool, ACME).await.unwrap();
        let filter = self.filter();
        webhook_events::list(&mut scope, filter, self.sort, self.direction, self.limit, start).await.unwrap()
    }
}

async fn everything(pool: &PgPool) -> Vec<WebhookEvent> {
    let mut scope = TenantScope::begin(pool, ACME).await.unwrap();
    let (filter, start) = (Filter::default(), PageStart::Offset(0));
    let listing = webhook_events::list(&mut scope, filter, SortField::Id, Direction::Ascending, 1_000, start);
    listing.await.unwrap().items
}

async fn check(pool: &PgPool, samples: &[Sample], questions: &[Question]) -> Result<(), TestCaseError> {
    rows::delete_all(pool).await;
    sqlx::query!("TRUNCATE payloads").execute(pool).await.unwrap();
    let log = log_of(samples);
    log.fold_into(pool, Projection::Destinations).await;
    log.fold_into(pool, Projection::WebhookEvents).await;
    let events = everything(pool).await;
    prop_assert_eq!(events.len(), samples.len());
    let payloads = give_payloads(pool, &events).await;
    let model = Model { events, payloads };
    for question in questions {
        let expected = model.list(question);
        let listing = question.ask(pool, PageStart::Offset(question.offset)).await;
        prop_assert_eq!(usize::try_from(listing.total), Ok(expected.len()), "{:?}", question);
        let begin = usize::try_from(question.offset).unwrap().min(expected.len());
        let end = (begin + usize::try_from(question.limit).unwrap()).min(expected.len());
        prop_assert_eq!(&listing.items, &expected[begin..end], "{:?}", question);

        if question.sort == SortField::Payload {
            prop_assert_eq!(listing.next, None);
            continue;
        }
        prop_assert_eq!(listing.next.is_some(), end < expected.len(), "{:?}", question);
        let mut walked = listing.items;
        let mut next = listing.next;
        while let Some(place) = next {
            let listing = question.ask(pool, PageStart::After(place)).await;
            prop_assert!(!listing.items.is_empty(), "{:?}", question);
            prop_assert_eq!(usize::try_from(listing.total), Ok(expected.len()), "{:?}", question);
            walked.extend(listing.items);
            next = listing.next;
        }
        prop_assert_eq!(&walked, &expected[begin..], "walked {:?}", question);
    }
    Ok(())
}

#[sqlx::test(migrations = "../migrations")]
async fn lists_equal_sorting_in_memory(pool: PgPool) {
    let options = (*pool.connect_options()).clone();
    // The test runner is synchronous, so it runs in a thread with a runtime of its own.
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let pool = runtime.block_on(PgPoolOptions::new().max_connections(2).connect_with(options)).unwrap();
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let cases = (vec(sample(), 0..60), vec(question(), 40));
        let result = TestRunner::new(config)
            .run(&cases, |(samples, questions)| runtime.block_on(check(&pool, &samples, &questions)));
        runtime.block_on(pool.close());
        result
    });
    thread.join().unwrap().unwrap();
}

/// Some events in every status, over some days.
fn some_samples(count: u8) -> Vec<Sample> {
    (0..count)
        .map(|number| Sample {
            destination: u128::from(number % 3),
            accepted_at: i64::from(number) * 4_000,
            course: number % 8,
        })
        .collect()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_walk_returns_each_event_once_while_others_are_added(pool: PgPool) {
    let samples = some_samples(48);
    for sort in SortField::ALL.iter().copied().filter(|sort| *sort != SortField::Payload) {
        for direction in [Direction::Ascending, Direction::Descending] {
            rows::delete_all(&pool).await;
            sqlx::query!("TRUNCATE payloads").execute(&pool).await.unwrap();
            let mut log = log_of(&samples);
            log.fold_into(&pool, Projection::Destinations).await;
            log.fold_into(&pool, Projection::WebhookEvents).await;
            let before = everything(&pool).await;
            give_payloads(&pool, &before).await;
            let question = Question {
                status: None,
                destination: None,
                from: None,
                to: None,
                sort,
                direction,
                limit: 5,
                offset: 0,
            };
            let mut walked: Vec<WebhookEventId> = vec![];
            let mut start = PageStart::Offset(0);
            for round in 0.. {
                let listing = question.ask(&pool, start).await;
                walked.extend(listing.items.iter().map(|event| event.id));
                let Some(next) = listing.next else { break };
                start = PageStart::After(next);
                // One before all others, one after them, and one between.
                if round < 8 {
                    let size = log.facts.len();
                    for (number, accepted_at) in (1_000 + round * 3..).zip([-50_000, 90_000, 500_000]) {
                        let course = u8::try_from(number % 8).unwrap();
                        let sample = Sample { destination: number % 3, accepted_at, course };
                        add(&mut log, number, sample);
                    }
                    crate::given::apply(&pool, Projection::WebhookEvents, &log.facts[size..]).await;
                }
            }
            let of_before: Vec<_> =
                walked.iter().filter(|id| before.iter().any(|event| event.id == **id)).collect();
            assert_eq!(of_before.len(), before.len(), "{sort:?} {direction:?}");
            walked.sort_unstable();
            let len = walked.len();
            walked.dedup();
            assert_eq!(walked.len(), len, "{sort:?} {direction:?}: an event came twice");
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn events_are_removed_with_their_counts(pool: PgPool) {
    let log = log_of(&some_samples(40));
    log.fold_into(&pool, Projection::WebhookEvents).await;
    let events = everything(&pool).await;
    let (doomed, kept) = events.split_at(25);
    let mut ids: Vec<_> = doomed.iter().map(|event| event.id).collect();
    ids.push(id(99_999));
    let mut transaction = pool.begin().await.unwrap();
    assert_eq!(webhook_events::remove(&mut transaction, &ids).await.unwrap(), 25);
    assert_eq!(webhook_events::remove(&mut transaction, &ids).await.unwrap(), 0);
    transaction.commit().await.unwrap();
    assert_eq!(everything(&pool).await, kept);
    check_counts(&pool, kept).await;

    let ids: Vec<_> = kept.iter().map(|event| event.id).collect();
    assert_eq!(webhook_events::remove(&mut pool.acquire().await.unwrap(), &ids).await.unwrap(), 15);
    let empty = sqlx::query_scalar::<_, i64>(
        "SELECT count(*) FROM webhook_event_counts
         WHERE greatest(pending, processing, succeeded, failed, waiting_retry, critical_failure, cancelled) = 0",
    );
    assert_eq!(empty.fetch_one(&pool).await.unwrap(), 0, "a fold of what is left makes no such buckets");
}

/// Checks the counts against the events.
async fn check_counts(pool: &PgPool, events: &[WebhookEvent]) {
    for status in EventStatus::ALL.into_iter().map(Some).chain([None]) {
        for number in 0..3 {
            let question = Question {
                status,
                destination: Some(number),
                from: None,
                to: None,
                sort: SortField::AcceptedAt,
                direction: Direction::Descending,
                limit: 1,
                offset: 0,
            };
            let total = question.ask(pool, PageStart::Offset(0)).await.total;
            let of = |event: &&WebhookEvent| {
                event.destination_id == destination(number) && status.is_none_or(|s| event.status == s)
            };
            assert_eq!(usize::try_from(total), Ok(events.iter().filter(of).count()), "{status:?} {number}");
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn events_without_counts_are_counted_while_facts_are_folded(pool: PgPool) {
    let mut log = log_of(&some_samples(40));
    log.fold_into(&pool, Projection::WebhookEvents).await;
    // Rows, no counts, and the mark before the first row.
    sqlx::query!("TRUNCATE webhook_event_counts").execute(&pool).await.unwrap();
    sqlx::query!("INSERT INTO webhook_event_recounts VALUES ('00000000-0000-0000-0000-000000000000')")
        .execute(&pool)
        .await
        .unwrap();
    let size = log.facts.len();
    check_counts(&pool, &everything(&pool).await).await;
    // While no event is counted, one is added.
    add(&mut log, 5_000, Sample { destination: 1, accepted_at: 77, course: 0 });
    crate::given::apply(&pool, Projection::WebhookEvents, &log.facts[size..]).await;
    let mut connection = pool.acquire().await.unwrap();
    assert!(webhook_events::recount(&mut connection).await.unwrap());
    // While all events are counted and the mark still exists, others are added on both sides of it.
    let size = log.facts.len();
    for number in 6_000..6_010 {
        add(&mut log, number, Sample { destination: 2, accepted_at: 99, course: 3 });
    }
    crate::given::apply(&pool, Projection::WebhookEvents, &log.facts[size..]).await;
    while webhook_events::recount(&mut connection).await.unwrap() {}
    let events = everything(&pool).await;
    assert_eq!(events.len(), 51);
    check_counts(&pool, &events).await;
    assert!(!webhook_events::recount(&mut connection).await.unwrap());
}
