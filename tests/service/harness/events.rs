//! Webhook events in whatever state a test of the API needs them.

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::backoff::Backoff;
use aggregates::ids::TenantId;
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand};
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use serde_json::Value;

use super::api::{User, send};
use super::until;

/// Has an event accepted, and waits until lists show it.
pub(crate) async fn accept(user: &User, api_key: &str, token: &str) -> String {
    let id = send(user.ingest(api_key, token, r#"{"event":"push"}"#)).await.expect(202).text_of("eventId");
    until_status(user, &id, "Pending").await;
    id
}

/// Makes one attempt to deliver an event, as a worker does, with this outcome; the event gets `max_trys`.
pub(crate) async fn attempt(user: &User, event_id: &str, outcome: Outcome, max_trys: u32) {
    let log = user.api.log().await;
    let id = event_id.parse().expect("an id");
    let metadata = Metadata::of_role(TenantId(user.tenant_id.parse().expect("an id")), "worker");
    let start = WebhookEventCommand::Start {
        worker: "tests".to_owned(),
        destination_version: 1,
        tenant_version: 1,
        at: clock::now(),
    };
    log.execute::<WebhookEvent>(id, start, &metadata).await.expect("an attempt that starts");
    let mut report = AttemptReport::without_answer(outcome, 12, Some("for a test".to_owned()));
    report.status = outcome.is_success().then_some(204);
    let backoff = Backoff::default();
    let record =
        WebhookEventCommand::RecordAttempt { report, backoff, max_trys, chance: 0.5, at: clock::now() };
    log.execute::<WebhookEvent>(id, record, &metadata).await.expect("an attempt that ends");
}

/// Waits until lists show an event in this status.
pub(crate) async fn until_status(user: &User, event_id: &str, status: &str) -> Value {
    until(&format!("event {event_id} to be {status}"), async || {
        let list = user.get(&format!("/api/v1/events?Qt=200&Status={status}")).await.expect(200).body;
        list["items"].as_array()?.iter().find(|event| event["id"] == event_id).cloned()
    })
    .await
}
