//! How long a tenant keeps what has ended, and what is left of it.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEvent;
use aggregates_testing::accepted;
use chrono::TimeDelta;
use hooksentry::clock;
use hooksentry::event_store::Metadata;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::api::{Api, send};
use crate::harness::events::{attempt, until_listed};
use crate::harness::process::vault;
use crate::harness::tenant::User;
use crate::harness::until;

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

    fn tenant(&self) -> String {
        format!("/api/v1/tenants/{}", self.owner.tenant_id)
    }

    async fn keep(&self, payload_days: Value, event_days: Value) {
        let change = json!({ "payloadRetentionDays": payload_days, "eventRetentionDays": event_days });
        self.owner.patch(&self.tenant(), &change).await.expect(200);
    }

    /// Accepts an event with a time of acceptance so many days ago.
    async fn accept(&self, days_ago: i64, idempotency_key: Option<&str>) -> String {
        let tenant_id = TenantId(self.owner.tenant_id.parse().unwrap());
        let id = match idempotency_key {
            Some(key) => {
                let pool = self.owner.api.log().await.pool().clone();
                vault(pool).event_id(tenant_id, key).await.unwrap()
            }
            None => WebhookEventId(Uuid::from_u128(rand::random())),
        };
        let accept = accepted()
            .tenant(tenant_id)
            .destination(DestinationId(self.destination.parse().unwrap()))
            .at(clock::now() - TimeDelta::days(days_ago));
        let log = self.owner.api.log().await;
        let insert = "INSERT INTO payloads (event_id, tenant_id, delivered, idempotency_key) VALUES ($1, $2, '{}', $3)";
        sqlx::query(insert)
            .bind(id.0)
            .bind(tenant_id.0)
            .bind(idempotency_key)
            .execute(log.pool())
            .await
            .unwrap();
        let metadata = Metadata::of_role(tenant_id, "tests");
        log.execute::<WebhookEvent>(id.0, accept.command(), &metadata).await.unwrap();
        id.to_string()
    }

    async fn event(&self, id: &str) -> Value {
        self.owner.get(&format!("/api/v1/events/{id}")).await.expect(200).body
    }

    async fn total(&self) -> i64 {
        self.owner.get("/api/v1/events?Qt=1").await.expect(200).body["total"].as_i64().unwrap()
    }
}

#[tokio::test]
async fn a_tenant_sets_how_long_it_keeps_final_events() {
    let setting = Setting::new().await;
    let path = setting.tenant();
    let kept = |body: &Value| (body["payloadRetentionDays"].clone(), body["eventRetentionDays"].clone());
    let before = setting.owner.get(&path).await.expect(200).body;
    assert_eq!(kept(&before), (Value::Null, Value::Null), "without limit");
    for (change, payload_days, event_days) in [
        (json!({ "payloadRetentionDays": 30 }), json!(30), Value::Null),
        (json!({ "EVENTRETENTIONDAYS": "400" }), json!(30), json!(400)),
        (json!({ "maxTrys": 7 }), json!(30), json!(400)),
        (json!({ "payloadRetentionDays": null }), Value::Null, json!(400)),
        (json!({ "payloadRetentionDays": 1, "eventRetentionDays": 36_500 }), json!(1), json!(36_500)),
        (json!({ "payloadRetentionDays": 36_500, "eventRetentionDays": 1 }), json!(36_500), json!(1)),
        (json!({ "payloadRetentionDays": null, "eventRetentionDays": null }), Value::Null, Value::Null),
    ] {
        let changed = setting.owner.patch(&path, &change).await.expect(200).body;
        assert_eq!(kept(&changed), (payload_days, event_days), "{change}");
        assert_eq!(setting.owner.get(&path).await.expect(200).body, changed, "{change}");
    }
    // To what it is: nothing happens.
    let before = setting.owner.get(&path).await.expect(200).body;
    let same = json!({ "payloadRetentionDays": null });
    assert_eq!(setting.owner.patch(&path, &same).await.expect(200).body, before);
}

