//! Ingest: what is accepted, what is refused, and in which order that is judged.

use futures::future::join_all;
use hooksentry::secrets::salt::hmac_sha256;
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api, PAYLOAD_BYTES_MAX, send};
use crate::harness::events::until_listed;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;

/// A tenant with a key and a destination.
struct Setting {
    owner: User,
    key: String,
    destination: String,
    token: String,
}

impl Setting {
    async fn new() -> Self {
        let owner = User::owner(&Api::shared().await).await;
        let key = owner.api_key().await;
        let (destination, token) = owner.destination().await;
        Self { owner, key, destination, token }
    }

    async fn ingest(&self, payload: &str) -> Answer {
        send(self.owner.ingest(&self.key, &self.token, payload)).await
    }

    async fn ingest_once(&self, idempotency_key: &str, payload: &str) -> Answer {
        let request = self.owner.ingest(&self.key, &self.token, payload);
        send(request.header("X-Idempotency-Key", idempotency_key)).await
    }

    async fn event(&self, accepted: &Answer) -> Value {
        self.owner.get(&format!("/api/v1/events/{}", accepted.text_of("eventId"))).await.expect(200).body
    }
}

#[tokio::test]
async fn a_webhook_is_accepted_and_found_at_once() {
    let setting = Setting::new().await;
    let payload = "{ \"b\" : 1.50,\n\t\"a\":\"\\u00e9 é\", \"a\": 12345678901234567890 }";
    for _ in 0..3 {
        let accepted = setting.ingest(payload).await.expect(202);
        assert_eq!(accepted.body["status"], "Pending");
        assert_eq!(accepted.body.as_object().unwrap().len(), 3);
        let id = accepted.text_of("eventId");
        assert_eq!(accepted.header("location"), format!("/api/v1/events/{id}"));
        let event = setting.event(&accepted).await;
        assert_eq!(event["payload"], payload, "byte for byte");
        assert_eq!(event["acceptedAt"], accepted.body["acceptedAt"]);
        assert_eq!(
            (&event["destinationUrlId"], &event["status"]),
            (&json!(setting.destination), &json!("Pending"))
        );
        for absent in ["idempotencyKey", "nextAttemptAt", "deliveredAt"] {
            assert_eq!(event[absent], Value::Null);
        }
    }
}

#[tokio::test]
async fn the_content_type_does_not_matter() {
    let setting = Setting::new().await;
    for media_type in ["application/json", "text/plain", "application/x-www-form-urlencoded", "nonsense"] {
        let request =
            setting.owner.ingest(&setting.key, &setting.token, "{}").header("content-type", media_type);
        send(request).await.expect(202);
    }
    setting.ingest(" \r\n{}\t").await.expect(202);
}

#[tokio::test]
async fn a_payload_is_one_json_object_within_the_limit() {
    let setting = Setting::new().await;
    for payload in [
        "",
        " ",
        "[]",
        "5",
        "\"{}\"",
        "null",
        "{",
        "{}{}",
        "{'a':1}",
        "{\"a\":\u{7f}",
        "\u{feff}{}",
        "{\"a\":01}",
    ] {
        let refused = setting.ingest(payload).await.expect(400);
        assert_eq!((refused.problem(), refused.wrong()), ("invalid-payload", vec!["body"]), "{payload:?}");
    }
    let not_text = setting.owner.ingest(&setting.key, &setting.token, "").body(b"{\"a\":\"\xff\"}".to_vec());
    send(not_text).await.expect(400);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    setting.ingest(&deep).await.expect(400);
    let largest = format!("{{\"a\":\"{}\"}}", "x".repeat(PAYLOAD_BYTES_MAX - 8));
    let accepted = setting.ingest(&largest).await.expect(202);
    setting.ingest(&format!("{largest} ")).await.expect(413);
    until_listed(&setting.owner, &accepted.text_of("eventId"), "Pending").await;
    assert_eq!(setting.owner.get("/api/v1/events").await.expect(200).body["total"], 1);
}

#[tokio::test]
async fn without_a_living_key_nothing_is_said_but_that() {
    let setting = Setting::new().await;
    let other_key = setting.owner.post("/api/v1/apikeys", &json!({ "name": "b" })).await.expect(201);
    let path = format!("/api/v1/ingest/{}/{}", setting.owner.tenant_id, setting.token);
    let post = || setting.owner.api.request("POST", &path).body("not even JSON");
    for request in [
        post(),
        post().header("X-Api-Key", ""),
        post().header("X-Api-Key", "hks_unknown"),
        post().header("X-Api-Key", &setting.token),
        post().bearer_auth(&setting.owner.token),
        post().header("X-Api-Key", &setting.key).header("X-Api-Key", &other_key.text_of("key")),
    ] {
        let refused = send(request).await.expect(401);
        assert_eq!(refused.problem(), "api-key-refused");
        assert!(refused.header("www-authenticate").starts_with("ApiKey"));
    }
    setting.ingest("{}").await.expect(202);
    let keys = setting.owner.get("/api/v1/apikeys").await.expect(200).body;
    for key in keys["items"].as_array().unwrap() {
        setting.owner.delete(&format!("/api/v1/apikeys/{}", key["id"].as_str().unwrap())).await.expect(200);
    }
    // Dead at once, although it was good a moment ago and is still remembered.
    setting.ingest("{}").await.expect(401);
    setting.ingest("not even JSON").await.expect(401);
}

