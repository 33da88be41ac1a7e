use aggregates::attempt_outcome::Outcome;
use aggregates::destination::DestinationFact;
use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use projections::webhook_events::{self, EventStatus, WebhookEvent};
use projections::{Projection, TenantScope};
use sqlx::PgPool;

use crate::given::{
    ACME, Log, RIVAL, accepted, at, attempted, destination_registered, events, id, report, retry, started,
    suspended, tenant_registered,
};

fn destination() -> DestinationId {
    id(10)
}

fn event() -> WebhookEventId {
    id(1)
}

fn log_of(facts: impl IntoIterator<Item = WebhookEventFact>) -> Log {
    let mut log = Log::default();
    log.add(ACME, event(), accepted(ACME, destination(), at(0)));
    for fact in facts {
        log.add(ACME, event(), fact);
    }
    log
}

async fn shown(pool: &PgPool, log: &Log) -> WebhookEvent {
    log.fold_into(pool, Projection::WebhookEvents).await;
    let mut scope = TenantScope::begin(pool, ACME).await.unwrap();
    webhook_events::get(&mut scope, event()).await.unwrap().unwrap()
}

fn failed(attempt: u32, failed_attempts: u32) -> WebhookEventFact {
    attempted(destination(), attempt, failed_attempts, report(Outcome::RefusedStatus))
}

#[sqlx::test(migrations = "../migrations")]
async fn an_accepted_event_is_pending(pool: PgPool) {
    let found = shown(&pool, &log_of([])).await;
    assert_eq!((found.id, found.tenant_id, found.destination_id), (event(), ACME, destination()));
    assert_eq!((found.status, found.failed_attempts, found.attempts), (EventStatus::Pending, 0, 0));
    assert_eq!((found.accepted_at, found.next_attempt_at, found.delivered_at), (at(0), None, None));
}