#[tokio::test]
async fn days_are_whole_numbers_within_a_century() {
    let setting = Setting::new().await;
    let path = setting.tenant();
    for wrong in [
        json!(0),
        json!(-1),
        json!(1.5),
        json!(36_501),
        json!(4_294_967_297_u64),
        json!(""),
        json!("a month"),
        json!("007"),
        json!(true),
        json!([7]),
        json!({}),
    ] {
        for field in ["payloadRetentionDays", "eventRetentionDays"] {
            let change = json!({ field: wrong, "maxTrys": 3, "name": "Something else" });
            let refused = setting.owner.patch(&path, &change).await.expect(400);
            assert_eq!(refused.wrong(), [field], "{change}");
            assert_eq!(refused.body["errors"][field], json!(["must be a whole number from 1 to 36500"]));
        }
    }
    let both = json!({ "payloadRetentionDays": 0, "eventRetentionDays": 0, "maxTrys": 0 });
    let refused = setting.owner.patch(&path, &both).await.expect(400);
    assert_eq!(refused.wrong(), ["eventRetentionDays", "maxTrys", "payloadRetentionDays"]);
    assert_eq!(setting.owner.get(&path).await.expect(200).body["maxTrys"], 10, "nothing half done");
}

#[tokio::test]
async fn only_owners_and_admins_set_the_retention() {
    let setting = Setting::new().await;
    let path = setting.tenant();
    let change = json!({ "payloadRetentionDays": 30 });
    setting.owner.colleague("Admin").await.patch(&path, &change).await.expect(200);
    for role in ["Developer", "Viewer"] {
        let colleague = setting.owner.colleague(role).await;
        colleague.patch(&path, &json!({ "payloadRetentionDays": 1 })).await.expect(403);
        assert_eq!(colleague.get(&path).await.expect(200).body["payloadRetentionDays"], 30);
    }
    let stranger = User::owner(&Api::shared().await).await;
    stranger.patch(&path, &json!({ "payloadRetentionDays": 1 })).await.expect(403);
    send(setting.owner.api.request("PATCH", &path).json(&change)).await.expect(401);
}

#[tokio::test]
async fn an_expired_payload_is_erased_and_not_replayed() {
    let setting = Setting::new().await;
    let (old, young) = (setting.accept(8, None).await, setting.accept(6, None).await);
    let waiting = setting.accept(9, None).await;
    for id in [&old, &young] {
        attempt(&setting.owner, id, Outcome::Timeout, 1).await;
        until_listed(&setting.owner, id, "CriticalFailure").await;
    }
    let before = setting.event(&old).await;
    assert_eq!(before["payload"], "{}");
    setting.keep(json!(7), Value::Null).await;
    until("the payload to go", async || setting.event(&old).await["payload"].is_null().then_some(())).await;
    let mut after = setting.event(&old).await;
    after["payload"] = before["payload"].clone();
    assert_eq!(after, before, "everything else stays");
    for kept in [&young, &waiting] {
        assert_eq!(setting.event(kept).await["payload"], "{}");
    }
    let replay = |id: &str| format!("/api/v1/events/{id}/replay");
    let refused = setting.owner.call(&replay(&old)).await.expect(400);
    assert_eq!(refused.problem(), "event-not-replayable");
    assert!(
        refused.text_of("detail").starts_with("The payload of the event no longer exists"),
        "{}",
        refused.text
    );
    assert_eq!(setting.event(&old).await["status"], "CriticalFailure");
    setting.owner.call(&replay(&young)).await.expect(200);
    // Whether there was anything to replay is said first.
    let refused = setting.owner.call(&replay(&waiting)).await.expect(400);
    assert!(refused.text_of("detail").contains("CriticalFailure"), "{}", refused.text);
}

