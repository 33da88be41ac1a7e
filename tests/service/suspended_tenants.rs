//! The operator suspends a tenant and resumes it while the service runs.

use reqwest::Response;
use serde_json::json;

use crate::harness::api::{Answer, PASSWORD, login, send, unique};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{CommandOutput, Launch, Process, run};
use crate::harness::receiver::Receiver;
use crate::harness::tenant::{Destination, Tenant};
use crate::harness::until;

async fn start(database: &TestDatabase) -> Process {
    Launch::serve("api,projector,dispatcher,worker", &database.url()).ready().await
}

async fn suspend(database: &TestDatabase, id: &str) -> CommandOutput {
    run(&["suspend-tenant", id, "--reason", "spam"], &database.url()).await
}

async fn resume(database: &TestDatabase, id: &str) -> CommandOutput {
    run(&["resume-tenant", id], &database.url()).await
}

#[track_caller]
fn assert_suspended(answer: Answer) {
    assert_eq!(answer.expect(403).problem(), "tenant-suspended");
}

async fn problem_of(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let body: serde_json::Value = response.json().await.expect("JSON");
    (status, body["type"].as_str().unwrap_or_default().to_owned())
}

/// A tenant that is not affected.
struct Neighbour {
    tenant: Tenant,
    receiver: Receiver,
    destination: Destination,
}

impl Neighbour {
    async fn register(base: &str) -> Self {
        let (tenant, receiver) = (Tenant::register(base).await, Receiver::answering(200).await);
        let destination = tenant.destination(&receiver.url(), 5).await;
        Self { tenant, receiver, destination }
    }

    /// Sends a webhook and waits for its delivery. What was due before it has been released then.
    async fn is_served(&self, base: &str) {
        let tenant = self.tenant.at(base);
        let event = tenant.ingest(&self.destination, &json!({ "count": self.receiver.count() })).await;
        tenant.until_event(&event, "Succeeded").await;
    }
}

#[tokio::test]
async fn a_suspended_tenant_is_refused_and_its_events_wait_until_it_is_resumed() {
    let database = TestDatabase::create().await;
    let service = start(&database).await;
    let (tenant, receiver) = (Tenant::register(service.base()).await, Receiver::answering(200).await);
    let neighbour = Neighbour::register(service.base()).await;
    let destination = tenant.destination(&receiver.url(), 1).await;
    let invite = tenant.owner().post("/api/v1/invites", &json!({})).await.expect(201).text_of("token");
    receiver.hold();
    for number in 0..3 {
        tenant.ingest(&destination, &json!({ "number": number })).await;
    }
    until("an attempt in flight", async || (receiver.in_flight() == 1).then_some(())).await;

    let said = suspend(&database, tenant.tenant_id()).await.succeeded().output;
    assert!(said.contains("is suspended"), "{said}");
    // The attempt in flight ends; no other one begins.
    receiver.release();
    until("the end of the attempt", async || (receiver.in_flight() == 0).then_some(())).await;
    neighbour.is_served(service.base()).await;
    let refused = tenant.try_ingest(&destination, "{}").await.expect("an answer");
    assert_eq!(problem_of(refused).await, (403, "/problems/tenant-suspended".to_owned()));
    let (owner, api) = (tenant.owner(), &tenant.owner().api);
    let invited = json!({ "email": format!("{}@example.com", unique("invited")), "password": PASSWORD });
    let register = api.request("POST", &format!("/api/v1/invites/{invite}/register")).json(&invited);
    assert_suspended(send(register).await);
    assert_suspended(owner.get("/api/v1/events").await);
    assert_suspended(owner.post("/api/v1/apikeys", &json!({ "name": "another" })).await);
    assert_suspended(login(api, &owner.email, PASSWORD).await);
    assert_eq!(login(api, &owner.email, "another password").await.expect(401).problem(), "wrong-credentials");
    let refresh = json!({ "refreshToken": owner.refresh_token });
    assert_suspended(send(api.request("POST", "/api/v1/auth/refresh").json(&refresh)).await);

    service.kill().await;
    let service = start(&database).await;
    neighbour.is_served(service.base()).await;
    assert_eq!(receiver.count(), 1, "another leader does not release its events either");
    let said = suspend(&database, tenant.tenant_id()).await.succeeded().output;
    assert!(said.contains("was suspended already"), "{said}");

    resume(&database, tenant.tenant_id()).await.succeeded();
    let tenant = tenant.at(service.base());
    tenant.until_count("Succeeded", 3).await;
    tenant.ingest(&destination, &json!({ "number": 3 })).await;
    tenant.until_count("Succeeded", 4).await;
    login(&tenant.owner().api, &tenant.owner().email, PASSWORD).await.expect(200);
    let said = resume(&database, tenant.tenant_id()).await.succeeded().output;
    assert!(said.contains("was not suspended"), "{said}");
    assert!(service.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn only_a_tenant_that_exists_is_suspended_for_a_reason() {
    let database = TestDatabase::create().await;
    let unknown = "018f0000-0000-7000-8000-000000000001";
    suspend(&database, unknown).await.failed_with(1, &["no tenant has this id"]);
    resume(&database, unknown).await.failed_with(1, &["no tenant has this id"]);
    let refused = run(&["suspend-tenant", unknown, "--reason", " "], &database.url()).await;
    assert_ne!(refused.code, Some(0));
    assert!(refused.errors.contains("must not be blank"), "{}", refused.errors);
    database.discard().await;
}
