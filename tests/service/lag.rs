//! Events that the read models do not have yet.

use serde_json::{Value, json};

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::{client, until};

/// A caller that reads an event repeatedly never sees it go back: the state from its stream, before there is a row, is
/// not later than the first state of the row.
#[tokio::test]
async fn an_event_without_a_row_is_shown_as_it_was_accepted() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,dispatcher,worker", &database.url()).ready().await;
    let projector = Launch::serve("projector", &database.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 20).await;
    let shown = tenant.ingest(&destination, &json!({ "number": "shown" })).await;
    tenant.until_event(&shown, "Succeeded").await;
    assert!(projector.stop().await.success());

    let event_id = tenant.ingest(&destination, &json!({ "number": "not yet" })).await;
    let path = format!("events/{event_id}");
    let facts = until("its delivery", async || {
        let history = tenant.get(&format!("{path}/history")).await;
        let is_delivered =
            history["items"].as_array()?.iter().any(|fact| fact["type"] == "DeliveryAttempted");
        is_delivered.then_some(history["total"].as_u64()?)
    })
    .await;
    assert!(facts > 1, "{facts}");
    let event = tenant.get(&path).await;
    assert_eq!((&event["status"], &event["payload"]), (&json!("Pending"), &json!(r#"{"number":"not yet"}"#)));
    assert_eq!(tenant.get(&format!("{path}/attempts")).await["total"], 0);

    let projector = Launch::serve("projector", &database.url()).ready().await;
    let event = tenant.until_event(&event_id, "Succeeded").await;
    assert!(event["deliveredAt"].is_string(), "{event}");
    assert_eq!(tenant.get(&format!("{path}/attempts")).await["total"], 1);
    for process in [program, projector] {
        assert!(process.stop().await.success());
    }
    database.discard().await;
}

/// The dispatcher releases jobs for a stage that the read model does not show.
#[tokio::test]
async fn deliveries_do_not_wait_for_read_models() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,dispatcher,worker", &database.url()).ready().await;
    let projector = Launch::serve("projector", &database.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 20).await;
    assert!(projector.stop().await.success());

    for status in ["Inactive", "Active"] {
        tenant.change(&destination, json!({ "status": status })).await;
    }
    tenant.ingest(&destination, &json!({ "number": 1 })).await;
    until("the delivery", async || (receiver.count() == 1).then_some(())).await;
    assert!(program.stop().await.success());
    database.discard().await;
}

/// A newer process of another version may write facts that the dispatcher does not know.
#[tokio::test]
async fn a_fact_that_the_dispatcher_cannot_read_stops_no_other_event() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(program.base()).await;
    let destination = tenant.destination(&receiver.url(), 20).await;
    let pool = database.pool().await;
    for aggregate in ["WebhookEvent", "Planet"] {
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ($1, '01920000-0000-7000-8000-000000000001', 1, 'Teleported', '1.0', '{}', '{}')",
        )
        .bind(aggregate)
        .execute(&pool)
        .await
        .expect("a fact of the future");
    }
    pool.close().await;
    tenant.ingest(&destination, &json!({ "number": 1 })).await;
    until("the delivery", async || (receiver.count() == 1).then_some(())).await;
    let ready = format!("{}/health/ready", program.base());
    let health = until("the event to be reported", async || {
        let health: Value = client().get(&ready).send().await.ok()?.json().await.ok()?;
        (health["setAsideEvents"] == 1).then_some(health)
    })
    .await;
    assert_eq!(health["status"], "degraded");
    assert!(program.stop().await.success());
    database.discard().await;
}
