//! Retention, step by step, on a real log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::backoff::Backoff;
use aggregates::ids::{DestinationId, TenantId, UserId, WebhookEventId};
use aggregates::sealed::{Fingerprint, Sealed};
use aggregates::tenant::{Resilience, Retention, Tenant, TenantCommand, WebhookSecret};
use aggregates::webhook_event::{Acceptance, PayloadDigest, WebhookEvent, WebhookEventCommand};
use chrono::{DateTime, TimeDelta, Utc};
use hooksentry::clock;
use hooksentry::event_store::{EventStore, LogNotifier, Metadata, StreamAppend};
use hooksentry::projector::{Projected, Projector, Removed, Term, TermEnded};
use projections::checkpoints::CheckpointFailure;
use projections::{LogPosition, TransactionId, retention};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::postgres::TestDatabase;
use crate::harness::until;

const ACME: TenantId = TenantId(Uuid::from_u128(0xacae));
const DESTINATION: DestinationId = DestinationId(Uuid::from_u128(0xd));

/// A log in a database of its own, with a tenant.
struct Ground {
    database: TestDatabase,
    pool: PgPool,
    store: EventStore,
    accepted: AtomicU64,
}

impl Ground {
    async fn prepare(retention: Retention) -> Self {
        let database = TestDatabase::create().await;
        let pool = database.pool().await;
        let store = EventStore::new(pool.clone(), LogNotifier::within_process());
        let ground = Self { database, pool, store, accepted: AtomicU64::new(0) };
        ground.register(ACME, retention).await;
        ground
    }

    async fn clear_away(self) {
        self.pool.close().await;
        self.database.discard().await;
    }

    async fn register(&self, id: TenantId, retention: Retention) {
        let register = TenantCommand::Register {
            name: "Acme".to_owned(),
            owner: UserId(id.0),
            resilience: Resilience::default(),
            retention,
            webhook_secret: WebhookSecret {
                sealed: Sealed { data_key: Uuid::from_u128(1), ciphertext: String::new() },
                fingerprint: Fingerprint(String::new()),
            },
            at: clock::now(),
        };
        self.store.execute::<Tenant>(id.0, register, &Metadata::of_role(id, "test")).await.expect("a tenant");
    }

    /// An event that was accepted so many days ago, with a payload of so many bytes.
    async fn accept_of(&self, tenant_id: TenantId, days_ago: i64, bytes: usize) -> WebhookEventId {
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        let id = WebhookEventId(Uuid::from_u128(u128::from(number) + 1));
        let later = TimeDelta::milliseconds(i64::try_from(number).expect("a small number"));
        let acceptance = Acceptance {
            tenant_id,
            destination_id: DESTINATION,
            sender_id: None,
            idempotency_key: None,
            payload: PayloadDigest { sha256: "00".to_owned(), bytes: bytes as u64 },
            mapping: None,
            at: clock::now() - TimeDelta::days(days_ago) + later,
        };
        self.command(tenant_id, id, WebhookEventCommand::Accept(acceptance)).await;
        sqlx::query("INSERT INTO payloads (event_id, tenant_id, delivered) VALUES ($1, $2, $3)")
            .bind(id.0)
            .bind(tenant_id.0)
            .bind(vec![b' '; bytes])
            .execute(&self.pool)
            .await
            .expect("a payload");
        id
    }

    async fn accept(&self, days_ago: i64) -> WebhookEventId {
        self.accept_of(ACME, days_ago, 2).await
    }

    async fn command(&self, tenant_id: TenantId, id: WebhookEventId, command: WebhookEventCommand) {
        let metadata = Metadata::of_role(tenant_id, "test");
        self.store.execute::<WebhookEvent>(id.0, command, &metadata).await.expect("it is done");
    }

    /// Makes the only attempt of an event.
    async fn attempt(&self, id: WebhookEventId, outcome: Outcome) {
        let start = WebhookEventCommand::Start {
            worker: "test".to_owned(),
            destination_version: 1,
            tenant_version: 1,
            at: clock::now(),
        };
        self.command(ACME, id, start).await;
        let record = WebhookEventCommand::RecordAttempt {
            report: AttemptReport::without_answer(outcome, 1, None),
            backoff: Backoff::default(),
            max_attempts: 1,
            jitter_sample: 0.5,
            at: clock::now(),
        };
        self.command(ACME, id, record).await;
    }

    async fn cancelled(&self, days_ago: i64) -> WebhookEventId {
        let id = self.accept(days_ago).await;
        self.cancel(id).await;
        id
    }