#[tokio::test]
async fn tenants_and_tokens_are_judged_in_order() {
    let (ours, theirs) = (Setting::new().await, Setting::new().await);
    let ingest = async |tenant: &str, key: &str, token: &str| {
        let path = format!("/api/v1/ingest/{tenant}/{token}");
        send(ours.owner.api.request("POST", &path).header("X-Api-Key", key).body("{}")).await
    };
    let unknown = "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a";
    for (tenant, key, token, status, problem) in [
        (unknown, &ours.key, ours.token.as_str(), 404, "not-found"),
        ("no-uuid", &ours.key, &ours.token, 404, "not-found"),
        (&theirs.owner.tenant_id, &ours.key, &theirs.token, 403, "other-tenant"),
        (&ours.owner.tenant_id, &ours.key, "abc_123", 400, "invalid-input"),
        (&ours.owner.tenant_id, &ours.key, "whsec_123", 400, "invalid-input"),
        (&ours.owner.tenant_id, &ours.key, "dst_a%0Ab", 400, "invalid-input"),
        (&ours.owner.tenant_id, &ours.key, "dst_unknown", 404, "not-found"),
        (&ours.owner.tenant_id, &ours.key, "sndr_unknown", 404, "not-found"),
        (&ours.owner.tenant_id, &ours.key, &theirs.token, 403, "other-tenant"),
    ] {
        let refused = ingest(tenant, key, token).await.expect(status);
        assert_eq!(refused.problem(), problem, "{token}");
    }
    let long = format!("dst_{}", "x".repeat(509));
    assert_eq!(ingest(&ours.owner.tenant_id, &ours.key, &long).await.expect(400).wrong(), ["token"]);
    ingest(&ours.owner.tenant_id, &ours.key, &ours.token).await.expect(202);
    // The same once everything is remembered.
    ingest(&theirs.owner.tenant_id, &ours.key, &ours.token).await.expect(403);
    ingest(unknown, &ours.key, &ours.token).await.expect(404);
}

#[tokio::test]
async fn an_inactive_destination_takes_nothing() {
    let setting = Setting::new().await;
    let path = format!("/api/v1/destinations/{}", setting.destination);
    let (_, sender_token) = setting.owner.sender(&setting.destination).await;
    for _ in 0..2 {
        setting.ingest("{}").await.expect(202);
        setting.owner.patch(&path, &json!({ "status": "inactive" })).await.expect(200);
        assert_eq!(setting.ingest("{}").await.expect(422).problem(), "destination-not-active");
        send(setting.owner.ingest(&setting.key, &sender_token, "{}")).await.expect(422);
        setting.owner.patch(&path, &json!({ "status": "active" })).await.expect(200);
    }
}

