//! Tenants and their webhook secrets.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::api::{Answer, Api, PASSWORD, login, send, unique};
use crate::harness::tenant::User;

fn new_tenant() -> Value {
    let name = unique("tenant");
    json!({ "name": name, "ownerEmail": format!("{name}@example.com"), "ownerPassword": PASSWORD })
}

async fn register(api: &Api, body: &Value) -> Answer {
    send(api.request("POST", "/api/v1/tenants").json(body)).await
}

#[tokio::test]
async fn a_tenant_is_registered_with_its_owner() {
    let api = Api::shared().await;
    let mut body = new_tenant();
    body["maxTrys"] = 3.into();
    body["circuitBreakerTimer"] = "60".into();
    let tenant = register(&api, &body).await.expect(201);
    assert_eq!(tenant.body["tenantName"], body["name"]);
    assert_eq!((&tenant.body["maxTrys"], &tenant.body["circuitBreakerTimer"]), (&json!(3), &json!(60)));
    assert_eq!(tenant.body["ownerRole"], "Owner");
    assert_eq!(tenant.body["ownerEmail"], body["ownerEmail"]);
    assert_eq!(tenant.body.as_object().unwrap().len(), 10);
    let secret = tenant.text_of("webhookSecret");
    assert!(secret.strip_prefix("whsec_").is_some_and(|hex| hex.len() == 32));
    assert_eq!(tenant.header("location"), format!("/api/v1/tenants/{}", tenant.text_of("tenantId")));
    login(&api, body["ownerEmail"].as_str().unwrap(), PASSWORD).await.expect(200);
}

#[tokio::test]
async fn older_clients_call_the_owner_admin() {
    let api = Api::shared().await;
    let name = unique("tenant");
    let email = format!("  {}@Example.COM ", name.to_uppercase());
    let body =
        json!({ "NAME": name, "adminEmail": email, "adminPassword": PASSWORD, "deviceFingerprint": 7 });
    let tenant = register(&api, &body).await.expect(201);
    assert_eq!(tenant.body["ownerEmail"], format!("{name}@example.com"));
    assert_eq!((&tenant.body["maxTrys"], &tenant.body["circuitBreakerTimer"]), (&json!(10), &json!(300)));
}

#[tokio::test]
async fn names_and_emails_are_unique_on_the_platform() {
    let api = Api::shared().await;
    let first = new_tenant();
    register(&api, &first).await.expect(201);
    let mut same_name = new_tenant();
    same_name["name"] = first["name"].clone();
    assert_eq!(register(&api, &same_name).await.expect(409).problem(), "name-taken");
    let mut same_email = new_tenant();
    same_email["ownerEmail"] = first["ownerEmail"].as_str().unwrap().to_uppercase().into();
    assert_eq!(register(&api, &same_email).await.expect(409).problem(), "email-taken");
    // Names are compared exactly, and what was refused claims nothing.
    let mut other_case = new_tenant();
    other_case["name"] = first["name"].as_str().unwrap().to_uppercase().into();
    other_case["ownerEmail"] = same_name["ownerEmail"].clone();
    register(&api, &other_case).await.expect(201);
}