    async fn cancel(&self, id: WebhookEventId) {
        let cancel = WebhookEventCommand::Cancel { reason: "a test".to_owned(), at: clock::now() };
        self.command(ACME, id, cancel).await;
    }

    async fn lead(&self) -> Term {
        let projector = Projector::new(self.pool.clone(), LogNotifier::within_process());
        projector.lead().await.expect("a lead")
    }

    async fn ids(&self, statement: &'static str) -> Vec<WebhookEventId> {
        let ids: Vec<Uuid> = sqlx::query_scalar(statement).fetch_all(&self.pool).await.expect("ids");
        ids.into_iter().map(WebhookEventId).collect()
    }

    async fn payloads(&self) -> Vec<WebhookEventId> {
        self.ids("SELECT event_id FROM payloads ORDER BY event_id").await
    }

    async fn events(&self) -> Vec<WebhookEventId> {
        self.ids("SELECT id FROM webhook_events ORDER BY id").await
    }

    async fn attempted(&self) -> Vec<WebhookEventId> {
        self.ids("SELECT event_id FROM delivery_attempts ORDER BY event_id").await
    }

    async fn exceptions(&self) -> Vec<WebhookEventId> {
        self.ids("SELECT event_id FROM retention_exceptions ORDER BY event_id").await
    }

    /// Folds all that is committed. Other tests on the same server hold readers back.
    async fn catch_up(&self, term: &mut Term) {
        let (transaction_id, position): (TransactionId, i64) = sqlx::query_as(
            "SELECT transaction_id, position FROM events ORDER BY transaction_id DESC, position DESC LIMIT 1",
        )
        .fetch_one(&self.pool)
        .await
        .expect("the log");
        let end = LogPosition { transaction_id, position };
        let projected = Projected::elsewhere(self.pool.clone());
        until("the read models to catch up", async || {
            term.run_once().await.expect("a step");
            projected.wait(end, Duration::from_millis(50)).await.then_some(())
        })
        .await;
    }

    /// Folds all that is committed and makes a whole pass; answers with its steps that removed something.
    async fn pass(&self, term: &mut Term) -> Vec<Removed> {
        self.catch_up(term).await;
        let mut steps = vec![];
        loop {
            let removed = term.remove_expired(clock::now()).await.expect("a step");
            steps.push(removed);
            if !removed.more {
                steps.retain(|step| step.payloads + step.events + step.attempts > 0);
                return steps;
            }
        }
    }
}

fn days(payload_days: impl Into<Option<u32>>, event_days: impl Into<Option<u32>>) -> Retention {
    Retention { payload_days: payload_days.into(), event_days: event_days.into() }
}

#[tokio::test]
async fn payloads_go_when_their_day_is_over_and_their_events_have_ended() {
    let ground = Ground::prepare(days(7, None)).await;
    let other = TenantId(Uuid::from_u128(0xb0b));
    ground.register(other, Retention::default()).await;
    let delivered = ground.accept(30).await;
    ground.attempt(delivered, Outcome::Succeeded).await;
    let failed = ground.accept(20).await;
    ground.attempt(failed, Outcome::Timeout).await;
    let cancelled = ground.cancelled(8).await;
    let waiting = ground.accept(30).await;
    let young = ground.cancelled(6).await;
    let foreign = ground.accept_of(other, 400, 2).await;
    let cancel = WebhookEventCommand::Cancel { reason: "a test".to_owned(), at: clock::now() };
    ground.command(other, foreign, cancel).await;

    let mut term = ground.lead().await;
    let steps = ground.pass(&mut term).await;
    assert_eq!(steps, [Removed { payloads: 3, more: true, ..Removed::default() }]);
    assert_eq!(ground.payloads().await, [waiting, young, foreign]);
    assert_eq!(ground.exceptions().await, [waiting]);
    assert_eq!(ground.events().await, [delivered, failed, cancelled, waiting, young, foreign]);
    assert_eq!(ground.attempted().await, [delivered, failed]);

    // What waited goes when it has ended, and not before.
    assert_eq!(ground.pass(&mut term).await, []);
    ground.attempt(waiting, Outcome::Succeeded).await;
    assert_eq!(ground.pass(&mut term).await.len(), 1);
    assert_eq!(ground.payloads().await, [young, foreign]);
    assert_eq!(ground.exceptions().await, []);

    // A tenant that changes its mind finds what is left.
    let retention = days(400, None);
    let change = TenantCommand::ChangeRetention { retention, at: clock::now() };
    ground.store.execute::<Tenant>(ACME.0, change, &Metadata::of_role(ACME, "test")).await.expect("a change");
    assert_eq!(ground.pass(&mut term).await, []);
    drop(term);
    ground.clear_away().await;
}

