//! Personal data is kept outside the log, where it can be erased.

use std::collections::{HashMap, HashSet};

use aggregates::ids::{TenantId, UserId};
use hooksentry::secrets::salt::hmac_sha256;
use projections::fact_origins::{self, FactOrigin, KnownOrigin};
use projections::{TenantScope, user_emails};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::api::{Api, PASSWORD, login, send, unique};
use crate::harness::tenant::User;
use crate::harness::until;

/// Returns the name and the metadata of each fact of a tenant.
async fn facts(pool: &PgPool, tenant_id: &str) -> Vec<(String, Value)> {
    sqlx::query_as("SELECT event_type, metadata FROM events WHERE tenant_id = $1::uuid ORDER BY position")
        .bind(tenant_id)
        .fetch_all(pool)
        .await
        .expect("the log")
}

async fn origins(pool: &PgPool, tenant_id: &str, ids: &[Uuid]) -> HashMap<Uuid, FactOrigin> {
    let tenant_id = TenantId(tenant_id.parse().expect("an id"));
    let mut scope = TenantScope::begin(pool, tenant_id).await.expect("a scope");
    fact_origins::by_ids(&mut scope, ids).await.expect("origins")
}

fn origin_id(metadata: &Value) -> Option<Uuid> {
    Some(metadata.get("originId")?.as_str().expect("a text").parse().expect("an id"))
}

/// Returns the origin that a fact names, which must be stored and be what the fact commits to.
async fn origin_of(pool: &PgPool, tenant_id: &str, metadata: &Value) -> KnownOrigin {
    let id = origin_id(metadata).unwrap_or_else(|| panic!("no origin in {metadata}"));
    let Some(FactOrigin::Known(origin)) = origins(pool, tenant_id, &[id]).await.remove(&id) else {
        panic!("{id} is not stored");
    };
    let commitment = hex::encode(hmac_sha256(&origin.salt, &[origin.text.as_bytes()]));
    assert_eq!(metadata["originHmacSha256"], commitment);
    origin
}

fn with_agent(request: RequestBuilder, agent: &str) -> RequestBuilder {
    request.header("User-Agent", agent)
}

#[tokio::test]
async fn facts_of_a_person_share_an_origin_for_each_client() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let pool = api.log().await.pool().clone();
    let agents = [unique("agent"), unique("agent")];
    for agent in [&agents[0], &agents[0], &agents[1]] {
        let issue = owner.request("POST", "/api/v1/apikeys").json(&json!({ "name": "tests" }));
        send(with_agent(issue, agent)).await.expect(201);
    }
    let facts = facts(&pool, &owner.tenant_id).await;
    let issued: Vec<&Value> =
        facts.iter().filter(|(name, _)| name == "ApiKeyIssued").map(|(_, metadata)| metadata).collect();
    let ids: Vec<Uuid> = issued.iter().filter_map(|metadata| origin_id(metadata)).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 2);
    for (metadata, agent) in issued.iter().zip([&agents[0], &agents[0], &agents[1]]) {
        let client = origin_of(&pool, &owner.tenant_id, metadata).await.client;
        assert_eq!(client.user_agent.as_ref(), Some(agent));
        // The address that the trusted proxy names, which the log must not show.
        assert!(client.address.to_string().starts_with("11."), "{client:?}");
        assert!(!facts.iter().any(|(_, metadata)| {
            let text = metadata.to_string();
            text.contains(agent) || text.contains(&client.address.to_string())
        }));
    }
    let stranger = User::owner(&api).await;
    assert!(origins(&pool, &stranger.tenant_id, &ids).await.is_empty(), "they are of another tenant");
}

#[tokio::test]
async fn every_fact_of_a_person_has_an_origin_and_no_other_fact() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let pool = api.log().await.pool().clone();
    let key = owner.api_key().await;
    let (destination, token) = owner.destination().await;
    for _ in 0..2 {
        send(owner.ingest(&key, &token, "{}")).await.expect(202);
    }
    owner.delete(&format!("/api/v1/queues/{destination}")).await.expect(204);
    let facts = facts(&pool, &owner.tenant_id).await;
    assert!(facts.iter().any(|(name, _)| name == "Cancelled"), "{facts:?}");
    for (name, metadata) in facts {
        if name == "EventAccepted" {
            assert_eq!(origin_id(&metadata), None);
        } else {
            origin_of(&pool, &owner.tenant_id, &metadata).await;
        }
    }
}