#[tokio::test]
async fn events_removed_from_the_lists_keep_their_history() {
    let setting = Setting::new().await;
    let key = "order-7";
    let old = setting.accept(40, Some(key)).await;
    attempt(&setting.owner, &old, Outcome::Timeout, 2).await;
    attempt(&setting.owner, &old, Outcome::Timeout, 2).await;
    let listed = until_listed(&setting.owner, &old, "CriticalFailure").await;
    let young = setting.accept(1, None).await;
    until_listed(&setting.owner, &young, "Pending").await;
    let path = format!("/api/v1/events/{old}");
    let attempts = setting.owner.get(&format!("{path}/attempts")).await.expect(200).body;
    let last = setting.owner.get(&format!("{path}/attempts?TpOrd=Desc&Qt=1&Pg=1")).await.expect(200).body;
    let history = setting.owner.get(&format!("{path}/history")).await.expect(200).body;
    let stats = setting.owner.get("/api/v1/stats").await.expect(200).body;
    let time = history["items"][3]["time"].as_str().unwrap();
    let past = setting.owner.get(&format!("{path}?AsOf={time}")).await.expect(200).body;
    setting.keep(Value::Null, json!(30)).await;
    until("the event to leave the lists", async || (setting.total().await == 1).then_some(())).await;

    let mut shown = setting.event(&old).await;
    assert_eq!(shown["payload"].take(), Value::Null);
    assert_eq!(listed["idempotencyKey"], key);
    let without_payload = |mut event: Value| {
        event["payload"] = Value::Null;
        event["idempotencyKey"] = Value::Null;
        event
    };
    assert_eq!(shown, without_payload(listed));
    assert_eq!(setting.owner.get(&format!("{path}/attempts")).await.expect(200).body, attempts);
    assert_eq!(
        setting.owner.get(&format!("{path}/attempts?TpOrd=Desc&Qt=1&Pg=1")).await.expect(200).body,
        last
    );
    assert_eq!(setting.owner.get(&format!("{path}/history")).await.expect(200).body, history);
    let past_now = setting.owner.get(&format!("{path}?AsOf={time}")).await.expect(200).body;
    assert_eq!(past_now, without_payload(past));
    assert_eq!(
        setting.owner.get("/api/v1/stats").await.expect(200).body,
        stats,
        "statistics are not removed"
    );

    let refused = setting.owner.call(&format!("{path}/replay")).await.expect(400);
    assert_eq!(refused.problem(), "event-not-replayable");
    let stranger = User::owner(&Api::shared().await).await;
    for room in ["", "/attempts", "/history"] {
        stranger.get(&format!("{path}{room}")).await.expect(403);
    }
    // An idempotency key is accepted once, without limit in time.
    let again = setting.owner.ingest(&setting.key, &setting.token, "{}").header("X-Idempotency-Key", key);
    let again = send(again).await.expect(200);
    assert_eq!((again.text_of("eventId"), again.text_of("status")), (old, "CriticalFailure".to_owned()));
    assert_eq!(setting.total().await, 1);
}

#[tokio::test]
async fn events_are_accepted_while_old_ones_are_removed() {
    let setting = Setting::new().await;
    let mut old = vec![];
    for _ in 0..150 {
        old.push(setting.accept(40, None).await);
    }
    let purge = format!("/api/v1/queues/{}", setting.destination);
    setting.owner.delete(&purge).await.expect(204);
    until("everything to be listed", async || (setting.total().await == 150).then_some(())).await;
    setting.keep(json!(7), json!(30)).await;
    let mut fresh = vec![];
    until("what is old to go", async || {
        let ingest = setting.owner.ingest(&setting.key, &setting.token, "{\"new\":true}");
        fresh.push(send(ingest).await.expect(202).text_of("eventId"));
        (setting.total().await <= fresh.len() as i64).then_some(())
    })
    .await;
    let listed = fresh.len() as i64;
    until("what is new to be listed", async || (setting.total().await == listed).then_some(())).await;
    for id in &fresh {
        assert_eq!(setting.event(id).await["payload"], "{\"new\":true}");
    }
    for id in &old {
        let event = setting.event(id).await;
        assert_eq!((&event["status"], &event["payload"]), (&json!("Cancelled"), &Value::Null));
    }
    send(setting.owner.api.request("GET", "/health/ready")).await.expect(200);
}
