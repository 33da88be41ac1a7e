//! Read models are rebuilt again and again while webhooks are accepted, delivered and looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use projections::TenantScope;
use serde_json::json;
use sqlx::PgPool;

use crate::harness::postgres::OwnServer;
use crate::harness::process::{Launch, run};
use crate::harness::receiver::Receiver;
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::until;

/// How often everything is rebuilt.
const ROUNDS: usize = 3;

/// Sends webhooks until it is enough; all of them must be accepted.
async fn send(tenant: Tenant, destination: Destination, enough: Arc<AtomicBool>) -> usize {
    let mut sent = 0;
    while !enough.load(Ordering::SeqCst) {
        tenant.ingest(&destination, &json!({ "number": sent })).await;
        sent += 1;
    }
    sent
}

/// Looks at lists and events over HTTP; nothing may go backwards.
async fn look(tenant: Tenant, event_id: String, enough: Arc<AtomicBool>) -> usize {
    let (mut total, mut attempts, mut looks) = (0, 0, 0);
    while !enough.load(Ordering::SeqCst) {
        let page = tenant.get("events?Qt=1").await;
        let now = page["total"].as_u64().expect("a total");
        assert!(now >= total, "the total went from {total} back to {now}");
        total = now;
        let event = tenant.get(&format!("events/{event_id}")).await;
        assert_eq!(event["status"], "Succeeded", "what was delivered stays so: {event}");
        let made = tenant.get(&format!("events/{event_id}/attempts")).await;
        let now = made["total"].as_u64().expect("a total");
        assert!(now >= attempts, "the attempts went from {attempts} back to {now}");
        attempts = now;
        tenant.get("destinations").await;
        looks += 1;
    }
    looks
}

/// Sees one moment of the database after the other, and lets time pass between choosing the moment and
/// looking; nothing may go backwards.
async fn see(pool: PgPool, tenant_id: String, enough: Arc<AtomicBool>) -> usize {
    let tenant_id = tenant_id.parse().expect("an id");
    let (mut last, mut looks) = ((0, 0, 0), 0);
    while !enough.load(Ordering::SeqCst) {
        let mut scope = TenantScope::begin(&pool, tenant_id).await.expect("a scope");
        for _ in 0..20 {
            sqlx::query("SELECT 1").execute(scope.connection()).await.expect("an answer");
        }
        let now: (i64, i64, i64) = sqlx::query_as(
            "SELECT
                 (SELECT count(*) FROM webhook_events),
                 (SELECT coalesce(sum(version), 0)::bigint FROM webhook_events),
                 (SELECT count(finished_at) FROM delivery_attempts)",
        )
        .fetch_one(scope.connection())
        .await
        .expect("an answer");
        scope.end().await.expect("its end");
        assert!(now.0 >= last.0 && now.1 >= last.1 && now.2 >= last.2, "from {last:?} back to {now:?}");
        last = now;
        looks += 1;
    }
    looks
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_goes_backwards_and_no_request_fails_while_everything_is_rebuilt() {
    let server = OwnServer::start().await;
    let database = server.create_database().await;
    let program = Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 20).await;
    let first = tenant.ingest(&destination, &json!({ "number": "first" })).await;
    tenant.until_event(&first, "Succeeded").await;

    let enough = Arc::new(AtomicBool::new(false));
    let pool = database.pool().await;
    let mut senders = tokio::task::JoinSet::new();
    let mut lookers = tokio::task::JoinSet::new();
    for _ in 0..2 {
        senders.spawn(send(tenant.clone(), destination.clone(), Arc::clone(&enough)));
        lookers.spawn(look(tenant.clone(), first.clone(), Arc::clone(&enough)));
        lookers.spawn(see(pool.clone(), tenant.tenant_id().to_owned(), Arc::clone(&enough)));
    }
    for round in 0..ROUNDS {
        until("traffic", async || (receiver.count() > round * 50).then_some(())).await;
        run(&["rebuild", "--all"], &database.url()).await.succeeded();
        run(&["verify-projections"], &database.url()).await.succeeded();
    }
    // What is commanded now is shown now.
    let changed = tenant.change(&destination, json!({ "serverRateLimit": 7 })).await;
    assert_eq!(changed["serverRateLimit"], 7, "{changed}");
    enough.store(true, Ordering::SeqCst);
    let sent: usize = senders.join_all().await.into_iter().sum();
    let looks = lookers.join_all().await;
    assert!(looks.iter().all(|looks| *looks > 0), "{looks:?}");
    tenant.until_count("Succeeded", sent + 1).await;
    run(&["verify-projections"], &database.url()).await.succeeded();
    assert!(program.stop().await.success());
}
