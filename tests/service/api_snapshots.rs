//! Snapshots of the OpenAPI document and of the main resources, so that a change of either is visible in review.
//!
//! After an intended change: `INSTA_UPDATE=always make test ONLY=api_snapshots`.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::api::{Api, unique};
use crate::harness::events::accept;
use crate::harness::tenant::User;

/// Replaces values that differ in each run by their kind.
fn redacted(value: Value) -> Value {
    match value {
        Value::Object(object) => object.into_iter().map(|(name, value)| (name, redacted(value))).collect(),
        Value::Array(items) => items.into_iter().map(redacted).collect(),
        Value::String(text) => kind_of(&text).map_or(json!(text), Value::from),
        other => other,
    }
}

fn kind_of(text: &str) -> Option<&'static str> {
    let has_token_prefix =
        || ["dst_", "sndr_", "hks_", "inv_", "whsec_"].into_iter().find(|prefix| text.starts_with(prefix));
    match text {
        _ if Uuid::try_parse(text).is_ok() => Some("[id]"),
        _ if text.parse::<chrono::DateTime<chrono::Utc>>().is_ok() => Some("[time]"),
        _ if text.ends_with("@example.com") => Some("[email]"),
        _ => has_token_prefix().map(|_| "[token]"),
    }
}

#[test]
fn the_openapi_document() {
    let mut document = hooksentry::api::openapi();
    document["info"]["version"] = json!("[version]");
    insta::assert_json_snapshot!(document);
}

#[tokio::test]
async fn the_main_resources() {
    let owner = User::owner(&Api::shared().await).await;
    let post = async |path: &str, body: Value| owner.post(path, &body).await.expect(201).body;
    let get = async |path: String| owner.get(&path).await.expect(200).body;
    let user = json!({ "email": format!("{}@example.com", unique("user")), "password": "x" });
    let destination = json!({ "url": "https://receiver.example.com/hooks",
        "authType": "BearerToken", "credentials": { "token": "t" } });
    let destination = post("/api/v1/destinations", destination).await;
    let destination_path = format!("/api/v1/destinations/{}", destination["id"].as_str().unwrap());
    let key = post("/api/v1/apikeys", json!({ "name": "Production Key" })).await;
    let token = destination["ingestToken"].as_str().unwrap();
    let event = accept(&owner, key["key"].as_str().unwrap(), token).await;
    let mut tenant = get(format!("/api/v1/tenants/{}", owner.tenant_id)).await;
    tenant["name"] = json!("[name]");
    let resources = json!({
        "tenant": tenant,
        "user": post("/api/v1/users", user).await,
        "invite": post("/api/v1/invites", json!({ "role": "Viewer" })).await,
        "issued API key": key,
        "API keys": get("/api/v1/apikeys".to_owned()).await,
        "registered destination": destination,
        "destination": get(destination_path.clone()).await,
        "registered sender": post(&format!("{destination_path}/senders"), json!({ "label": "GitHub" })).await,
        "senders": get(format!("{destination_path}/senders")).await,
        "event": get(format!("/api/v1/events/{event}")).await,
        "problem": owner.post("/api/v1/destinations", &json!({ "serverRateLimit": 0 })).await.expect(400).body,
    });
    insta::assert_json_snapshot!(redacted(resources));
}
