//! What the trail shows, and by what it is searched.

use std::collections::BTreeSet;

use aggregates::attempt_outcome::Outcome;
use hooksentry::audit_trail::catalogue::FACT_TYPES;
use serde_json::{Value, json};

use super::{page, search, types};
use crate::harness::api::{Api, PASSWORD, login};
use crate::harness::events::{accept, attempt};
use crate::harness::postgres::TestDatabase;
use crate::harness::tenant::User;

async fn owner() -> User {
    User::owner(&Api::shared().await).await
}

/// Returns the only fact of this type.
async fn only(user: &User, name: &str) -> Value {
    let found = search(user, &format!("Type={name}"), 10).await;
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[tokio::test]
async fn the_database_and_the_catalogue_agree_on_what_is_of_deliveries() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    for fact in FACT_TYPES {
        let of_delivery: bool = sqlx::query_scalar("SELECT fact_is_of_delivery($1)")
            .bind(fact.name)
            .fetch_one(&pool)
            .await
            .expect("an answer");
        assert_eq!(of_delivery, fact.of_delivery, "{}", fact.name);
    }
    pool.close().await;
    database.discard().await;
}

#[tokio::test]
async fn a_fact_names_who_did_what_to_which_subject_and_what_it_changed() {
    let owner = owner().await;
    let colleague = owner.colleague("Developer").await;
    let path = format!("/api/v1/users/{}", colleague.id);
    let request =
        owner.request("PATCH", &path).header("X-Request-Id", "my-request").header("User-Agent", "my-agent");
    crate::harness::api::send(request.json(&json!({ "role": "Admin" }))).await.expect(200);
    let fact = only(&owner, "RoleChanged").await;
    assert_eq!(fact["action"], "The role of a user was changed.");
    assert_eq!(fact["actor"], json!({ "kind": "user", "id": owner.id, "name": owner.email }));
    assert_eq!(fact["subject"], json!({ "kind": "User", "id": colleague.id }));
    assert_eq!(fact["fact"], format!("User/{}/2", colleague.id));
    assert_eq!(fact["changes"], json!([{ "setting": "role", "before": "Developer", "after": "Admin" }]));
    assert_eq!(fact["requestId"], "my-request");
    assert_eq!(fact["origin"]["userAgent"], "my-agent");
    assert!(fact["origin"]["address"].as_str().is_some_and(|address| address.starts_with("11.")), "{fact}");
    assert_eq!(fact["details"], json!({}));
}