#[tokio::test]
async fn events_leave_the_read_models_with_all_that_is_theirs() {
    let ground = Ground::prepare(days(None, 30)).await;
    let delivered = ground.accept(40).await;
    ground.attempt(delivered, Outcome::Succeeded).await;
    let waiting = ground.accept(40).await;
    let young = ground.accept(29).await;
    ground.attempt(young, Outcome::Timeout).await;
    let mut term = ground.lead().await;
    let steps = ground.pass(&mut term).await;
    assert_eq!((steps[0].payloads, steps[1].events, steps[1].attempts), (1, 1, 1));
    assert_eq!(ground.events().await, [waiting, young]);
    assert_eq!(ground.attempted().await, [young]);
    assert_eq!(ground.payloads().await, [waiting, young]);

    // An event that is too old already when it ends is listed until the next pass.
    ground.attempt(waiting, Outcome::Timeout).await;
    ground.catch_up(&mut term).await;
    assert_eq!(ground.events().await, [waiting, young]);
    ground.pass(&mut term).await;
    assert_eq!((ground.events().await, ground.attempted().await), (vec![young], vec![young]));
    assert_eq!((ground.payloads().await, ground.exceptions().await), (vec![young], vec![]));

    // What the log says of them later halts nobody.
    for gone in [delivered, waiting] {
        let erase = WebhookEventCommand::ErasePayload {
            reason: "a test".to_owned(),
            requested_by: None,
            at: clock::now(),
        };
        ground.command(ACME, gone, erase).await;
    }
    ground.pass(&mut term).await;
    let halted: i64 = sqlx::query_scalar("SELECT count(*) FROM checkpoints WHERE halted_because IS NOT NULL")
        .fetch_one(&ground.pool)
        .await
        .expect("checkpoints");
    assert_eq!((halted, ground.events().await), (0, vec![young]));
    drop(term);
    ground.clear_away().await;
}

#[tokio::test]
async fn much_goes_in_small_steps_and_another_leader_goes_on() {
    let ground = Ground::prepare(days(7, 30)).await;
    let mut ids = vec![];
    for _ in 0..1_203 {
        ids.push(ground.accept(40).await);
    }
    for id in ids.iter().filter(|id| id.0.as_u128() % 10 != 0) {
        ground.cancel(*id).await;
    }
    let mut term = ground.lead().await;
    ground.catch_up(&mut term).await;
    let first = term.remove_expired(clock::now()).await.expect("a step");
    assert_eq!((first.payloads, first.events, first.more), (450, 0, true));
    drop(term);

    let mut term = ground.lead().await;
    let steps = ground.pass(&mut term).await;
    assert!(steps.iter().all(|step| step.payloads.max(step.events) <= 500), "{steps:?}");
    let sum = |of: fn(&Removed) -> u64| steps.iter().map(of).sum::<u64>();
    assert_eq!((sum(|step| step.payloads), sum(|step| step.events)), (1_083 - 450, 1_083));
    let waiting: Vec<_> = ids.into_iter().filter(|id| id.0.as_u128() % 10 == 0).collect();
    assert_eq!(ground.payloads().await, waiting);
    assert_eq!(ground.events().await, waiting);
    assert_eq!(ground.exceptions().await, waiting);

    for id in &waiting {
        ground.cancel(*id).await;
    }
    ground.pass(&mut term).await;
    assert_eq!((ground.payloads().await, ground.events().await), (vec![], vec![]));
    drop(term);
    ground.clear_away().await;
}

