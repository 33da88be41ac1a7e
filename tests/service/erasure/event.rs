//! The payload of one event.

use aggregates::attempt_outcome::Outcome;
use futures::future::join_all;
use serde_json::{Value, json};

use super::{tables_with, types};
use crate::harness::api::{Answer, Api, send, unique};
use crate::harness::events::{accept, attempt, start_attempt, try_start_attempt, until_listed};
use crate::harness::tenant::User;

struct Setting {
    owner: User,
    key: String,
    token: String,
}

impl Setting {
    async fn new() -> Self {
        let owner = User::owner(&Api::shared().await).await;
        let key = owner.api_key().await;
        let (_, token) = owner.destination().await;
        Self { owner, key, token }
    }

    async fn accept(&self) -> String {
        accept(&self.owner, &self.key, &self.token).await
    }

    async fn get(&self, path: &str) -> Value {
        self.owner.get(&format!("/api/v1/events/{path}")).await.expect(200).body
    }

    async fn erase(&self, id: &str) -> Answer {
        self.owner.post(&format!("/api/v1/events/{id}/erase"), &json!({ "reason": "Request 7" })).await
    }

    async fn replay(&self, id: &str) -> Answer {
        self.owner.call(&format!("/api/v1/events/{id}/replay")).await
    }
}

#[tokio::test]
async fn an_erased_payload_is_nowhere_and_everything_says_who_erased_it_and_why() {
    let setting = Setting::new().await;
    let (secret, answer) = (unique("secret"), unique("answer"));
    let payload = json!({ "name": secret }).to_string();
    let key = unique("order");
    let ingest = async || {
        let request = setting.owner.ingest(&setting.key, &setting.token, &payload);
        send(request.header("X-Idempotency-Key", &key)).await
    };
    let accepted = ingest().await.expect(202);
    let id = accepted.text_of("eventId");
    until_listed(&setting.owner, &id, "Pending").await;
    attempt(&setting.owner, &id, Outcome::Succeeded, 1).await;
    let pool = setting.owner.api.log().await.pool().clone();
    sqlx::query(
        "INSERT INTO attempt_responses (event_id, attempt, tenant_id, response, salt)
         VALUES ($1::uuid, 1, $2::uuid, json_build_object('excerpt', $3::text), decode(repeat('00', 32), 'hex'))",
    )
    .bind(id.parse::<uuid::Uuid>().unwrap())
    .bind(setting.owner.tenant_id.parse::<uuid::Uuid>().unwrap())
    .bind(&answer)
    .execute(&pool)
    .await
    .expect("a response");
    until_listed(&setting.owner, &id, "Succeeded").await;
    let before = setting.get(&id).await;
    assert_eq!((&before["payload"], &before["erasure"]), (&json!(payload), &Value::Null));
    assert_eq!(before["idempotencyKey"], key);
    let attempts = setting.get(&format!("{id}/attempts")).await;
    assert_eq!(
        (&attempts["items"][0]["responseExcerpt"], &attempts["erasure"]),
        (&json!(answer), &Value::Null)
    );
    assert_eq!(
        tables_with(&pool, &[&secret, &answer]).await,
        ["public.attempt_responses", "public.payloads"],
        "the search finds what is there"
    );
    assert_eq!(tables_with(&pool, &[&key]).await, ["public.payloads"]);

    let erased = setting.erase(&id).await.expect(200).body;
    let erasure = &erased["erasure"];
    assert_eq!((&erased["payload"], &erased["status"]), (&Value::Null, &json!("Succeeded")));
    assert_eq!(erased["idempotencyKey"], Value::Null);
    assert_eq!(
        (&erasure["reason"], &erasure["requestedBy"]),
        (&json!("Request 7"), &json!(setting.owner.id))
    );
    assert!(erasure["at"].is_string());
    assert_eq!(setting.get(&id).await, erased);
    let list = setting.owner.get("/api/v1/events").await.expect(200).body;
    assert_eq!(list["items"][0], erased);
    let attempts = setting.get(&format!("{id}/attempts")).await;
    assert_eq!((&attempts["items"][0]["responseExcerpt"], &attempts["erasure"]), (&Value::Null, erasure));
    let history = setting.get(&format!("{id}/history")).await;
    assert_eq!(types(&history)[3..], ["PayloadErased"]);
    assert_eq!(history["items"][3]["actor"], format!("user:{}", setting.owner.id));
    assert_eq!(history["items"][3]["data"]["reason"], "Request 7");
    assert_eq!(tables_with(&pool, &[&secret, &answer, &key]).await, [""; 0]);

    // A repetition is recognised all the same, and stores nothing.
    assert_eq!(ingest().await.expect(200).text_of("eventId"), id);
    let found = setting.owner.get(&format!("/api/v1/events?IdempotencyKey={key}")).await.expect(200).body;
    assert_eq!((&found["total"], &found["items"][0]), (&json!(1), &erased));
    assert_eq!(tables_with(&pool, &[&secret, &key]).await, [""; 0]);

    // The first erasure is the one that erased something.
    let again =
        setting.owner.post(&format!("/api/v1/events/{id}/erase"), &json!({ "reason": "Again" })).await;
    assert_eq!(again.expect(200).body, erased);
    assert_eq!(setting.get(&format!("{id}/history")).await["total"], 4);
}