/// Returns all that the log has of a tenant.
async fn log_of(pool: &PgPool, tenant_id: &str) -> String {
    sqlx::query_scalar(
        "SELECT string_agg(events::text, ' ' ORDER BY position) FROM events WHERE tenant_id = $1::uuid",
    )
    .bind(tenant_id)
    .fetch_one(pool)
    .await
    .expect("the log")
}

#[tokio::test]
async fn the_log_shows_no_email_no_password_hash_no_client_and_no_idempotency_key() {
    let api = Api::shared().await;
    let agent = unique("agent");
    let owner = User::owner(&api).await;
    let pool = api.log().await.pool().clone();
    let colleague = owner.colleague("Developer").await;
    let invite = owner.post("/api/v1/invites", &json!({})).await.expect(201).text_of("token");
    let invited = format!("{}@example.com", unique("invited"));
    let body = json!({ "email": invited, "password": PASSWORD });
    let register = api.request("POST", &format!("/api/v1/invites/{invite}/register")).json(&body);
    send(with_agent(register, &agent)).await.expect(201);
    let email = format!("{}@example.com", unique("changed"));
    let change = json!({ "email": email, "password": "a new password of the tests" });
    let change = colleague.request("PATCH", &format!("/api/v1/users/{}", colleague.id)).json(&change);
    send(with_agent(change, &agent)).await.expect(200);
    login(&api, &email, "a wrong password").await.expect(401);
    until("the refused login", async || {
        let facts = facts(&pool, &owner.tenant_id).await;
        facts.iter().any(|(name, _)| name == "LoginRefused").then_some(())
    })
    .await;
    login(&api, &email, "a new password of the tests").await.expect(200);

    let key = unique("alice");
    let (_, ingest_token) = owner.destination().await;
    let ingest = owner.ingest(&owner.api_key().await, &ingest_token, "{}").header("X-Idempotency-Key", &key);
    let event: Uuid = send(ingest).await.expect(202).text_of("eventId").parse().expect("an id");
    assert_eq!(event.get_version_num(), 8, "{event} can be computed from the key alone");

    let address =
        origin_of(&pool, &owner.tenant_id, &facts(&pool, &owner.tenant_id).await[0].1).await.client.address;
    let log = log_of(&pool, &owner.tenant_id).await;
    for personal in ["@", "argon2", &agent, &address.to_string(), &owner.email, &invited, &email, &key] {
        assert!(!log.contains(personal), "{personal} is in the log: {log}");
    }
    let made: Vec<String> = sqlx::query_scalar(
        "SELECT aggregate_id FROM events WHERE tenant_id = $1::uuid AND payload::text LIKE '%' || $2 || '%'
            AND event_type = 'ReservationMade'",
    )
    .bind(&owner.tenant_id)
    .bind(&colleague.id)
    .fetch_all(&pool)
    .await
    .expect("the log");
    assert_eq!(made.len(), 2);
    for stream in made {
        let id: Uuid = stream.parse().expect("an id");
        assert_eq!(id.get_version_num(), 8, "{id} can be computed from the address alone");
    }
}

#[tokio::test]
async fn facts_of_a_user_commit_to_the_emails() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let pool = api.log().await.pool().clone();
    let email = format!("{}@example.com", unique("changed"));
    owner.patch(&format!("/api/v1/users/{}", owner.id), &json!({ "email": email })).await.expect(200);
    let facts: Vec<(i64, Value)> = sqlx::query_as(
        "SELECT sequence, payload FROM events
         WHERE aggregate_type = 'User' AND aggregate_id = $1 AND payload::text LIKE '%emailHmac%' ORDER BY sequence",
    )
    .bind(&owner.id)
    .fetch_all(&pool)
    .await
    .expect("the log");
    let tenant_id = TenantId(owner.tenant_id.parse().expect("an id"));
    let mut scope = TenantScope::begin(&pool, tenant_id).await.expect("a scope");
    let user = UserId(owner.id.parse().expect("an id"));
    let emails = user_emails::of_user(&mut scope, user).await.expect("emails");
    assert_eq!(emails.iter().map(|row| row.email.as_str()).collect::<Vec<_>>(), [&owner.email, &email]);
    for ((sequence, fact), row) in facts.iter().zip(&emails) {
        let commitment = hex::encode(hmac_sha256(&row.salt, &[row.email.as_str().as_bytes()]));
        let named = fact.as_object().and_then(|fact| fact.values().next()).expect("a fact");
        assert_eq!((*sequence, &named["emailHmacSha256"]), (row.version, &json!(commitment)));
    }
    assert_eq!(facts.len(), 2);
}

