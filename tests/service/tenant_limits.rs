//! Limits of what one tenant may have and send.

use aggregates::ids::WebhookEventId;
use futures::future::join_all;
use projections::payloads;
use serde_json::json;
use uuid::Uuid;

use crate::harness::api::{Answer, Api, PASSWORD, send, unique};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;
use crate::harness::until;

#[track_caller]
fn assert_refused(answer: Answer, limit: &str) {
    let answer = answer.expect(422);
    assert_eq!(answer.problem(), "tenant-limit");
    assert!(answer.text_of("detail").contains(limit), "{}", answer.text);
}

#[tokio::test]
async fn a_tenant_has_at_most_so_many_of_each_resource() {
    let database = TestDatabase::create().await;
    let service = Launch::serve("api,projector", &database.url())
        .with("HOOKSENTRY_TENANT_DESTINATIONS", "2")
        .with("HOOKSENTRY_TENANT_SENDERS", "2")
        .with("HOOKSENTRY_TENANT_USERS", "2")
        .with("HOOKSENTRY_TENANT_API_KEYS", "2")
        .with("HOOKSENTRY_TENANT_PORTAL_LINKS", "1")
        .ready()
        .await;
    let api = Api::at(service.base());
    let (owner, neighbour) = (User::owner(&api).await, User::owner(&api).await);

    let destination = json!({ "url": "https://receiver.example.com/hooks" });
    let first = owner.post("/api/v1/destinations", &destination).await.expect(201).text_of("id");
    let second = owner.post("/api/v1/destinations", &destination).await.expect(201).text_of("id");
    assert_refused(owner.post("/api/v1/destinations", &destination).await, "2 destinations");

    let senders = |id: &str| format!("/api/v1/destinations/{id}/senders");
    let sender = owner.post(&senders(&first), &json!({})).await.expect(201).text_of("id");
    owner.post(&senders(&second), &json!({})).await.expect(201);
    assert_refused(owner.post(&senders(&first), &json!({})).await, "2 senders");
    owner.delete(&format!("/api/v1/senders/{sender}")).await.expect(204);
    owner.post(&senders(&first), &json!({})).await.expect(201);

    let key = json!({ "name": "tests" });
    owner.post("/api/v1/apikeys", &key).await.expect(201);
    let revocable = owner.post("/api/v1/apikeys", &key).await.expect(201).text_of("id");
    assert_refused(owner.post("/api/v1/apikeys", &key).await, "2 API keys");
    owner.delete(&format!("/api/v1/apikeys/{revocable}")).await.expect(200);
    owner.post("/api/v1/apikeys", &key).await.expect(201);

    let link = json!({ "destinationId": first, "access": "Read", "label": "a" });
    let revocable = owner.post("/api/v1/portal-links", &link).await.expect(201).text_of("id");
    assert_refused(owner.post("/api/v1/portal-links", &link).await, "1 portal links");
    owner.delete(&format!("/api/v1/portal-links/{revocable}")).await.expect(200);
    owner.post("/api/v1/portal-links", &link).await.expect(201);

    let invite = owner.post("/api/v1/invites", &json!({ "role": "Viewer" })).await;
    let invite = invite.expect(201).text_of("token");
    owner.colleague("Viewer").await;
    let user = || json!({ "email": format!("{}@example.com", unique("user")), "password": PASSWORD });
    assert_refused(owner.post("/api/v1/users", &user()).await, "2 users");
    let register = api.request("POST", &format!("/api/v1/invites/{invite}/register")).json(&user());
    assert_refused(send(register).await, "2 users");

    neighbour.post("/api/v1/destinations", &destination).await.expect(201);
    assert!(service.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_tenant_that_has_stored_too_much_sends_nothing_until_payloads_are_erased() {
    let database = TestDatabase::create().await;
    let launch = Launch::serve("api,projector", &database.url());
    let service = launch.with("HOOKSENTRY_TENANT_PAYLOAD_BYTES", "1KiB").ready().await;
    let api = Api::at(service.base());
    let (owner, neighbour) = (User::owner(&api).await, User::owner(&api).await);
    let (key, (_, token)) = (owner.api_key().await, owner.destination().await);
    let payload = json!({ "text": "x".repeat(600) }).to_string();
    let refused = until("a refusal", async || {
        let answer = send(owner.ingest(&key, &token, &payload)).await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    let refused = refused.expect(429);
    assert!(refused.text_of("detail").contains("1024 bytes"), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"));
    let (other_key, (_, other_token)) = (neighbour.api_key().await, neighbour.destination().await);
    send(neighbour.ingest(&other_key, &other_token, &payload)).await.expect(202);

    // As retention does.
    let pool = database.pool().await;
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT event_id FROM payloads WHERE tenant_id = $1::uuid")
        .bind(&owner.tenant_id)
        .fetch_all(&pool)
        .await
        .expect("ids");
    let ids: Vec<_> = ids.into_iter().map(WebhookEventId).collect();
    let erased = payloads::erase(&mut pool.acquire().await.expect("a connection"), &ids).await;
    assert_eq!(erased.expect("an answer"), ids.len() as u64);
    until("webhooks to be accepted again", async || {
        (send(owner.ingest(&key, &token, &payload)).await.status == 202).then_some(())
    })
    .await;
    pool.close().await;
    assert!(service.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_tenant_sends_at_most_so_many_webhooks_per_second() {
    let database = TestDatabase::create().await;
    let launch = Launch::serve("api,projector", &database.url());
    let service = launch.with("HOOKSENTRY_TENANT_EVENTS_PER_SECOND", "1").ready().await;
    let api = Api::at(service.base());
    let (owner, neighbour) = (User::owner(&api).await, User::owner(&api).await);
    let (key, (_, token)) = (owner.api_key().await, owner.destination().await);
    let answers = join_all((0..60).map(|_| send(owner.ingest(&key, &token, "{}")))).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 202);
    assert!(accepted.len() >= 10, "{} webhooks, a burst of ten seconds, are accepted", accepted.len());
    let refused = refused.into_iter().next().expect("a webhook beyond the limit").expect(429);
    assert!(refused.text_of("detail").contains("a rate of 1 per second"), "{}", refused.text);
    let (key, (_, token)) = (neighbour.api_key().await, neighbour.destination().await);
    send(neighbour.ingest(&key, &token, "{}")).await.expect(202);
    assert!(service.stop().await.success());
    database.discard().await;
}