#[tokio::test]
async fn of_many_who_want_a_name_at_once_one_gets_it() {
    let name = unique("tenant");
    let answers = join_all((0..6).map(async |_| {
        let mut body = new_tenant();
        body["name"] = name.clone().into();
        register(&Api::shared().await, &body).await
    }))
    .await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn an_address_creates_so_many_tenants_an_hour() {
    let api = Api::shared().await;
    for _ in 0..20 {
        register(&api, &json!({})).await.expect(400);
    }
    register(&api, &new_tenant()).await.expect(429);
    register(&api.with_new_address(), &new_tenant()).await.expect(201);
}

#[tokio::test]
async fn a_tenant_is_shown_and_changed() {
    let owner = User::owner(&Api::shared().await).await;
    let path = format!("/api/v1/tenants/{}", owner.tenant_id);
    let before = owner.get(&path).await.expect(200);
    assert_eq!(before.body.as_object().unwrap().len(), 9);
    assert_eq!(before.body["legalHold"], Value::Null);
    assert!(!before.text.contains("whsec_"));
    let name = unique("renamed");
    let after = owner.patch(&path, &json!({ "name": format!(" {name} "), "maxTrys": 4 })).await.expect(200);
    assert_eq!(after.body["name"], name);
    assert_eq!((&after.body["maxTrys"], &after.body["circuitBreakerTimer"]), (&json!(4), &json!(300)));
    assert_eq!(after.body["createdAt"], before.body["createdAt"]);
    assert_eq!(owner.get(&path).await.expect(200).body, after.body);
    // The same name again changes nothing.
    assert_eq!(owner.patch(&path, &json!({ "name": name })).await.expect(200).body, after.body);
    assert_eq!(owner.patch(&path, &json!({})).await.expect(200).body, after.body);
}

#[tokio::test]
async fn a_rename_takes_the_new_name_and_frees_the_old_one() {
    let (ours, theirs) = (User::owner(&Api::shared().await).await, User::owner(&Api::shared().await).await);
    let (our_path, their_path) =
        (format!("/api/v1/tenants/{}", ours.tenant_id), format!("/api/v1/tenants/{}", theirs.tenant_id));
    let old = ours.get(&our_path).await.expect(200).text_of("name");
    let refused = theirs.patch(&their_path, &json!({ "name": old, "maxTrys": 2 })).await.expect(409);
    assert_eq!(refused.problem(), "name-taken");
    assert_eq!(theirs.get(&their_path).await.expect(200).body["maxTrys"], 10, "all or nothing");
    ours.patch(&our_path, &json!({ "name": unique("renamed") })).await.expect(200);
    theirs.patch(&their_path, &json!({ "name": old })).await.expect(200);
}

#[tokio::test]
async fn an_unknown_tenant_is_not_found_and_a_foreign_one_is_refused() {
    let (ours, theirs) = (User::owner(&Api::shared().await).await, User::owner(&Api::shared().await).await);
    let unknown = "/api/v1/tenants/7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a";
    let foreign = format!("/api/v1/tenants/{}", theirs.tenant_id);
    for (path, status) in [(unknown, 404), (foreign.as_str(), 403)] {
        ours.get(path).await.expect(status);
        ours.patch(path, &json!({ "maxTrys": 1 })).await.expect(status);
        let secret = format!("{path}/webhook-secret");
        ours.get(&secret).await.expect(status);
        ours.call(&secret).await.expect(status);
        let signed = json!({ "payload": "", "signature": "" });
        ours.post(&format!("{secret}/verify"), &signed).await.expect(status);
    }
}

#[tokio::test]
async fn the_webhook_secret_is_shown_and_replaced() {
    let owner = User::owner(&Api::shared().await).await;
    let path = format!("/api/v1/tenants/{}/webhook-secret", owner.tenant_id);
    let first = owner.get(&path).await.expect(200).text_of("webhookSecret");
    let second = owner.call(&path).await.expect(200).text_of("webhookSecret");
    assert!(second.starts_with("whsec_") && first != second);
    assert_eq!(owner.get(&path).await.expect(200).text_of("webhookSecret"), second);
    let developer = owner.colleague("Developer").await;
    assert_eq!(developer.get(&path).await.expect(200).text_of("webhookSecret"), second);
}

#[tokio::test]
async fn a_webhook_secret_is_replaced_with_an_overlap() {
    let owner = User::owner(&Api::shared().await).await;
    let path = format!("/api/v1/tenants/{}/webhook-secret", owner.tenant_id);
    let at_once = owner.post(&path, &json!({})).await.expect(200).body;
    assert!(at_once.get("previousSignsUntil").is_none(), "{at_once}");
    let overlapping = owner.post(&path, &json!({ "overlapSeconds": 60 })).await.expect(200).body;
    assert!(overlapping["previousSignsUntil"].is_string(), "{overlapping}");
    let shown = owner.get(&path).await.expect(200).text_of("webhookSecret");
    assert_eq!(overlapping["webhookSecret"], shown);
    for wrong in [json!(0), json!(-1), json!(30 * 86_400 + 1), json!("a day"), json!(1.5)] {
        let refused = owner.post(&path, &json!({ "overlapSeconds": wrong })).await.expect(400);
        assert_eq!(
            refused.body["errors"],
            json!({ "overlapSeconds": ["must be a whole number from 1 to 2592000"] })
        );
    }
    assert_eq!(owner.get(&path).await.expect(200).text_of("webhookSecret"), shown, "nothing half done");
}

#[tokio::test]
async fn a_signature_is_judged() {
    let owner = User::owner(&Api::shared().await).await;
    let path = format!("/api/v1/tenants/{}/webhook-secret", owner.tenant_id);
    let secret = owner.get(&path).await.expect(200).text_of("webhookSecret").into();
    let payload = "{\"a\": \"é\\n\"}";
    let good = hooksentry::worker::signature::sign(&secret, payload.as_bytes());
    let verify = async |payload: &str, signature: &str| {
        let body = json!({ "payload": payload, "signature": signature });
        owner.post(&format!("{path}/verify"), &body).await.expect(200).body["valid"].clone()
    };
    assert_eq!(verify(payload, &good).await, true);
    for (payload, signature) in [
        ("{}", good.as_str()),
        (payload, &good.to_uppercase()),
        (payload, &good["sha256=".len()..]),
        (payload, ""),
        (payload, "sha256="),
        ("", &good),
    ] {
        assert_eq!(verify(payload, signature).await, false, "{signature}");
    }
    let time = chrono::DateTime::from_timestamp_secs(1_750_000_000).expect("a time");
    let secrets = hooksentry::worker::signature::SigningSecrets::from(secret);
    let standard = hooksentry::worker::signature::sign_standard(&secrets, "7", time, payload.as_bytes());
    let verify_standard = async |id: &str, timestamp: &str, signature: &str| {
        let body = json!({ "payload": payload, "signature": signature, "webhookId": id, "webhookTimestamp": timestamp });
        owner.post(&format!("{path}/verify"), &body).await.expect(200).body["valid"].clone()
    };
    assert_eq!(verify_standard("7", "1750000000", &standard).await, true, "however old it is");
    for (id, timestamp, signature) in [
        ("8", "1750000000", standard.as_str()),
        ("7", "1750000001", &standard),
        ("7", "then", &standard),
        ("7", "1750000000", "v1,"),
        ("7", "1750000000", &good),
    ] {
        assert_eq!(verify_standard(id, timestamp, signature).await, false, "{id} {timestamp} {signature}");
    }
    owner.call(&path).await.expect(200);
    assert_eq!(verify(payload, &good).await, false, "the old secret is dead");
}
