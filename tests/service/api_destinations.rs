//! Destinations, their senders, and the mappings of those.

use aggregates::attempt_outcome::Outcome;
use serde_json::{Value, json};

use crate::harness::api::Api;
use crate::harness::events::{accept, attempt};
use crate::harness::tenant::User;
use crate::harness::until;

const URL: &str = "https://receiver.example.com/hooks";

#[tokio::test]
async fn a_destination_is_registered_shown_and_listed() {
    let owner = User::owner(&Api::shared().await).await;
    let made = owner.post("/api/v1/destinations", &json!({ "url": URL })).await.expect(201);
    assert_eq!((&made.body["url"], &made.body["status"]), (&json!(URL), &json!("Active")));
    assert_eq!((&made.body["serverRateLimit"], &made.body["authType"]), (&json!(5), &Value::Null));
    assert!(made.text_of("ingestToken").strip_prefix("dst_").is_some_and(|hex| hex.len() == 32));
    let path = made.header("location").to_owned();
    let shown = owner.get(&path).await.expect(200);
    let mut expected = made.body.clone();
    expected.as_object_mut().unwrap().remove("ingestToken");
    assert_eq!(shown.body, expected);
    let list = owner.get("/api/v1/destinations").await.expect(200);
    assert_eq!(list.body, json!({ "total": 1, "items": [expected] }));
    owner.patch(&path, &json!({ "status": "INACTIVE" })).await.expect(200);
    for (query, total) in [("Status=Active", 0), ("status=inactive", 1), ("Status=Suspended", 0)] {
        let list = owner.get(&format!("/api/v1/destinations?{query}")).await.expect(200);
        assert_eq!(list.body["total"], total, "{query}");
    }
    for query in ["Status=Gone", "CpOrd=credentialsEncrypted", "CpOrd=ingestTokenHash"] {
        owner.get(&format!("/api/v1/destinations?{query}")).await.expect(400);
    }
}

#[tokio::test]
async fn credentials_are_taken_for_each_type_and_never_shown() {
    let owner = User::owner(&Api::shared().await).await;
    for (auth_type, credentials) in [
        ("ApiKey", json!({ "headerName": "X-Key", "value": "very secret" })),
        ("bearertoken", json!({ "token": "very secret" })),
        (
            "JWTBEARER",
            json!({ "tokenEndpoint": "https://auth.example.com/token", "clientId": "c",
            "clientSecret": "very secret", "scope": null }),
        ),
        ("BasicAuth", json!({ "username": "u", "password": "very secret" })),
    ] {
        let body = json!({ "url": URL, "authType": auth_type, "credentials": credentials });
        let made = owner.post("/api/v1/destinations", &body).await.expect(201);
        assert!(made.text_of("authType").eq_ignore_ascii_case(auth_type));
        assert!(!made.text.contains("very secret"));
        let shown = owner.get(made.header("location")).await.expect(200);
        assert!(!shown.text.contains("very secret") && !shown.text.contains("credentials"));
    }
}

#[tokio::test]
async fn credentials_and_their_type_come_together() {
    let owner = User::owner(&Api::shared().await).await;
    let token = json!({ "token": "t" });
    for (body, wrong) in [
        (json!({ "credentials": token }), vec!["authType"]),
        (json!({ "authType": "BearerToken" }), vec!["credentials"]),
        (json!({ "authType": "Magic", "credentials": token }), vec!["authType"]),
        (json!({ "authType": "1", "credentials": token }), vec!["authType"]),
        (json!({ "authType": 1, "credentials": token }), vec!["authType"]),
        (json!({ "authType": "BearerToken", "credentials": ["t"] }), vec!["credentials"]),
        (json!({ "authType": "BearerToken", "credentials": {} }), vec!["credentials.token"]),
        (
            json!({ "authType": "BasicAuth", "credentials": { "username": "a:b", "password": "" } }),
            vec!["credentials.password", "credentials.username"],
        ),
        (
            json!({ "authType": "ApiKey", "credentials": { "headerName": "Host", "value": "v" } }),
            vec!["credentials.headerName"],
        ),
    ] {
        let mut whole = body.clone();
        whole["url"] = URL.into();
        assert_eq!(owner.post("/api/v1/destinations", &whole).await.expect(400).wrong(), wrong, "{body}");
        let (id, _) = owner.destination().await;
        let path = format!("/api/v1/destinations/{id}");
        assert_eq!(owner.patch(&path, &body).await.expect(400).wrong(), wrong, "{body}");
    }
}

