//! Webhook events in the states that tests of the API need.

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::ids::TenantId;
use aggregates::webhook_event::{WebhookEvent, WebhookEventRefusal};
use aggregates_testing::{attempted, started};
use hooksentry::clock;
use hooksentry::event_store::{CommandFailure, Metadata};
use serde_json::Value;

use super::api::send;
use super::tenant::User;
use super::until;

/// Sends an event, and waits until lists show it.
pub(crate) async fn accept(user: &User, api_key: &str, token: &str) -> String {
    let id = send(user.ingest(api_key, token, r#"{"event":"push"}"#)).await.expect(202).text_of("eventId");
    until_listed(user, &id, "Pending").await;
    id
}

/// Appends the facts of one attempt with this outcome, as a worker does. The event has `max_attempts` in total.
pub(crate) async fn attempt(user: &User, event_id: &str, outcome: Outcome, max_attempts: u32) {
    attempt_by(user, event_id, outcome, max_attempts, FIRST_SETTINGS).await;
}

/// Versions of the settings that apply to an attempt.
#[derive(Clone, Copy)]
pub(crate) struct SettingsUsed {
    pub(crate) destination: u64,
    pub(crate) tenant: u64,
}

const FIRST_SETTINGS: SettingsUsed = SettingsUsed { destination: 1, tenant: 1 };

/// Appends the facts of one attempt, with settings of these versions.
pub(crate) async fn attempt_by(
    user: &User,
    event_id: &str,
    outcome: Outcome,
    max_attempts: u32,
    used: SettingsUsed,
) {
    assert!(try_start_by(user, event_id, used).await, "an attempt that starts");
    let log = user.api.log().await;
    let id = event_id.parse().expect("an id");
    let metadata = Metadata::of_role(TenantId(user.tenant_id.parse().expect("an id")), "worker");
    let mut report = AttemptReport::without_answer(outcome, 12, Some("for a test".to_owned()));
    report.status = match outcome {
        Outcome::Succeeded => Some(204),
        Outcome::RefusedStatus => Some(503),
        _ => None,
    };
    let record = attempted().report(report).max_attempts(max_attempts).at(clock::now()).command();
    log.execute::<WebhookEvent>(id, record, &metadata).await.expect("an attempt that ends");
}

/// Starts an attempt, as a worker does.
pub(crate) async fn start_attempt(user: &User, event_id: &str) {
    assert!(try_start_attempt(user, event_id).await, "an attempt that starts");
}

/// Tries to start an attempt. Returns whether the event was waiting for one.
pub(crate) async fn try_start_attempt(user: &User, event_id: &str) -> bool {
    try_start_by(user, event_id, FIRST_SETTINGS).await
}

async fn try_start_by(user: &User, event_id: &str, used: SettingsUsed) -> bool {
    let id = event_id.parse().expect("an id");
    let metadata = Metadata::of_role(TenantId(user.tenant_id.parse().expect("an id")), "worker");
    let start = started().settings(used.destination, used.tenant).at(clock::now()).command();
    match user.api.log().await.execute::<WebhookEvent>(id, start, &metadata).await {
        Ok(_) => true,
        Err(CommandFailure::Refused(WebhookEventRefusal::NotWaiting)) => false,
        Err(failure) => panic!("{failure}"),
    }
}

/// Waits until the list of events shows an event with this status, and returns it. The event itself may be shown
/// earlier: [`Tenant::until_event`](super::tenant::Tenant::until_event).
pub(crate) async fn until_listed(user: &User, event_id: &str, status: &str) -> Value {
    until_found(user, event_id, &format!("Status={status}")).await
}

/// Waits until the list of events shows an event under this filter, and returns it. After a second attempt the status
/// may be what it was after the first: wait for what only the second one changes.
pub(crate) async fn until_found(user: &User, event_id: &str, filter: &str) -> Value {
    until(&format!("event {event_id} to be found by {filter}"), async || {
        let list = user.get(&format!("/api/v1/events?Qt=200&{filter}")).await.expect(200).body;
        list["items"].as_array()?.iter().find(|event| event["id"] == event_id).cloned()
    })
    .await
}