#[tokio::test]
async fn a_waiting_event_is_cancelled_and_an_erased_one_is_not_replayed() {
    let setting = Setting::new().await;
    let (pending, failed) = (setting.accept().await, setting.accept().await);
    attempt(&setting.owner, &failed, Outcome::Timeout, 1).await;
    until_listed(&setting.owner, &failed, "CriticalFailure").await;
    for (id, status) in [(&pending, "Cancelled"), (&failed, "CriticalFailure")] {
        let erased = setting.erase(id).await.expect(200).body;
        assert_eq!((&erased["status"], &erased["nextAttemptAt"]), (&json!(status), &Value::Null));
        until_listed(&setting.owner, id, status).await;
        let refused = setting.replay(id).await.expect(400);
        assert_eq!(refused.problem(), "event-not-replayable");
        if status == "CriticalFailure" {
            assert!(refused.text.contains("erased"), "{}", refused.text);
        }
        assert!(!try_start_attempt(&setting.owner, id).await);
    }
    assert_eq!(
        types(&setting.get(&format!("{pending}/history")).await),
        ["EventAccepted", "Cancelled", "PayloadErased"]
    );
}

#[tokio::test]
async fn a_payload_that_is_being_delivered_is_erased_when_the_attempt_has_ended() {
    let setting = Setting::new().await;
    let id = setting.accept().await;
    start_attempt(&setting.owner, &id).await;
    assert_eq!(setting.erase(&id).await.expect(409).problem(), "attempt-in-progress");
    assert!(setting.get(&id).await["payload"].is_string());
}

#[tokio::test]
async fn only_one_of_an_erasure_and_an_attempt_succeeds() {
    let setting = Setting::new().await;
    for _ in 0..10 {
        let id = setting.accept().await;
        let (erased, started) = tokio::join!(setting.erase(&id), try_start_attempt(&setting.owner, &id));
        assert_eq!(erased.status == 200, !started, "{}", erased.text);
        assert_eq!(setting.get(&id).await["payload"].is_string(), started);
    }
}

#[tokio::test]
async fn an_erasure_during_replays_leaves_no_event_that_waits_without_its_payload() {
    let setting = Setting::new().await;
    for _ in 0..10 {
        let id = setting.accept().await;
        attempt(&setting.owner, &id, Outcome::Timeout, 1).await;
        until_listed(&setting.owner, &id, "CriticalFailure").await;
        let replays = join_all((0..3).map(|_| setting.replay(&id)));
        let (erased, replays) = tokio::join!(setting.erase(&id), replays);
        erased.expect(200);
        let replayed = replays.iter().any(|answer| answer.status == 200);
        let status = if replayed { "Cancelled" } else { "CriticalFailure" };
        let event = until_listed(&setting.owner, &id, status).await;
        assert_eq!(event["payload"], Value::Null);
        assert!(!try_start_attempt(&setting.owner, &id).await);
    }
}
