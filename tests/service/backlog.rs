//! What health checks say of deliveries and of the log.

use serde_json::{Value, json};

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::{client, until};

#[tokio::test]
async fn health_checks_count_what_waits_and_what_is_in_progress() {
    let database = TestDatabase::create().await;
    let service = Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    receiver.hold();
    let tenant = Tenant::register(service.base()).await;
    let destination = tenant.destination(&receiver.url(), 1).await;
    for number in 0..3 {
        tenant.ingest(&destination, &json!({ "number": number })).await;
    }
    let ready = format!("{}/health/ready", service.base());
    let health = async || -> Option<Value> { client().get(&ready).send().await.ok()?.json().await.ok() };
    let busy = until("one attempt in progress and two events that wait", async || {
        let health = health().await?;
        let backlog = &health["backlog"];
        (backlog["inProgress"] == 1 && backlog["waiting"] == 2).then_some(health)
    })
    .await;
    assert_eq!((&busy["backlog"]["due"], &busy["backlog"]["isLowerBound"]), (&json!(2), &json!(false)));
    assert!(busy["backlog"]["oldestDueSeconds"].as_f64().unwrap() > 0.0, "{busy}");
    receiver.release();
    let idle = until("nothing to deliver", async || {
        let health = health().await?;
        (health["backlog"]["inProgress"] == 0 && health["backlog"]["waiting"] == 0).then_some(health)
    })
    .await;
    assert_eq!((&idle["backlog"]["due"], &idle["backlog"]["oldestDueSeconds"]), (&json!(0), &json!(0.0)));
    let head = |health: &Value| health["logHead"]["position"].as_u64().expect("a position");
    assert!(head(&idle) > head(&busy), "{idle}");
    assert!(idle["logHead"]["recordedAt"].is_string());
    assert!(service.stop().await.success());
    database.discard().await;
}
