use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::ids::{DestinationId, WebhookEventId};
use projections::delivery_attempts::{self, DeliveryAttempt};
use projections::paging::{Direction, Page};
use projections::{Projection, TenantScope};
use sqlx::PgPool;

use crate::given::{ACME, Log, RIVAL, accepted, apply, at, attempted, id, report, retry, started};

fn destination() -> DestinationId {
    id(10)
}

fn event() -> WebhookEventId {
    id(1)
}

async fn shown(pool: &PgPool) -> Vec<DeliveryAttempt> {
    let mut scope = TenantScope::begin(pool, ACME).await.unwrap();
    let page = Page { limit: 10, offset: 0 };
    let listed = delivery_attempts::list(&mut scope, event(), Direction::Ascending, page).await.unwrap();
    assert_eq!(usize::try_from(listed.total), Ok(listed.items.len()));
    listed.items
}

fn answered() -> AttemptReport {
    AttemptReport {
        outcome: Outcome::RefusedStatus,
        status: Some(503),
        duration_ms: 250,
        retry_after: None,
        response_hmac_sha256: Some("00".to_owned()),
        address: Some("192.0.2.7:443".to_owned()),
        detail: Some("the receiver answered 503".to_owned()),
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn an_attempt_is_stored_at_its_start_and_completed_at_its_end(pool: PgPool) {
    let log = Log::default().with(ACME, event(), accepted(ACME, destination(), at(0))).with(
        ACME,
        event(),
        started(destination(), 1),
    );
    log.fold_into(&pool, Projection::DeliveryAttempts).await;
    let in_progress = shown(&pool).await;
    assert_eq!(in_progress.len(), 1);
    assert_eq!((in_progress[0].attempt, in_progress[0].worker.as_str()), (1, "worker-1"));
    assert_eq!((in_progress[0].destination_version, in_progress[0].tenant_version), (3, 4));
    assert_eq!((in_progress[0].started_at, &in_progress[0].end), (at(10), &None));

    let log = log
        .with(ACME, event(), attempted(destination(), 1, 1, answered()))
        .with(ACME, event(), retry(destination(), 1, at(60)))
        .with(ACME, event(), started(destination(), 2));
    apply(&pool, Projection::DeliveryAttempts, &log.facts[2..]).await;
    let attempts = shown(&pool).await;
    assert_eq!(attempts.len(), 2);
    let end = attempts[0].end.clone().unwrap();
    assert_eq!((end.finished_at, end.outcome), (at(11), Outcome::RefusedStatus));
    assert_eq!((end.http_status, end.duration_ms), (Some(503), 250));
    assert_eq!(end.address.as_deref(), Some("192.0.2.7:443"));
    assert_eq!(end.detail.as_deref(), Some("the receiver answered 503"));
    assert_eq!(attempts[1].end, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn every_outcome_reads_back(pool: PgPool) {
    let mut log = Log::default().with(ACME, event(), accepted(ACME, destination(), at(0)));
    for (attempt, outcome) in (1..).zip(Outcome::ALL) {
        log.add(ACME, event(), started(destination(), attempt));
        log.add(ACME, event(), attempted(destination(), attempt, attempt, report(outcome)));
    }
    log.fold_into(&pool, Projection::DeliveryAttempts).await;
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let page = Page { limit: 100, offset: 0 };
    let listed = delivery_attempts::list(&mut scope, event(), Direction::Descending, page).await.unwrap();
    let outcomes: Vec<_> = listed.items.iter().rev().map(|row| row.end.clone().unwrap().outcome).collect();
    assert_eq!(outcomes, Outcome::ALL);
}

#[sqlx::test(migrations = "../migrations")]
async fn no_response_of_a_receiver_halts_the_projection(pool: PgPool) {
    let hostile = AttemptReport { detail: Some("before\0after".to_owned()), ..answered() };
    Log::default()
        .with(ACME, event(), accepted(ACME, destination(), at(0)))
        .with(ACME, event(), started(destination(), 1))
        .with(ACME, event(), attempted(destination(), 1, 1, hostile))
        .fold_into(&pool, Projection::DeliveryAttempts)
        .await;
    let end = shown(&pool).await[0].end.clone().unwrap();
    assert_eq!(end.detail.as_deref(), Some("before\u{fffd}after"));
}

#[sqlx::test(migrations = "../migrations")]
async fn attempts_belong_to_their_tenant(pool: PgPool) {
    Log::default()
        .with(RIVAL, event(), accepted(RIVAL, destination(), at(0)))
        .with(RIVAL, event(), started(destination(), 1))
        .fold_into(&pool, Projection::DeliveryAttempts)
        .await;
    assert!(shown(&pool).await.is_empty());
}