#[tokio::test]
async fn a_change_shows_the_value_of_the_last_fact_before_it_and_no_later_one() {
    let owner = owner().await;
    let (destination, _) = owner.destination().await;
    let path = format!("/api/v1/destinations/{destination}");
    for url in ["https://a.example.com/", "https://b.example.com/"] {
        owner.patch(&path, &json!({ "url": url })).await.expect(200);
        owner.patch(&path, &json!({ "status": "Inactive" })).await.expect(200);
    }
    let before_and_after = |facts: Vec<Value>| -> Vec<(Value, Value)> {
        facts
            .iter()
            .map(|fact| &fact["changes"][0])
            .map(|c| (c["before"].clone(), c["after"].clone()))
            .collect()
    };
    let changes = search(&owner, "Type=DestinationUrlChanged&TpOrd=Asc", 10).await;
    let [first, a, b] =
        ["https://receiver.example.com/hooks", "https://a.example.com/", "https://b.example.com/"]
            .map(Value::from);
    assert_eq!(before_and_after(changes), [(first, a.clone()), (a, b)]);

    let (sender, _) = owner.sender(&destination).await;
    let path = format!("/api/v1/senders/{sender}/mapping");
    owner.post(&path, &json!({ "id": "id" })).await.expect(200);
    owner.delete(&path).await.expect(204);
    let removed = search(&owner, "Type=MappingRemoved", 10).await;
    assert_eq!(before_and_after(removed), [(r#"{"id":"id"}"#.into(), Value::Null)]);
}

#[tokio::test]
async fn facts_are_found_by_actor_type_subject_and_time() {
    let owner = owner().await;
    let colleague = owner.colleague("Admin").await;
    let (destination, _) = colleague.destination().await;
    owner.post(&format!("/api/v1/destinations/{destination}/ingest-token"), &json!({})).await.expect(200);
    colleague.delete(&format!("/api/v1/queues/{destination}")).await.expect(204);

    let by_colleague = search(&owner, &format!("Actor=user:{}", colleague.id), 1).await;
    assert_eq!(types(&by_colleague), ["DestinationRegistered", "LoggedIn"]);
    let both = format!("Actor=user:{}&Type=LoggedIn", colleague.id);
    assert_eq!(types(&search(&owner, &both, 10).await), ["LoggedIn"]);
    let about = search(&owner, &format!("Subject=destination/{destination}&TpOrd=Asc"), 1).await;
    assert_eq!(types(&about), ["DestinationRegistered", "IngestTokenRegenerated"]);
    assert_eq!(about[1]["actor"]["id"], owner.id);

    let time = by_colleague[0]["time"].as_str().expect("a time");
    let until = search(&owner, &format!("To={time}"), 10).await;
    let since = search(&owner, &format!("From={time}"), 10).await;
    let all = search(&owner, "", 200).await;
    assert!(types(&since).contains(&"IngestTokenRegenerated"));
    assert!(!types(&until).contains(&"IngestTokenRegenerated"));
    assert!(until.len() + since.len() >= all.len());
    let nothing_of_hers = format!("Actor=user:{}&To=2000-01-01", owner.id);
    for filter in
        [&nothing_of_hers, "Actor=operator", "Type=TenantRenamed", "To=2000-01-01", "From=2990-01-01"]
    {
        assert_eq!(page(&owner, filter).await, json!({ "next": null, "items": [] }), "{filter}");
    }
}

#[tokio::test]
async fn pages_of_any_length_and_direction_show_every_fact_once() {
    let owner = owner().await;
    for name in ["a", "b", "c"] {
        owner.post("/api/v1/apikeys", &json!({ "name": name })).await.expect(201);
    }
    let actor = format!("Actor=user:{}", owner.id);
    for filter in ["", "Facts=all", "Type=ApiKeyIssued", &actor] {
        let whole = search(&owner, filter, 200).await;
        assert!(whole.len() >= 3);
        for items in [1, 2, 3, 4] {
            let cut = |facts: &[Value]| -> Vec<Value> {
                let without_cursor = |fact: &Value| {
                    let mut fact = fact.clone();
                    fact["cursor"].take();
                    fact
                };
                facts.iter().map(without_cursor).collect()
            };
            assert_eq!(cut(&search(&owner, filter, items).await), cut(&whole), "{filter} {items}");
            let mut oldest_first = search(&owner, &format!("{filter}&TpOrd=Asc"), items).await;
            oldest_first.reverse();
            assert_eq!(cut(&oldest_first), cut(&whole), "{filter} {items}");
        }
        // The cursor of a fact goes on behind it.
        let cursor = whole[0]["cursor"].as_str().expect("a cursor");
        assert_eq!(search(&owner, &format!("{filter}&After={cursor}"), 200).await, whole[1..]);
    }
}

#[tokio::test]
async fn facts_of_deliveries_are_shown_when_asked_for() {
    let owner = owner().await;
    let (key, (_, token)) = (owner.api_key().await, owner.destination().await);
    let event = accept(&owner, &key, &token).await;
    attempt(&owner, &event, Outcome::Timeout, 1).await;
    owner.call(&format!("/api/v1/events/{event}/replay")).await.expect(200);
    owner.call(&format!("/api/v1/events/{event}/cancel")).await.expect(200);

    let life = [
        "EventAccepted",
        "DeliveryStarted",
        "DeliveryAttempted",
        "CriticalFailure",
        "Replayed",
        "PayloadRead",
        "Cancelled",
    ];
    let of_event = search(&owner, &format!("Subject=WebhookEvent/{event}&TpOrd=Asc"), 2).await;
    assert_eq!(types(&of_event), life);
    let all = search(&owner, "Facts=all&TpOrd=Asc", 3).await;
    let lists = |facts: &[Value]| types(facts).into_iter().filter(|name| *name == "PayloadsListed").count();
    let without_lists: Vec<_> = types(&all).into_iter().filter(|name| *name != "PayloadsListed").collect();
    assert_eq!(without_lists[without_lists.len() - life.len()..], life);
    let administration = search(&owner, "", 200).await;
    assert_eq!(types(&administration)[..3], ["Cancelled", "PayloadRead", "Replayed"]);
    assert_eq!(administration.len() + 4, all.len());
    assert_eq!(lists(&administration), lists(&all));

    let attempted = search(&owner, "Facts=all&Type=DeliveryAttempted&Actor=role:worker", 5).await;
    assert_eq!(types(&attempted), ["DeliveryAttempted"]);
    assert_eq!(attempted[0]["actor"], json!({ "kind": "role", "id": "worker", "name": null }));
    assert_eq!(attempted[0]["origin"], Value::Null);
    assert_eq!(attempted[0]["details"]["attempt"], 1);
    assert_eq!(attempted[0]["details"]["outcome"], of_event[2]["details"]["outcome"]);
    let accepted = search(&owner, "Facts=all&Type=EventAccepted", 5).await;
    assert_eq!(accepted[0]["actor"]["kind"], "api-key");
    assert_eq!(accepted[0]["actor"]["name"], "tests");
}

#[tokio::test]
async fn logins_refused_logins_and_rotations_are_in_the_trail() {
    let owner = owner().await;
    login(&owner.api, &owner.email, "a wrong password").await.expect(401);
    let body = json!({ "refreshToken": owner.refresh_token });
    let other = User::login(&owner.api, &owner.id, &owner.tenant_id, &owner.email).await;
    owner.post("/api/v1/auth/logout", &body).await.expect(204);
    let path = format!("/api/v1/tenants/{}/webhook-secret", other.tenant_id);
    other.post(&path, &json!({})).await.expect(200);
    let refused = crate::harness::until("the refusal to be recorded", async || {
        search(&other, "Type=LoginRefused", 10).await.pop()
    })
    .await;
    assert_eq!(refused["actor"]["kind"], "anonymous");
    assert_eq!(refused["subject"]["id"], other.id);
    let facts = search(&other, "", 200).await;
    for name in ["LoggedIn", "LoggedOut", "WebhookSecretRegenerated", "TenantRegistered", "UserRegistered"] {
        assert!(types(&facts).contains(&name), "{name}: {:?}", types(&facts));
    }
}

#[tokio::test]
async fn a_tenant_sees_no_fact_of_another_one() {
    let (ours, theirs) = (owner().await, owner().await);
    let (destination, _) = theirs.destination().await;
    let their_facts = search(&theirs, "", 200).await;
    for query in [
        String::new(),
        "Facts=all".to_owned(),
        "Type=DestinationRegistered".to_owned(),
        format!("Actor=user:{}", theirs.id),
        format!("Facts=all&Actor=user:{}", theirs.id),
        format!("Subject=Destination/{destination}"),
        format!("Subject=Tenant/{}", theirs.tenant_id),
    ] {
        let facts = search(&ours, &query, 200).await;
        let text = Value::from(facts).to_string();
        for id in [&theirs.tenant_id, &theirs.id, &destination] {
            assert!(!text.contains(id), "{query}: {text}");
        }
    }
    let cursor = their_facts[0]["cursor"].as_str().expect("a cursor");
    let answer = ours.get(&format!("/api/v1/audit?After={cursor}")).await.expect(400);
    assert_eq!(answer.wrong(), ["After"]);
}

/// Collects the texts of fields whose names say that they are hashes or encrypted.
fn secrets(name: &str, value: &Value, found: &mut BTreeSet<String>) {
    let is_secret = ["hash", "hashes", "ciphertext", "hmac", "codes", "password", "salt"];
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| secrets(name, value, found)),
        Value::Array(values) => values.iter().for_each(|value| secrets(name, value, found)),
        Value::String(text) if is_secret.iter().any(|secret| name.to_lowercase().contains(secret)) => {
            found.insert(text.clone());
        }
        _ => {}
    }
}

#[tokio::test]
async fn no_secret_and_no_hash_of_the_log_is_in_the_trail() {
    let owner = owner().await;
    let (key, (destination, token)) = (owner.api_key().await, owner.destination().await);
    owner.sender(&destination).await;
    owner.post("/api/v1/invites", &json!({})).await.expect(201);
    owner.post("/api/v1/second-factor", &json!({ "currentPassword": PASSWORD })).await.expect(200);
    let auth = json!({ "authType": "BearerToken", "credentials": { "token": "a-very-secret-token" } });
    owner.patch(&format!("/api/v1/destinations/{destination}"), &auth).await.expect(200);
    accept(&owner, &key, &token).await;
    let path = format!("/api/v1/users/{}", owner.id);
    owner.patch(&path, &json!({ "password": "another password of the tests" })).await.expect(200);
    let owner = {
        let body = json!({ "email": owner.email, "password": "another password of the tests" });
        let tokens =
            crate::harness::api::send(owner.api.request("POST", "/api/v1/auth/login").json(&body)).await;
        User { token: tokens.expect(200).text_of("accessToken"), ..owner }
    };

    let log = owner.api.log().await;
    let facts: Vec<String> =
        sqlx::query_scalar("SELECT payload::text FROM events WHERE tenant_id::text = $1")
            .bind(&owner.tenant_id)
            .fetch_all(log.pool())
            .await
            .expect("facts");
    let mut hidden = BTreeSet::new();
    for fact in &facts {
        secrets("", &serde_json::from_str(fact).expect("JSON"), &mut hidden);
    }
    assert!(hidden.len() >= 8, "{hidden:?}");
    let trail = Value::from(search(&owner, "Facts=all", 200).await).to_string();
    assert!(trail.contains("OutboundAuthConfigured") && trail.contains("SecondFactorBegun"));
    for secret in hidden {
        assert!(!trail.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_search_is_named() {
    let owner = owner().await;
    for (query, wrong) in [
        ("From=yesterday&To=never", vec!["From", "To"]),
        ("From=2026-02-01&To=2026-01-01", vec!["To"]),
        ("Type=NoSuchFact", vec!["Type"]),
        ("Type=EventAccepted", vec!["Type"]),
        ("Actor=user:x", vec!["Actor"]),
        ("Actor=somebody-else", vec!["Actor"]), // words: keep
        ("Actor=role:", vec!["Actor"]),
        ("Subject=User", vec!["Subject"]),
        ("Subject=Nothing/00000000-0000-0000-0000-000000000000", vec!["Subject"]),
        ("Subject=User/1", vec!["Subject"]),
        ("Facts=all&Subject=User/00000000-0000-0000-0000-000000000000", vec!["Subject"]),
        ("Facts=some", vec!["Facts"]),
        ("After=x", vec!["After"]),
        ("Qt=0&TpOrd=up", vec!["Qt", "TpOrd"]),
    ] {
        let answer = owner.get(&format!("/api/v1/audit?{query}")).await.expect(400);
        assert_eq!(answer.wrong(), wrong, "{query}");
    }
    // A cursor is for one search.
    let cursor = page(&owner, "Qt=1").await["next"].as_str().expect("a cursor").to_owned();
    page(&owner, &format!("Qt=5&After={cursor}")).await;
    for other in ["Facts=all", "TpOrd=Asc", "Type=LoggedIn", "From=2026-01-01", "Actor=operator"] {
        let answer = owner.get(&format!("/api/v1/audit?{other}&After={cursor}")).await.expect(400);
        assert_eq!(answer.wrong(), ["After"], "{other}");
    }
}
