//! Events that the read models do not have yet.

use serde_json::json;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::until;

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
