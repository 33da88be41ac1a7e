//! Accesses that are facts: payloads and secrets that were shown.

use serde_json::{Value, json};

use super::{search, settle, types};
use crate::harness::api::Api;
use crate::harness::events::accept;
use crate::harness::tenant::User;

/// Returns the types of the recorded accesses of a user, oldest first.
async fn accesses(owner: &User, user: &User) -> Vec<String> {
    settle(owner).await;
    let facts = search(owner, &format!("Actor=user:{}&TpOrd=Asc", user.id), 200).await;
    let names = types(&facts).into_iter();
    names.filter(|name| name.ends_with("Read") || name.ends_with("Listed")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_payload_that_was_shown_is_a_fact_once_an_hour_for_each_reader() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (destination, token)) = (owner.api_key().await, owner.destination().await);
    let event = accept(&owner, &key, &token).await;
    let reader = owner.colleague("Viewer").await;
    let path = format!("/api/v1/events/{event}");
    for _ in 0..3 {
        assert!(reader.get(&path).await.expect(200).body["payload"].is_string());
        reader.get(&format!("{path}/history")).await.expect(200);
        reader.get(&format!("{path}/attempts")).await.expect(200);
        reader.get("/api/v1/destinations").await.expect(200);
    }
    assert_eq!(accesses(&owner, &reader).await, ["PayloadRead"]);
    for _ in 0..3 {
        reader.get("/api/v1/events").await.expect(200);
        reader.get("/api/v1/events?Qt=1&Status=Pending").await.expect(200);
        reader.get(&format!("/api/v1/events?DestinationUrlId={destination}")).await.expect(200);
        // No payload is in the answer.
        reader.get("/api/v1/events?Status=Succeeded").await.expect(200);
    }
    assert_eq!(accesses(&owner, &reader).await, ["PayloadRead", "PayloadsListed", "PayloadsListed"]);

    let about = search(&owner, &format!("Subject=WebhookEvent/{event}&Type=PayloadRead"), 10).await;
    assert_eq!(about.len(), 1, "{about:?}");
    assert_eq!(about[0]["actor"]["name"], reader.email);
    assert_eq!(about[0]["subject"], json!({ "kind": "WebhookEvent", "id": event }));
    let listed = search(&owner, &format!("Type=PayloadsListed&Actor=user:{}", reader.id), 10).await;
    let of: Vec<_> = listed.iter().map(|fact| fact["details"]["destinationId"].clone()).collect();
    assert_eq!(of, [Value::from(destination), Value::Null]);
}

#[tokio::test]
async fn a_payload_that_does_not_exist_any_more_is_not_read() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (_, token)) = (owner.api_key().await, owner.destination().await);
    let event = accept(&owner, &key, &token).await;
    let log = owner.api.log().await;
    sqlx::query("DELETE FROM payloads WHERE event_id::text = $1")
        .bind(&event)
        .execute(log.pool())
        .await
        .expect("an erasure");
    let reader = owner.colleague("Viewer").await;
    let path = format!("/api/v1/events/{event}");
    assert_eq!(reader.get(&path).await.expect(200).body["payload"], Value::Null);
    reader.get("/api/v1/events").await.expect(200);
    assert_eq!(accesses(&owner, &reader).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_webhook_secret_that_was_shown_is_a_fact() {
    let owner = User::owner(&Api::shared().await).await;
    let reader = owner.colleague("Developer").await;
    let path = format!("/api/v1/tenants/{}/webhook-secret", owner.tenant_id);
    reader.get(&path).await.expect(200);
    reader.get(&path).await.expect(200);
    owner.colleague("Viewer").await.get(&path).await.expect(403);
    settle(&owner).await;
    let facts = search(&owner, "Type=WebhookSecretRead", 10).await;
    assert_eq!(facts.len(), 1, "{facts:?}");
    assert_eq!(facts[0]["actor"]["id"], reader.id);
    assert_eq!(facts[0]["subject"]["id"], owner.tenant_id);
}

#[tokio::test]
async fn a_subject_has_the_facts_of_all_streams_about_it() {
    let owner = User::owner(&Api::shared().await).await;
    let (destination, _) = owner.destination().await;
    let reason = json!({ "reason": "Case 4711" });
    for held in [format!("destinations/{destination}"), format!("tenants/{}", owner.tenant_id)] {
        owner.post(&format!("/api/v1/{held}/legal-hold"), &reason).await.expect(200);
    }
    settle(&owner).await;
    for (kind, id) in [("Destination", &destination), ("Tenant", &owner.tenant_id)] {
        let about = search(&owner, &format!("Subject={kind}/{id}"), 10).await;
        assert_eq!(types(&about)[0], "LegalHoldPlaced");
        assert_eq!(about[0]["subject"], json!({ "kind": kind, "id": id }));
        assert_eq!(about[0]["details"], reason);
        assert!(about.len() > 1);
    }
}