#[tokio::test]
async fn only_public_https_urls_are_taken() {
    let owner = User::owner(&Api::shared().await).await;
    for url in [
        "http://example.com",
        "ftp://example.com",
        "example.com",
        "https://",
        "https://127.0.0.1/x",
        "https://[::1]/",
        "https://10.1.2.3",
        "https://169.254.169.254/",
        "https://localhost/",
        "https://2130706433/",
        "https://HOOKS.example.com/api/v1/ingest/tenant/token",
        "https://user:password@example.com/",
        "https://a b.example.com/",
        " https://example.com",
    ] {
        let refused = owner.post("/api/v1/destinations", &json!({ "url": url })).await.expect(400);
        assert_eq!(refused.wrong(), ["url"], "{url}");
    }
}

#[tokio::test]
async fn a_destination_is_changed_all_or_nothing() {
    let owner = User::owner(&Api::shared().await).await;
    let (id, _) = owner.destination().await;
    let path = format!("/api/v1/destinations/{id}");
    let before = owner.get(&path).await.expect(200).body;
    assert_eq!(owner.patch(&path, &json!({})).await.expect(200).body, before);
    let refused =
        owner.patch(&path, &json!({ "url": "https://new.example.com", "serverRateLimit": 0 })).await;
    assert_eq!(refused.expect(400).wrong(), ["serverRateLimit"]);
    assert_eq!(owner.get(&path).await.expect(200).body, before);
    let change = json!({ "url": "https://new.example.com", "serverRateLimit": "7", "status": "inactive",
        "authType": "BearerToken", "credentials": { "token": "t" } });
    let after = owner.patch(&path, &change).await.expect(200).body;
    assert_eq!((&after["url"], &after["serverRateLimit"]), (&json!("https://new.example.com"), &json!(7)));
    assert_eq!((&after["status"], &after["authType"]), (&json!("Inactive"), &json!("BearerToken")));
    assert!(after["updatedAt"].as_str() > before["updatedAt"].as_str());
    assert_eq!(owner.get(&path).await.expect(200).body, after);
    // What is removed is removed, even if the request also sets it.
    let removal = json!({ "removeAuth": true, "authType": "Nonsense", "credentials": 7, "status": "Active" });
    let removed = owner.patch(&path, &removal).await.expect(200).body;
    assert_eq!((&removed["authType"], &removed["status"]), (&Value::Null, &json!("Active")));
    for status in ["suspended", "Suspended", "gone", ""] {
        assert_eq!(owner.patch(&path, &json!({ "status": status })).await.expect(400).wrong(), ["status"]);
    }
}

#[tokio::test]
async fn a_new_ingest_token_kills_the_old_one() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (id, old)) = (owner.api_key().await, owner.destination().await);
    let ingest = async |token: &str| crate::harness::api::send(owner.ingest(&key, token, "{}")).await;
    ingest(&old).await.expect(202);
    let new = owner.call(&format!("/api/v1/destinations/{id}/ingest-token")).await.expect(200);
    assert_eq!(new.body.as_object().unwrap().len(), 1);
    ingest(&old).await.expect(404);
    ingest(&new.text_of("ingestToken")).await.expect(202);
    let (sender, old) = owner.sender(&id).await;
    ingest(&old).await.expect(202);
    let new = owner.call(&format!("/api/v1/senders/{sender}/ingest-token")).await.expect(200);
    assert!(new.text_of("ingestToken").starts_with("sndr_"));
    ingest(&old).await.expect(404);
    ingest(&new.text_of("ingestToken")).await.expect(202);
    owner.delete(&format!("/api/v1/senders/{sender}")).await.expect(204);
    ingest(&new.text_of("ingestToken")).await.expect(404);
}

