//! Legal holds on a tenant and a destination.

use aggregates::ids::TenantId;
use projections::retention;
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api};
use crate::harness::events::accept;
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

    async fn accept(&self) -> String {
        accept(&self.owner, &self.key, &self.token).await
    }

    fn destination(&self) -> String {
        format!("/api/v1/destinations/{}", self.destination)
    }

    fn tenant(&self) -> String {
        format!("/api/v1/tenants/{}", self.owner.tenant_id)
    }

    async fn place(&self, on: &str, reason: &str) -> Answer {
        self.owner.post(&format!("{on}/legal-hold"), &json!({ "reason": reason })).await
    }

    async fn lift(&self, on: &str) {
        self.owner.post(&format!("{on}/legal-hold/lift"), &json!({ "reason": "Settled" })).await.expect(204);
    }

    async fn hold_shown(&self, on: &str) -> Value {
        self.owner.get(on).await.expect(200).body["legalHold"].clone()
    }

    async fn erase(&self, id: &str) -> Answer {
        self.owner.post(&format!("/api/v1/events/{id}/erase"), &json!({ "reason": "Request 7" })).await
    }
}

#[tokio::test]
async fn a_hold_on_a_destination_keeps_its_payloads_until_it_is_lifted() {
    let setting = Setting::new().await;
    let held = setting.accept().await;
    let (_, other_token) = setting.owner.destination().await;
    let elsewhere = accept(&setting.owner, &setting.key, &other_token).await;
    assert_eq!(setting.hold_shown(&setting.destination()).await, Value::Null);

    let hold = setting.place(&setting.destination(), "Case 4711").await.expect(200).body;
    assert_eq!(hold["reason"], "Case 4711");
    assert_eq!(setting.hold_shown(&setting.destination()).await, hold);
    let listed = setting.owner.get("/api/v1/destinations?Qt=10").await.expect(200).body;
    let of = |id: &str| {
        let destinations = listed["items"].as_array().unwrap();
        destinations.iter().find(|destination| destination["id"] == id).unwrap()["legalHold"].clone()
    };
    assert_eq!(of(&setting.destination), hold);
    assert_eq!(setting.hold_shown(&setting.tenant()).await, Value::Null);

    let refused = setting.erase(&held).await.expect(409);
    assert_eq!(refused.problem(), "legal-hold");
    assert!(refused.text.contains("destination") && refused.text.contains("Case 4711"), "{}", refused.text);
    setting.erase(&elsewhere).await.expect(200);
    assert_eq!(setting.place(&setting.destination(), "Case 4712").await.expect(409).problem(), "legal-hold");

    let before_lifting = setting.owner.get(&setting.destination()).await.expect(200).body;
    setting.lift(&setting.destination()).await;
    setting.lift(&setting.destination()).await;
    assert_eq!(setting.hold_shown(&setting.destination()).await, Value::Null);
    let past = format!("{}?AsOf={}", setting.destination(), hold["placedAt"].as_str().unwrap());
    let past = setting.owner.get(&past).await.expect(200).body;
    assert_eq!(past["updatedAt"], before_lifting["updatedAt"]);
    setting.erase(&held).await.expect(200);
    setting.place(&setting.destination(), "Case 4712").await.expect(200);
}

#[tokio::test]
async fn a_hold_on_a_tenant_keeps_everything() {
    let setting = Setting::new().await;
    let event = setting.accept().await;
    let hold = setting.place(&setting.tenant(), "Case 4711").await.expect(200).body;
    assert_eq!(setting.hold_shown(&setting.tenant()).await, hold);
    assert_eq!(setting.hold_shown(&setting.destination()).await, Value::Null, "it has no hold of its own");
    let refused = setting.erase(&event).await.expect(409);
    assert!(refused.text.contains("tenant") && refused.text.contains("Case 4711"), "{}", refused.text);
    let changed = setting.owner.patch(&setting.tenant(), &json!({ "maxTrys": 3 })).await.expect(200);
    assert_eq!(changed.body["legalHold"], hold);
    setting.lift(&setting.tenant()).await;
    setting.erase(&event).await.expect(200);
}

#[tokio::test]
async fn an_erasure_waits_for_a_hold_that_is_being_placed_and_obeys_it() {
    let setting = Setting::new().await;
    let event = setting.accept().await;
    let pool = setting.owner.api.log().await.pool().clone();
    let tenant: TenantId = setting.owner.tenant_id.parse().unwrap();
    let mut placing = pool.begin().await.expect("a transaction");
    retention::exclude(&mut placing, tenant).await.expect("a lock");
    sqlx::query(
        r#"
        INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        VALUES ('LegalHold', $1, 1, 'LegalHoldPlaced', '1.0', $2, json_build_object('tenantId', $1))
        "#,
    )
    .bind(&setting.owner.tenant_id)
    .bind(json!({ "LegalHoldPlaced": { "subject": "tenant", "reason": "Case 4711", "at": "2026-07-03T14:32:00.125Z" } }))
    .execute(&mut *placing)
    .await
    .expect("a hold");
    let placed = async {
        until("the erasure to wait", async || {
            sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM pg_locks
                 WHERE NOT granted AND locktype = 'advisory' AND objid::bigint = hashtext($1)::bigint & 4294967295",
            )
            .bind(&setting.owner.tenant_id)
            .fetch_one(&pool)
            .await
            .is_ok_and(|waiting| waiting > 0)
            .then_some(())
        })
        .await;
        placing.commit().await.expect("a hold in force");
    };
    let (refused, ()) = tokio::join!(setting.erase(&event), placed);
    assert_eq!(refused.expect(409).problem(), "legal-hold");
    let shown = setting.owner.get(&format!("/api/v1/events/{event}")).await.expect(200);
    assert!(shown.body["payload"].is_string());
}
