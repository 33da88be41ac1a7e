//! The completeness check finds accepted events that have neither ended nor will be delivered.

use serde_json::{Value, json};
use sqlx::{Executor, PgPool};
use uuid::Uuid;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::{client, until};

async fn start(database: &TestDatabase) -> Process {
    Launch::serve("api,projector,dispatcher,worker", &database.url())
        .with("HOOKSENTRY_RETRY_BASE", "1h")
        .ready()
        .await
}

async fn health(program: &Process) -> Value {
    let ready = client().get(format!("{}/health/ready", program.base())).send().await;
    ready.expect("an answer").json().await.expect("JSON")
}

/// Waits until a check that begins after this call is complete, and returns what it found.
async fn until_checked(program: &Process) -> Value {
    let checked_at = |health: &Value| health["completeness"]["checkedAt"].as_str().map(str::to_owned);
    let mut earlier = checked_at(&health(program).await);
    // The first one may have begun before.
    for _ in 0..2 {
        let later = until("a complete check", async || {
            let later = checked_at(&health(program).await);
            (later.is_some() && later != earlier).then_some(later)
        })
        .await;
        earlier = later;
    }
    health(program).await
}

/// Waits until the program finds exactly these events unaccounted for.
async fn until_unaccounted(program: &Process, pool: &PgPool, mut events: Vec<Uuid>) {
    events.sort_unstable();
    until(&format!("{events:?} to be unaccounted for"), async || {
        let found = sqlx::query_scalar("SELECT event_id FROM unaccounted_events ORDER BY event_id");
        let found: Vec<Uuid> = found.fetch_all(pool).await.expect("the table");
        (found == events).then_some(())
    })
    .await;
    let health = health(program).await;
    let status = if events.is_empty() { "ready" } else { "degraded" };
    assert_eq!(health["status"], status);
    assert_eq!(health["completeness"]["unaccountedEvents"], events.len());
}

/// Makes every fact and every event an hour older, so that no difference can be a delay.
async fn age_log(pool: &PgPool) {
    pool.execute(
        "ALTER TABLE events DISABLE TRIGGER events_are_append_only;
         UPDATE events SET recorded_at = recorded_at - interval '1 hour';
         ALTER TABLE events ENABLE TRIGGER events_are_append_only;
         UPDATE webhook_events SET accepted_at = accepted_at - interval '1 hour';",
    )
    .await
    .expect("an older log");
}

#[tokio::test]
async fn an_event_that_the_dispatcher_lost_is_found_and_shown_until_it_is_back() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(503).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let waiting = tenant.ingest(&destination, &json!({ "number": 1 })).await;
    tenant.until_event(&waiting, "WaitingRetry").await;
    let waiting: Uuid = waiting.parse().expect("an id");
    let pool = database.pool().await;
    until("the dispatcher to write its tables", async || {
        let due = sqlx::query("SELECT FROM due_deliveries WHERE event_id = $1 AND started_at IS NULL");
        due.bind(waiting).fetch_optional(&pool).await.expect("the table").map(drop)
    })
    .await;
    age_log(&pool).await;
    assert_eq!(until_checked(&program).await["completeness"]["unaccountedEvents"], 0);

    pool.execute("CREATE TABLE lost AS TABLE due_deliveries; DELETE FROM due_deliveries")
        .await
        .expect("a loss");
    until_unaccounted(&program, &pool, vec![waiting]).await;
    until("the metric", async || {
        let metrics = client().get(format!("{}/metrics", program.base())).send().await.ok()?;
        metrics.text().await.ok()?.contains("hooksentry_unaccounted_events 1").then_some(())
    })
    .await;

    pool.execute("INSERT INTO due_deliveries TABLE lost").await.expect("the lost rows");
    until_unaccounted(&program, &pool, vec![]).await;
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn an_event_that_lists_lack_or_show_unfinished_is_found() {
    let database = TestDatabase::create().await;
    let program = start(&database).await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let mut delivered = Vec::new();
    for number in 0..3 {
        let event_id = tenant.ingest(&destination, &json!({ "number": number })).await;
        tenant.until_event(&event_id, "Succeeded").await;
        delivered.push(event_id.parse::<Uuid>().expect("an id"));
    }
    let [missing, unfinished, _] = delivered[..] else { unreachable!("three events") };
    let pool = database.pool().await;
    for (statement, event_id) in [
        ("DELETE FROM webhook_events WHERE id = $1", missing),
        ("UPDATE webhook_events SET status = 1, version = version - 1 WHERE id = $1", unfinished),
    ] {
        sqlx::query(statement).bind(event_id).execute(&pool).await.expect("a changed row");
    }
    let early = until_checked(&program).await;
    assert_eq!(early["completeness"]["unaccountedEvents"], 0, "it may be a delay");

    age_log(&pool).await;
    until_unaccounted(&program, &pool, vec![missing, unfinished]).await;

    // An event that retention removed has no row either.
    sqlx::query("INSERT INTO retention_floors (tenant_id, events_before) VALUES ($1::text::uuid, now())")
        .bind(tenant.tenant_id())
        .execute(&pool)
        .await
        .expect("a floor");
    until_unaccounted(&program, &pool, vec![unfinished]).await;
    assert!(program.stop().await.success());
    database.discard().await;
}