#[tokio::test]
async fn a_sender_is_registered_shown_listed_and_deleted() {
    let owner = User::owner(&Api::shared().await).await;
    let (id, _) = owner.destination().await;
    let senders = format!("/api/v1/destinations/{id}/senders");
    let made = owner.post(&senders, &json!({ "label": "GitHub" })).await.expect(201);
    assert!(made.text_of("ingestToken").starts_with("sndr_"));
    let path = made.header("location").to_owned();
    let shown = owner.get(&path).await.expect(200);
    let mut expected = made.body.clone();
    expected.as_object_mut().unwrap().remove("ingestToken");
    assert_eq!(shown.body, expected);
    assert_eq!((&shown.body["destinationId"], &shown.body["hasMapping"]), (&json!(id), &json!(false)));
    let unlabelled = owner.post(&senders, &json!({ "label": null })).await.expect(201);
    assert_eq!(unlabelled.body["label"], Value::Null);
    let list = owner.get(&format!("{senders}?CpOrd=createdAt&TpOrd=Asc&Qt=1")).await.expect(200);
    assert_eq!(list.body, json!({ "total": 2, "items": [expected] }));
    owner.get(&format!("{senders}?CpOrd=mapping")).await.expect(400);
    owner.delete(&path).await.expect(204);
    owner.delete(&path).await.expect(404);
    owner.get(&path).await.expect(404);
    assert_eq!(owner.get(&senders).await.expect(200).body["total"], 1);
}

#[tokio::test]
async fn a_destination_has_a_limited_number_of_senders() {
    let owner = User::owner(&Api::shared().await).await;
    let (id, _) = owner.destination().await;
    sqlx::query(
        "INSERT INTO senders (id, tenant_id, destination_id, created_at, updated_at, version)
         SELECT gen_random_uuid(), $1::text::uuid, $2::text::uuid, now(), now(), 1 FROM generate_series(1, 999)",
    )
    .bind(&owner.tenant_id)
    .bind(&id)
    .execute(owner.api.log().await.pool())
    .await
    .unwrap();
    let senders = format!("/api/v1/destinations/{id}/senders");
    let last = owner.post(&senders, &json!({})).await.expect(201).text_of("id");
    assert_eq!(owner.post(&senders, &json!({})).await.expect(400).problem(), "too-many-senders");
    owner.delete(&format!("/api/v1/senders/{last}")).await.expect(204);
    owner.post(&senders, &json!({})).await.expect(201);
}