#[sqlx::test(migrations = "../migrations")]
async fn an_event_with_an_attempt_in_progress_is_processing(pool: PgPool) {
    let found = shown(&pool, &log_of([started(destination(), 1)])).await;
    assert_eq!((found.status, found.attempts, found.failed_attempts), (EventStatus::Processing, 1, 0));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_2xx_makes_it_succeeded_with_the_time(pool: PgPool) {
    let log = log_of([started(destination(), 1), attempted(destination(), 1, 0, report(Outcome::Succeeded))]);
    let found = shown(&pool, &log).await;
    assert_eq!((found.status, found.failed_attempts), (EventStatus::Succeeded, 0));
    assert_eq!((found.delivered_at, found.next_attempt_at), (Some(at(11)), None));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_failure_waits_for_its_retry(pool: PgPool) {
    let log = log_of([started(destination(), 1), failed(1, 1)]);
    let moment = shown(&pool, &log).await;
    assert_eq!((moment.status, moment.failed_attempts), (EventStatus::Failed, 1));

    let log = log.with(ACME, event(), retry(destination(), 1, at(60)));
    let waiting = shown(&pool, &log).await;
    assert_eq!((waiting.status, waiting.failed_attempts), (EventStatus::WaitingRetry, 1));
    assert_eq!(waiting.next_attempt_at, Some(at(60)));

    let log = log.with(ACME, event(), started(destination(), 2));
    let again = shown(&pool, &log).await;
    assert_eq!((again.status, again.attempts, again.next_attempt_at), (EventStatus::Processing, 2, None));
}

#[sqlx::test(migrations = "../migrations")]
async fn the_last_failure_is_critical_and_a_replay_starts_again(pool: PgPool) {
    let given_up =
        WebhookEventFact::CriticalFailure { destination_id: destination(), failed_attempts: 1, at: at(12) };
    let log = log_of([started(destination(), 1), failed(1, 1), given_up]);
    let critical = shown(&pool, &log).await;
    assert_eq!((critical.status, critical.failed_attempts), (EventStatus::CriticalFailure, 1));
    assert_eq!(critical.next_attempt_at, None);

    let log = log.with(
        ACME,
        event(),
        WebhookEventFact::Replayed { destination_id: destination(), attempts: 1, at: at(20) },
    );
    let replayed = shown(&pool, &log).await;
    assert_eq!((replayed.status, replayed.failed_attempts, replayed.attempts), (EventStatus::Pending, 0, 1));
    assert_eq!(replayed.next_attempt_at, Some(at(20)));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_cancelled_event_has_no_next_attempt(pool: PgPool) {
    let cancelled = WebhookEventFact::Cancelled {
        destination_id: destination(),
        reason: "the queue was purged".to_owned(),
        at: at(20),
    };
    let log = log_of([started(destination(), 1), failed(1, 1), retry(destination(), 1, at(60)), cancelled]);
    let found = shown(&pool, &log).await;
    assert_eq!((found.status, found.next_attempt_at), (EventStatus::Cancelled, None));
}

#[sqlx::test(migrations = "../migrations")]
async fn an_erased_payload_does_not_change_the_delivery(pool: PgPool) {
    let log = log_of([]);
    let before = shown(&pool, &log).await;
    let erased =
        WebhookEventFact::PayloadErased { reason: "asked to".to_owned(), requested_by: None, at: at(5) };
    let after = shown(&pool, &log.with(ACME, event(), erased)).await;
    assert_eq!(after, WebhookEvent { version: 2, ..before });
}

#[sqlx::test(migrations = "../migrations")]
async fn an_open_breaker_delays_waiting_events(pool: PgPool) {
    let mut log = Log::default()
        .with(ACME, destination(), destination_registered(ACME, "https://a.example/"))
        .with(ACME, event(), accepted(ACME, destination(), at(0)))
        .with(ACME, id::<WebhookEventId>(2), accepted(ACME, destination(), at(0)))
        .with(ACME, id::<WebhookEventId>(2), started(destination(), 1))
        .with(ACME, destination(), suspended(at(300)));
    let next_attempt = async |log: &Log, id: WebhookEventId| {
        log.fold_into(&pool, Projection::Destinations).await;
        log.fold_into(&pool, Projection::WebhookEvents).await;
        let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
        webhook_events::get(&mut scope, id).await.unwrap().unwrap().next_attempt_at
    };
    // A waiting event is delayed until the next check of the breaker; an attempt in progress is not.
    assert_eq!(next_attempt(&log, event()).await, Some(at(300)));
    assert_eq!(next_attempt(&log, id(2)).await, None);

    // The later of the two times.
    for fact in [started(destination(), 1), failed(1, 1), retry(destination(), 1, at(200))] {
        log.add(ACME, event(), fact);
    }
    assert_eq!(next_attempt(&log, event()).await, Some(at(300)));
    for fact in [started(destination(), 2), failed(2, 2), retry(destination(), 2, at(900))] {
        log.add(ACME, event(), fact);
    }
    assert_eq!(next_attempt(&log, event()).await, Some(at(900)));

    log.add(ACME, destination(), DestinationFact::DestinationResumed { at: at(301) });
    for fact in [started(destination(), 3), failed(3, 3), retry(destination(), 3, at(250))] {
        log.add(ACME, event(), fact);
    }
    assert_eq!(next_attempt(&log, event()).await, Some(at(250)));
}

#[sqlx::test(migrations = "../migrations")]
async fn an_event_from_its_stream_equals_its_row(pool: PgPool) {
    let log = log_of([started(destination(), 1), failed(1, 1), retry(destination(), 1, at(60))]);
    let folded = webhook_events::of_stream(&log.facts).unwrap().unwrap();
    assert_eq!(folded, shown(&pool, &log).await);
    assert_eq!(webhook_events::of_stream(&[]).unwrap(), None);
}

#[sqlx::test(migrations = "../migrations")]
async fn the_summary_for_ingest_has_tenant_status_and_time(pool: PgPool) {
    log_of([started(destination(), 1)]).fold_into(&pool, Projection::WebhookEvents).await;
    let mut connection = pool.acquire().await.unwrap();
    let standing = webhook_events::summary(&mut connection, event()).await.unwrap().unwrap();
    assert_eq!((standing.tenant_id, standing.status), (ACME, EventStatus::Processing));
    assert_eq!(standing.accepted_at, at(0));
    assert_eq!(webhook_events::summary(&mut connection, id(2)).await.unwrap(), None);
    assert_eq!(webhook_events::owner_of(&mut connection, event()).await.unwrap(), Some(ACME));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_purge_finds_only_the_waiting_events_of_the_destination(pool: PgPool) {
    let elsewhere = id::<DestinationId>(11);
    let mut log = Log::default()
        .with(ACME, ACME, tenant_registered("Acme"))
        .with(ACME, id::<WebhookEventId>(6), accepted(ACME, elsewhere, at(0)))
        .with(RIVAL, id::<WebhookEventId>(7), accepted(RIVAL, destination(), at(0)));
    for event in events(1..=5) {
        log.add(ACME, event, accepted(ACME, destination(), at(0)));
    }
    for fact in [started(destination(), 1), failed(1, 1), retry(destination(), 1, at(60))] {
        log.add(ACME, id::<WebhookEventId>(2), fact);
    }
    log.add(ACME, id::<WebhookEventId>(3), started(destination(), 1));
    log.fold_into(&pool, Projection::WebhookEvents).await;

    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let first = webhook_events::waiting(&mut scope, destination(), None, 2).await.unwrap();
    let versions = first.iter().map(|waiting| (waiting.id, waiting.version)).collect::<Vec<_>>();
    assert_eq!(versions, [(id(1), 1), (id(2), 4)]);
    let rest = webhook_events::waiting(&mut scope, destination(), Some(id(2)), 10).await.unwrap();
    assert_eq!(rest.iter().map(|waiting| waiting.id).collect::<Vec<_>>(), events([4, 5]));
}
