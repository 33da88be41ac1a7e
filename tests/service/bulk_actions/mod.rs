//! Bulk actions: many events are replayed or cancelled in the background.

mod limits;
mod selection;
mod steps;

use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::ids::TenantId;
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand};
use aggregates_testing::{attempted, started};
use futures::future::join_all;
use hooksentry::clock;
use hooksentry::event_store::{EventStore, LogNotifier, Metadata};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::until;

const BULK_ACTIONS: &str = "/api/v1/bulk-actions";

/// Installation without a dispatcher, so that only the tests make attempts.
struct Installation {
    database: TestDatabase,
    process: Process,
    tenant: Tenant,
    destination: Destination,
    store: EventStore,
}

impl Installation {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create().await;
        let process = launch(&database, settings).await;
        let tenant = Tenant::register(process.base()).await;
        let destination = tenant.destination("https://receiver.example.com/hooks", 5).await;
        let store = EventStore::new(database.pool().await, LogNotifier::within_process());
        Self { database, process, tenant, destination, store }
    }

    fn pool(&self) -> &PgPool {
        self.store.pool()
    }

    async fn accept(&self, destination: &Destination, count: usize) -> Vec<String> {
        accept(&self.tenant, destination, count).await
    }

    /// Accepts events whose deliveries fail, and waits until the list shows that.
    async fn accept_failed(&self, destination: &Destination, count: usize) -> Vec<String> {
        let events = self.accept(destination, count).await;
        for event in &events {
            self.attempt(event, 1).await;
        }
        let path = format!("events?Qt=1&Status=CriticalFailure&DestinationUrlId={}", destination.id);
        until("all events to have failed", async || {
            (self.tenant.get(&path).await["total"].as_u64()? >= count as u64).then_some(())
        })
        .await;
        events
    }

    /// Appends the facts of an attempt that fails, as a worker does. The event has `max_attempts` in total.
    async fn attempt(&self, event: &str, max_attempts: u32) {
        self.start_attempt(event).await;
        let report = AttemptReport::without_answer(Outcome::Timeout, 12, None);
        self.execute(event, attempted().report(report).max_attempts(max_attempts).at(clock::now()).command())
            .await;
    }

    async fn start_attempt(&self, event: &str) {
        self.execute(event, started().settings(1, 1).at(clock::now()).command()).await;
    }

    async fn execute(&self, event: &str, command: WebhookEventCommand) {
        let tenant = TenantId(self.tenant.tenant_id().parse().expect("an id"));
        let id = event.parse().expect("an id");
        let metadata = Metadata::of_role(tenant, "worker");
        self.store.execute::<WebhookEvent>(id, command, &metadata).await.expect("a fact");
    }

    async fn until_listed(&self, event: &str, status: &str) {
        until(&format!("the list to show {status}"), async || {
            let listed = self.tenant.get(&format!("events?Qt=200&Status={status}")).await;
            listed["items"].as_array()?.iter().any(|item| item["id"] == event).then_some(())
        })
        .await;
    }

    async fn request(&self, body: &Value) -> String {
        request(&self.tenant, body).await
    }

    async fn read(&self, id: &str) -> Value {
        self.tenant.get(&format!("bulk-actions/{id}")).await
    }

    /// Pauses, resumes or cancels a bulk action, and returns it.
    async fn change(&self, id: &str, change: &str) -> Value {
        self.tenant.post(&format!("bulk-actions/{id}/{change}")).await.expect(200).body
    }

    async fn until_completed(&self, id: &str) -> Value {
        until_completed(&self.tenant, id).await
    }

    async fn facts_of(&self, event: &str) -> Vec<String> {
        let history = self.tenant.get(&format!("events/{event}/history")).await;
        let items = history["items"].as_array().expect("facts").iter();
        items.map(|fact| fact["type"].as_str().expect("a type").to_owned()).collect()
    }

    async fn is_replayed(&self, event: &str) -> bool {
        self.facts_of(event).await.last().is_some_and(|last| last == "Replayed")
    }

    async fn stop(self) {
        self.store.pool().close().await;
        assert!(self.process.stop().await.success());
        self.database.discard().await;
    }
}

async fn launch(database: &TestDatabase, settings: &[(&str, &str)]) -> Process {
    let launch = Launch::serve("api,projector", &database.url());
    settings.iter().fold(launch, |launch, (name, value)| launch.with(name, value)).ready().await
}

async fn accept(tenant: &Tenant, destination: &Destination, count: usize) -> Vec<String> {
    let mut ids = vec![];
    // Fewer at once than the service admits of one tenant.
    while ids.len() < count {
        let number = ids.len()..count.min(ids.len() + 50);
        let sent = number.map(async |number| tenant.ingest(destination, &json!({ "number": number })).await);
        ids.extend(join_all(sent).await);
    }
    ids
}

async fn request(tenant: &Tenant, body: &Value) -> String {
    let requested = tenant.owner().post(BULK_ACTIONS, body).await.expect(202);
    let id = requested.text_of("id");
    assert_eq!(requested.header("location"), format!("{BULK_ACTIONS}/{id}"));
    id
}

async fn until_completed(tenant: &Tenant, id: &str) -> Value {
    until("the bulk action to be completed", async || {
        let action = tenant.get(&format!("bulk-actions/{id}")).await;
        (action["state"] == "Completed").then_some(action)
    })
    .await
}

/// Body of a request to replay the failed events of a destination.
fn replay(destination: &Destination, rate: u32) -> Value {
    json!({
        "action": "Replay",
        "filter": { "status": "CriticalFailure", "destinationUrlId": destination.id },
        "ratePerSecond": rate,
    })
}

/// Numbers of events that a bulk action has examined, done, and not done by reason.
fn counts(action: &Value) -> [u64; 6] {
    let refused = &action["refused"];
    [
        &action["examined"],
        &action["done"],
        &refused["notInCriticalFailure"],
        &refused["payloadIsErased"],
        &refused["notWaiting"],
        &refused["attemptInProgress"],
    ]
    .map(|number| number.as_u64().expect("a number"))
}