#[tokio::test]
async fn a_mapping_is_set_once_shown_as_given_replaced_and_removed() {
    let owner = User::owner(&Api::shared().await).await;
    let (destination, _) = owner.destination().await;
    let (id, _) = owner.sender(&destination).await;
    let path = format!("/api/v1/senders/{id}/mapping");
    owner.get(&path).await.expect(404);
    owner.delete(&path).await.expect(204);
    let text = r#"{"zulu":"id","alpha":["a","b+c"],"mike":"user:name"}"#;
    let give = async |method: &str, text: &'static str| {
        let request = owner.request(method, &path).header("content-type", "application/json").body(text);
        crate::harness::api::send(request).await
    };
    let set = async |text: &'static str| give("POST", text).await;
    let answer = format!("{{\"mapping\":{text}}}");
    assert_eq!(set(text).await.expect(200).text, answer);
    assert_eq!(owner.get(&path).await.expect(200).text, answer, "keys in the order given");
    assert_eq!(owner.get(&format!("/api/v1/senders/{id}")).await.expect(200).body["hasMapping"], true);
    assert_eq!(set("{}").await.expect(400).problem(), "mapping-already-set");
    let other = r#"{"yankee":"id","alpha":"b"}"#;
    assert_eq!(give("PUT", other).await.expect(200).text, format!("{{\"mapping\":{other}}}"));
    assert_eq!(give("PUT", r#"{"k":5}"#).await.expect(400).wrong(), ["k"]);
    assert_eq!(owner.get(&path).await.expect(200).text, format!("{{\"mapping\":{other}}}"));
    owner.delete(&path).await.expect(204);
    give("PUT", "{}").await.expect(200);
    owner.delete(&path).await.expect(204);
    for (bad, wrong) in [
        (r#"{"k":5}"#, "k"),
        (r#"{"k":null}"#, "k"),
        (r#"{"k":{"a":"b"}}"#, "k"),
        (r#"{"k":["a",1]}"#, "k"),
        (r#"{"k":"a[0"}"#, "k"),
        (r#"{"k":"a[x]"}"#, "k"),
        (r#"["a"]"#, "mapping"),
        (r#""a""#, "mapping"),
        ("{", "mapping"),
    ] {
        assert_eq!(set(bad).await.expect(400).wrong(), [wrong], "{bad}");
    }
    set("{}").await.expect(200);
}

#[tokio::test]
async fn a_preview_shows_what_would_be_delivered() {
    let owner = User::owner(&Api::shared().await).await;
    let (destination, _) = owner.destination().await;
    let (id, _) = owner.sender(&destination).await;
    let path = format!("/api/v1/senders/{id}/mapping/preview");
    let preview = async |text: &str| {
        let request = owner.request("POST", &path).header("content-type", "application/json");
        crate::harness::api::send(request.body(text.to_owned())).await
    };
    let raw = preview(r#"{"payload": {"b": 1.50, "a": 2}}"#).await.expect(200);
    assert!(raw.text.contains(r#""delivered":{"b": 1.50, "a": 2}"#), "{}", raw.text);
    assert_eq!((&raw.body["mapped"], &raw.body["failure"]), (&json!(false), &Value::Null));
    owner.post(&format!("/api/v1/senders/{id}/mapping"), &json!({ "n": "a", "m": "none" })).await.expect(200);
    let own = preview(r#"{"payload": {"b": 1.50, "a": 1e2}}"#).await.expect(200);
    assert!(own.text.contains(r#""delivered":{"n":1e2}"#), "{}", own.text);
    assert_eq!((&own.body["mapped"], &own.body["missing"]), (&json!(true), &json!(["m"])));
    let tried = preview(r#"{"Mapping": {"k": "b"}, "PAYLOAD": {"b": 1.50}}"#).await.expect(200);
    assert!(tried.text.contains(r#""delivered":{"k":1.50}"#), "{}", tried.text);
    for (bad, wrong) in
        [("{}", "payload"), (r#"{"payload":[1]}"#, "payload"), (r#"{"payload":{},"mapping":{"k":1}}"#, "k")]
    {
        assert_eq!(preview(bad).await.expect(400).wrong(), [wrong], "{bad}");
    }
}

#[tokio::test]
async fn destinations_are_listed_with_their_statistics() {
    let owner = User::owner(&Api::shared().await).await;
    let (key, (busy, token)) = (owner.api_key().await, owner.destination().await);
    let (idle, _) = owner.destination().await;
    let event = accept(&owner, &key, &token).await;
    attempt(&owner, &event, Outcome::Timeout, 1).await;
    let path = "/api/v1/stats/destinations";
    let body = until("the statistics", async || {
        let body = owner.get(path).await.expect(200).body;
        let item = body["items"].as_array()?.iter().find(|item| item["destinationId"] == busy)?.clone();
        (item["points"][0]["criticalFailures"] == 1).then_some(body)
    })
    .await;
    assert_eq!(body["total"], 2);
    let of =
        |id: &str| body["items"].as_array().unwrap().iter().find(|item| item["destinationId"] == id).unwrap();
    let point = &of(&busy)["points"][0];
    assert_eq!(
        (&point["accepted"], &point["succeeded"], &point["failedAttempts"]),
        (&json!(1), &json!(0), &json!(1))
    );
    assert_eq!(of(&idle)["points"], json!([]));
    let list = owner.get("/api/v1/destinations").await.expect(200).body;
    let ids = |body: &Value, name: &str| -> Vec<Value> {
        body["items"].as_array().unwrap().iter().map(|item| item[name].clone()).collect()
    };
    assert_eq!(ids(&body, "destinationId"), ids(&list, "id"), "the pages of both lists are the same");
    let page = owner.get(&format!("{path}?Qt=1&TpOrd=asc&Status=Active")).await.expect(200).body;
    assert_eq!((&page["total"], ids(&page, "destinationId").len()), (&json!(2), 1));
    assert_eq!(owner.get(&format!("{path}?Status=Inactive")).await.expect(200).body["total"], 0);
    assert_eq!(owner.get(&format!("{path}?From=2020-01-01")).await.expect(400).wrong(), ["From"]);
    let past = owner.get(&format!("{path}?To=2020-01-01")).await.expect(200).body;
    assert!(past["items"].as_array().unwrap().iter().all(|item| item["points"] == json!([])), "{past}");
    let stranger = User::owner(&owner.api).await;
    assert_eq!(stranger.get(path).await.expect(200).body["items"], json!([]));
}
