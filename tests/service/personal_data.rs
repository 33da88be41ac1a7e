//! Personal data is kept outside the log, where it can be erased.

use std::collections::{HashMap, HashSet};

use aggregates::ids::TenantId;
use hooksentry::secrets::salt::hmac_sha256;
use projections::TenantScope;
use projections::fact_origins::{self, FactOrigin, KnownOrigin};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::api::{Api, send, unique};
use crate::harness::tenant::User;

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