#[tokio::test]
async fn a_step_erases_no_more_bytes_than_it_may() {
    let ground = Ground::prepare(days(7, None)).await;
    for bytes in [3 << 20, 3 << 20, 3 << 20, 9 << 20, 1] {
        let id = ground.accept_of(ACME, 10, bytes).await;
        ground.cancel(id).await;
    }
    // These wait and end later.
    let late = [ground.accept_of(ACME, 10, 5 << 20).await, ground.accept_of(ACME, 10, 5 << 20).await];
    let mut term = ground.lead().await;
    let steps = ground.pass(&mut term).await;
    assert_eq!(steps.iter().map(|step| step.payloads).collect::<Vec<_>>(), [2, 1, 1, 1]);
    for id in late {
        ground.cancel(id).await;
    }
    let steps = ground.pass(&mut term).await;
    assert_eq!(steps.iter().map(|step| step.payloads).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(ground.payloads().await, []);
    drop(term);
    ground.clear_away().await;
}

#[tokio::test]
async fn what_somebody_replays_keeps_its_payload() {
    let ground = Ground::prepare(days(7, 30)).await;
    let failed = ground.accept(40).await;
    ground.attempt(failed, Outcome::Timeout).await;
    let mut term = ground.lead().await;
    ground.catch_up(&mut term).await;
    // A replay that has not been committed keeps retention out; one that has been is seen, although the
    // row does not show it.
    let mut replay = ground.pool.begin().await.expect("a transaction");
    retention::hold_off(&mut replay, ACME).await.expect("a lock");
    let step = term.remove_expired(clock::now()).await.expect("a step");
    assert_eq!(step, Removed { more: true, ..Removed::default() });
    replay.rollback().await.expect("an end");
    assert!(replayed(&ground, failed).await);
    while term.remove_expired(clock::now()).await.expect("a step").more {}
    assert_eq!(ground.payloads().await, [failed]);
    assert_eq!(ground.events().await, [failed]);

    ground.attempt(failed, Outcome::Timeout).await;
    ground.pass(&mut term).await;
    assert_eq!((ground.payloads().await, ground.events().await), (vec![], vec![]));
    assert!(!replayed(&ground, failed).await, "there is nothing to deliver");
    drop(term);
    ground.clear_away().await;
}

/// Replays an event as the API does; says whether there was a payload.
async fn replayed(ground: &Ground, id: WebhookEventId) -> bool {
    let mut loaded = ground.store.load::<WebhookEvent>(id.0).await.expect("an event");
    let version = loaded.version;
    let facts = loaded.decide(WebhookEventCommand::Replay { at: clock::now() }).expect("given up");
    let metadata = Metadata::of_role(ACME, "test");
    let append = StreamAppend::new::<WebhookEvent>(id.0, version, &facts, &metadata).expect("JSON");
    ground.store.append_with_payload(ACME, id, append).await.expect("an append").is_some()
}

#[tokio::test]
async fn of_replays_and_retention_at_once_one_comes_first() {
    let ground = Ground::prepare(days(7, 30)).await;
    let mut ids = vec![];
    for _ in 0..40 {
        let id = ground.accept(40).await;
        ground.attempt(id, Outcome::Timeout).await;
        ids.push(id);
    }
    let mut term = ground.lead().await;
    ground.catch_up(&mut term).await;
    let replays = async {
        let mut done = vec![];
        for id in ids.iter().rev() {
            if replayed(&ground, *id).await {
                done.push(*id);
            }
        }
        done
    };
    let retain = async { while term.remove_expired(clock::now()).await.expect("a step").more {} };
    let (mut replayed, ()) = tokio::join!(replays, retain);
    replayed.sort_unstable_by_key(|id| id.0);
    assert_eq!(ground.payloads().await, replayed, "who is on the way has something to deliver");
    assert_eq!(ground.events().await, replayed);
    ground.catch_up(&mut term).await;
    drop(term);
    ground.clear_away().await;
}

#[tokio::test]
async fn who_leads_no_more_removes_nothing() {
    let ground = Ground::prepare(days(7, 30)).await;
    let old = ground.cancelled(40).await;
    let mut term = ground.lead().await;
    ground.catch_up(&mut term).await;
    sqlx::query("UPDATE checkpoints SET epoch = epoch + 1")
        .execute(&ground.pool)
        .await
        .expect("another lead");
    let ended = term.remove_expired(clock::now()).await.expect_err("a lead that is lost");
    assert!(matches!(ended, TermEnded::Checkpoint(CheckpointFailure::Fenced)), "{ended:?}");
    assert_eq!((ground.payloads().await, ground.events().await), (vec![old], vec![old]));
    drop(term);
    ground.clear_away().await;
}

#[tokio::test]
async fn nothing_goes_while_the_read_models_are_behind() {
    let ground = Ground::prepare(days(7, 30)).await;
    ground.cancelled(40).await;
    let mut term = ground.lead().await;
    assert_eq!(term.remove_expired(clock::now()).await.expect("a step"), Removed::default());
    ground.catch_up(&mut term).await;
    let in_a_while: DateTime<Utc> = clock::now() + TimeDelta::hours(2);
    assert_eq!(term.remove_expired(in_a_while).await.expect("a step"), Removed::default());
    assert_eq!(ground.payloads().await.len(), 1);
    assert!(!ground.pass(&mut term).await.is_empty());
    drop(term);
    ground.clear_away().await;
}