#[tokio::test]
async fn a_repetition_is_answered_with_the_event_that_exists() {
    let setting = Setting::new().await;
    let first = setting.ingest_once("order-7", r#"{"n":1}"#).await.expect(202);
    let event = setting.event(&first).await;
    assert_eq!(event["idempotencyKey"], "order-7");
    let again = setting.ingest_once("order-7", r#"{"n":2}"#).await.expect(200);
    assert_eq!(again.body, first.body);
    assert_eq!(setting.event(&again).await["payload"], r#"{"n":1}"#);
    // Even with a wrong token, or while the destination takes nothing.
    let mut elsewhere = setting.owner.ingest(&setting.key, "nonsense", "{}");
    elsewhere = elsewhere.header("X-Idempotency-Key", "order-7");
    assert_eq!(send(elsewhere).await.expect(200).body, first.body);
    setting.owner.delete(&format!("/api/v1/queues/{}", setting.destination)).await.expect(204);
    let path = format!("/api/v1/destinations/{}", setting.destination);
    setting.owner.patch(&path, &json!({ "status": "inactive" })).await.expect(200);
    let cancelled = setting.ingest_once("order-7", "{}").await.expect(200);
    assert_eq!(cancelled.body["status"], "Cancelled", "its status of now");
    assert_eq!(cancelled.body["acceptedAt"], first.body["acceptedAt"]);
    // But not without a payload or a key.
    setting.ingest_once("order-7", "[]").await.expect(400);
    let other = Setting::new().await;
    other.ingest_once("order-7", "{}").await.expect(202);
}

#[tokio::test]
async fn of_many_twins_at_once_one_is_accepted() {
    let setting = Setting::new().await;
    let answers = join_all((0..24).map(|_| setting.ingest_once("twins", "{}"))).await;
    let accepted: Vec<_> = answers.iter().filter(|answer| answer.status == 202).collect();
    assert_eq!(accepted.len(), 1);
    for answer in &answers {
        assert!(matches!(answer.status, 200 | 202), "{}", answer.text);
        assert_eq!(answer.body["eventId"], accepted[0].body["eventId"]);
        assert_eq!(answer.body["acceptedAt"], accepted[0].body["acceptedAt"]);
    }
    until_listed(&setting.owner, &accepted[0].text_of("eventId"), "Pending").await;
    assert_eq!(setting.owner.get("/api/v1/events").await.expect(200).body["total"], 1);
}

#[tokio::test]
async fn without_the_data_key_of_the_tenant_no_webhook_with_an_idempotency_key_is_accepted() {
    let database = TestDatabase::create().await;
    let first = Launch::serve("api,projector", &database.url()).ready().await;
    let owner = User::owner(&Api::at(first.base())).await;
    let (key, (_, token)) = (owner.api_key().await, owner.destination().await);
    let once = async |owner: &User| {
        let request = owner.ingest(&key, &token, "{}");
        send(request.header("X-Idempotency-Key", "order-7")).await
    };
    let accepted = once(&owner).await.expect(202).text_of("eventId");

    database.flip_data_keys().await;
    // A process that does not have the key in memory.
    let second = Launch::serve("api", &database.url()).ready().await;
    let elsewhere = User { api: Api::at(second.base()), ..owner.clone() };
    // With what is cached, and without.
    for _ in 0..2 {
        let refused = once(&elsewhere).await.expect(503);
        assert!(refused.body["detail"].as_str().expect("a text").contains("data key"), "{}", refused.text);
        refused.header("retry-after");
        send(elsewhere.ingest(&key, &token, "{}")).await.expect(202);
    }
    elsewhere.get("/api/v1/events?IdempotencyKey=order-7").await.expect(503);

    database.flip_data_keys().await;
    assert_eq!(once(&elsewhere).await.expect(200).text_of("eventId"), accepted);
    first.kill().await;
    second.kill().await;
    database.discard().await;
}

#[tokio::test]
async fn an_idempotency_key_has_a_form() {
    let setting = Setting::new().await;
    for bad in ["x".repeat(256), "a\tb".to_owned()] {
        assert_eq!(setting.ingest_once(&bad, "{}").await.expect(400).wrong(), ["X-Idempotency-Key"]);
    }
    setting.ingest_once(&"x".repeat(255), "{}").await.expect(202);
    let (first, second) = (setting.ingest_once("", "{}").await, setting.ingest_once("", "{}").await);
    assert_ne!(first.expect(202).body["eventId"], second.expect(202).body["eventId"], "empty means none");
}

#[tokio::test]
async fn a_sender_s_mapping_reshapes_what_is_delivered() {
    let setting = Setting::new().await;
    let (sender, token) = setting.owner.sender(&setting.destination).await;
    let mapping = format!("/api/v1/senders/{sender}/mapping");
    let ingest = async |payload: &str| {
        let accepted = send(setting.owner.ingest(&setting.key, &token, payload)).await.expect(202);
        (setting.event(&accepted).await["payload"].clone(), accepted.text_of("eventId"))
    };
    let raw = r#"{ "id": 1.0, "user": {"name": "octo"} }"#;
    assert_eq!(ingest(raw).await.0, raw);
    setting.owner.post(&mapping, &json!({ "userName": "user:name", "eventId": "id" })).await.expect(200);
    let (delivered, id) = ingest(raw).await;
    assert_eq!(delivered, r#"{"eventId":1.0,"userName":"octo"}"#);
    let history = setting.owner.get(&format!("/api/v1/events/{id}/history")).await.expect(200).body;
    let fact = &history["items"][0];
    assert_eq!(fact["type"], "EventAccepted");
    assert_eq!(fact["data"]["mapping"]["applied"]["bytes"], raw.len());
    assert_eq!(fact["data"]["senderId"], sender);
    assert!(fact["actor"].as_str().unwrap().starts_with("api-key:"));
    setting.owner.delete(&mapping).await.expect(204);
    assert_eq!(ingest(raw).await.0, raw);
    let (salt, stored): (Vec<u8>, Vec<u8>) =
        sqlx::query_as("SELECT salt, received FROM payloads WHERE event_id = $1::uuid")
            .bind(&id)
            .fetch_one(setting.owner.api.log().await.pool())
            .await
            .expect("the stored payload");
    assert_eq!(stored, raw.as_bytes());
    let commitment = |content: &str| hex::encode(hmac_sha256(&salt, &[content.as_bytes()]));
    assert_eq!(fact["data"]["payload"]["hmacSha256"], commitment(delivered.as_str().expect("text")));
    assert_eq!(fact["data"]["mapping"]["applied"]["hmacSha256"], commitment(raw));
    setting.owner.post(&mapping, &json!({ "sum": "a+b" })).await.expect(200);
    let too_much = r#"{"a":1e308,"b":1e308}"#;
    let (delivered, id) = ingest(too_much).await;
    assert_eq!(delivered, too_much, "a mapping that fails delivers what came");
    let history = setting.owner.get(&format!("/api/v1/events/{id}/history")).await.expect(200).body;
    assert!(history["items"][0]["data"]["mapping"]["failed"].is_string());
}