/// Returns the ids of the origins of the facts that a user caused, or that are about the user.
async fn origins_of_user(pool: &PgPool, tenant_id: &str, user_id: &str) -> Vec<Uuid> {
    let by = json!(format!("user:{user_id}"));
    let facts = facts(pool, tenant_id).await;
    facts.iter().filter(|(_, metadata)| metadata["actor"] == by).filter_map(|(_, m)| origin_id(m)).collect()
}

#[tokio::test]
async fn an_erasure_leaves_nothing_personal_of_a_user_and_changes_no_fact() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let pool = api.log().await.pool().clone();
    let colleague = owner.colleague("Developer").await;
    let issue = colleague.request("POST", "/api/v1/apikeys").json(&json!({ "name": "tests" }));
    send(with_agent(issue, &unique("agent"))).await.expect(201);
    let path = format!("/api/v1/users/{}", colleague.id);
    let email = format!("{}@example.com", unique("changed"));
    owner.patch(&path, &json!({ "email": email })).await.expect(200);
    owner.delete(&path).await.expect(204);
    let before = log_of(&pool, &owner.tenant_id).await;
    let theirs = origins_of_user(&pool, &owner.tenant_id, &colleague.id).await;
    assert!(theirs.len() > 1);

    let body = json!({ "reason": "Request 7 of a data subject" });
    owner.post(&format!("{path}/erase"), &body).await.expect(204);

    let tenant_id = TenantId(owner.tenant_id.parse().expect("an id"));
    let mut scope = TenantScope::begin(&pool, tenant_id).await.expect("a scope");
    let user = UserId(colleague.id.parse().expect("an id"));
    assert_eq!(user_emails::of_user(&mut scope, user).await.expect("emails"), []);
    drop(scope);
    let stored = "SELECT (SELECT count(*) FROM user_passwords WHERE user_id = $1)
        + (SELECT count(*) FROM fact_origins WHERE user_id = $1 AND (salt IS NOT NULL OR origin IS NOT NULL))";
    let stored: i64 = sqlx::query_scalar(stored).bind(user.0).fetch_one(&pool).await.expect("a number");
    assert_eq!(stored, 0);
    let erased = origins(&pool, &owner.tenant_id, &theirs).await;
    assert!(theirs.iter().all(|id| erased[id] == FactOrigin::Erased), "{erased:?}");
    let after = facts(&pool, &owner.tenant_id).await;
    let (name, metadata) = after.last().expect("a fact");
    assert_eq!(
        (name.as_str(), &metadata["actor"]),
        ("PersonalDataErased", &json!(format!("user:{}", owner.id)))
    );
    origin_of(&pool, &owner.tenant_id, metadata).await;
    let log = log_of(&pool, &owner.tenant_id).await;
    assert!(log.starts_with(&before), "no fact has changed");

    // Repeated, it adds nothing. The address is free.
    owner.post(&format!("{path}/erase"), &body).await.expect(204);
    assert_eq!(facts(&pool, &owner.tenant_id).await.len(), after.len());
    let again = json!({ "email": email, "password": PASSWORD });
    owner.post("/api/v1/users", &again).await.expect(201);
}

#[tokio::test]
async fn an_owner_alone_erases_and_only_a_deleted_user() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let (admin, colleague) = (owner.colleague("Admin").await, owner.colleague("Viewer").await);
    let path = format!("/api/v1/users/{}", colleague.id);
    let erase = format!("{path}/erase");
    let body = json!({ "reason": "a request" });
    assert_eq!(owner.post(&erase, &body).await.expect(409).problem(), "user-not-deleted");
    owner.delete(&path).await.expect(204);
    assert_eq!(admin.post(&erase, &body).await.expect(403).problem(), "role-forbids");
    assert_eq!(User::owner(&api).await.post(&erase, &body).await.expect(403).problem(), "other-tenant");
    assert_eq!(owner.post(&erase, &json!({ "reason": " " })).await.expect(400).wrong(), ["reason"]);
    let hold = format!("/api/v1/tenants/{}/legal-hold", owner.tenant_id);
    assert_eq!(owner.post(&hold, &body).await.status / 100, 2);
    assert_eq!(owner.post(&erase, &body).await.expect(409).problem(), "legal-hold");
    assert_eq!(owner.post(&format!("{hold}/lift"), &body).await.status / 100, 2);
    owner.post(&erase, &body).await.expect(204);
}
