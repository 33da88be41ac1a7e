//! Portal links: what their holders see and do, and that it is nothing else.

use aggregates::attempt_outcome::Outcome;
use hooksentry::api::ROUTES;
use serde_json::{Value, json};

use crate::audit::{search, settle, types};
use crate::harness::api::{Answer, Api, send};
use crate::harness::events::{accept, attempt};
use crate::harness::tenant::User;
use crate::harness::until;

const UNKNOWN: &str = "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a";

/// A destination with one event, of a tenant that has others.
struct Shop {
    owner: User,
    destination: String,
    event: String,
    other_destination: String,
    other_event: String,
}

impl Shop {
    async fn create() -> Self {
        let owner = User::owner(&Api::shared().await).await;
        let key = owner.api_key().await;
        let ((destination, token), (other_destination, other_token)) =
            (owner.destination().await, owner.destination().await);
        let event = accept(&owner, &key, &token).await;
        let other_event = accept(&owner, &key, &other_token).await;
        Self { owner, destination, event, other_destination, other_event }
    }

    async fn created(&self, access: &str) -> Answer {
        let body = json!({ "destinationId": self.destination, "access": access, "label": "Shop Ltd" });
        self.owner.post("/api/v1/portal-links", &body).await.expect(201)
    }

    /// Returns the holder of a new link.
    async fn holder(&self, access: &str) -> User {
        holder(&self.owner, &self.created(access).await)
    }
}

/// Returns a client that sends the token of a link in place of an access token.
fn holder(owner: &User, created: &Answer) -> User {
    User { token: created.text_of("token"), ..owner.clone() }
}

#[track_caller]
fn assert_forbidden(answer: &Answer) {
    assert_eq!((answer.status, answer.problem()), (403, "portal-link-forbids"), "{}", answer.text);
}

#[tokio::test]
async fn the_routes_for_portal_links_are_few() {
    let admitting: Vec<String> = ROUTES
        .iter()
        .filter(|route| route.permission.portal_access().is_some())
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(
        admitting,
        [
            "GET /api/v1/portal",
            "GET /api/v1/destinations/{id}",
            "GET /api/v1/events",
            "GET /api/v1/events/facets",
            "GET /api/v1/events/{id}",
            "POST /api/v1/events/{id}/replay",
            "POST /api/v1/events/{id}/cancel",
            "GET /api/v1/events/{id}/attempts",
            "GET /api/v1/stats",
        ]
    );
}

#[tokio::test]
async fn every_other_route_refuses_a_portal_link() {
    let shop = Shop::create().await;
    let holder = shop.holder("Operate").await;
    for route in ROUTES.iter().filter(|route| route.permission.needs_user()) {
        let of = |id: &str| route.path.replace("{id}", id);
        let id = match route.path.split('/').nth(3) {
            Some("events") => &shop.event,
            Some("destinations" | "queues") => &shop.destination,
            Some("tenants") => &shop.owner.tenant_id,
            Some("users") => &shop.owner.id,
            _ => UNKNOWN,
        };
        let answer = send(holder.request(route.method.as_str(), &of(id)).json(&json!({}))).await;
        if route.permission.portal_access().is_some() {
            assert!(matches!(answer.status, 200 | 400), "{} {}: {}", route.method, of(id), answer.text);
        } else {
            assert_forbidden(&answer);
        }
    }
    // It is no API key either.
    let ingest = shop.owner.ingest(&holder.token, "dst_unknown", "{}");
    send(ingest).await.expect(401);
}

#[tokio::test]
async fn a_portal_link_shows_its_destination() {
    let shop = Shop::create().await;
    let created = shop.created("Read").await;
    assert_eq!(created.text_of("path"), format!("/portal#{}", created.text_of("token")));
    let holder = holder(&shop.owner, &created);
    let current = holder.get("/api/v1/portal").await.expect(200).body;
    assert_eq!(current["destinationId"], shop.destination.as_str());
    assert_eq!((&current["id"], &current["access"]), (&created.body["id"], &json!("Read")));

    let event = holder.get(&format!("/api/v1/events/{}", shop.event)).await.expect(200).body;
    assert_eq!(event["payload"], r#"{"event":"push"}"#);
    let facts = shop.owner.get(&format!("/api/v1/events/{}/history", shop.event)).await.expect(200).body;
    let now = facts["items"][0]["time"].as_str().expect("a time");
    holder.get(&format!("/api/v1/events/{}?AsOf={now}", shop.event)).await.expect(200);
    attempt(&shop.owner, &shop.event, Outcome::RefusedStatus, 2).await;
    let attempts = until("the attempt", async || {
        let page = holder.get(&format!("/api/v1/events/{}/attempts", shop.event)).await.expect(200);
        (page.body["total"] == 1).then_some(page.body)
    })
    .await;
    assert_eq!(attempts["items"][0]["worker"], Value::Null, "how the service runs is not shown");
    assert_eq!(attempts["items"][0]["configuration"]["url"], "https://receiver.example.com/hooks");

    for query in ["", "?PayloadContains=push", &format!("?DestinationUrlId={}", shop.destination)] {
        let page = holder.get(&format!("/api/v1/events{query}")).await.expect(200).body;
        assert_eq!((&page["total"], &page["items"][0]["id"]), (&json!(1), &json!(shop.event)), "{query}");
    }
    let facets = holder.get("/api/v1/events/facets").await.expect(200).body;
    assert_eq!(facets["destinations"], json!([{ "value": shop.destination, "count": 1 }]));
    let destination = format!("/api/v1/destinations/{}", shop.destination);
    let reason = json!({ "reason": "Case 4711" });
    shop.owner.post(&format!("{destination}/legal-hold"), &reason).await.expect(200);
    for as_of in ["".to_owned(), format!("?AsOf={now}")] {
        let shown = holder.get(&format!("{destination}{as_of}")).await.expect(200).body;
        assert_eq!(
            (&shown["url"], &shown["legalHold"]),
            (&json!("https://receiver.example.com/hooks"), &Value::Null)
        );
    }
    let stats = holder.get("/api/v1/stats").await.expect(200).body;
    assert_eq!(stats["destinationId"], shop.destination.as_str());
    assert_eq!(stats["total"]["accepted"], 1);
}

#[tokio::test]
async fn a_portal_link_shows_nothing_of_another_destination() {
    let (shop, stranger) = (Shop::create().await, Shop::create().await);
    let holder = shop.holder("Operate").await;
    for event in [&shop.other_event, &stranger.event, &UNKNOWN.to_owned()] {
        let path = format!("/api/v1/events/{event}");
        for path in [path.clone(), format!("{path}?AsOf=2020-01-01"), format!("{path}/attempts")] {
            let answer = holder.get(&path).await.expect(404);
            assert_eq!(answer.text_of("detail"), "No event has this id.", "{path}");
        }
        for action in ["replay", "cancel"] {
            holder.call(&format!("{path}/{action}")).await.expect(404);
        }
    }
    for destination in [&shop.other_destination, &stranger.destination, &UNKNOWN.to_owned()] {
        for as_of in ["", "?AsOf=2020-01-01"] {
            holder.get(&format!("/api/v1/destinations/{destination}{as_of}")).await.expect(404);
        }
        for path in ["events?DestinationUrlId", "events/facets?DestinationUrlId", "stats?DestinationId"] {
            assert_forbidden(&holder.get(&format!("/api/v1/{path}={destination}")).await);
        }
    }
    // A cursor of the tenant's own list leads nowhere.
    let key = shop.owner.api_key().await;
    let (_, token) = shop.owner.destination().await;
    accept(&shop.owner, &key, &token).await;
    let page = shop.owner.get("/api/v1/events?Qt=1").await.expect(200);
    holder.get(&format!("/api/v1/events?Qt=1&After={}", page.text_of("next"))).await.expect(400);
    let unchanged = shop.owner.get(&format!("/api/v1/events/{}", shop.other_event)).await.expect(200);
    assert_eq!(unchanged.body["status"], "Pending");
}

#[tokio::test]
async fn a_link_that_operates_replays_and_cancels_and_another_one_does_not() {
    let shop = Shop::create().await;
    let (reader, operator) = (shop.holder("read").await, shop.holder("operate").await);
    let path = format!("/api/v1/events/{}", shop.event);
    attempt(&shop.owner, &shop.event, Outcome::RefusedStatus, 1).await;
    until("the delivery to be given up", async || {
        let event = operator.get(&path).await.expect(200);
        (event.body["status"] == "CriticalFailure").then_some(())
    })
    .await;
    for action in ["replay", "cancel"] {
        assert_forbidden(&reader.call(&format!("{path}/{action}")).await);
    }
    assert_eq!(operator.call(&format!("{path}/replay")).await.expect(200).body["status"], "Pending");
    assert_eq!(operator.call(&format!("{path}/cancel")).await.expect(200).body["status"], "Cancelled");
}

#[tokio::test]
async fn the_audit_trail_names_the_link() {
    let shop = Shop::create().await;
    let created = shop.created("Operate").await;
    let (id, holder) = (created.text_of("id"), holder(&shop.owner, &created));
    for _ in 0..2 {
        holder.get("/api/v1/events").await.expect(200);
        holder.get(&format!("/api/v1/events/{}", shop.event)).await.expect(200);
    }
    holder.call(&format!("/api/v1/events/{}/cancel", shop.event)).await.expect(200);
    settle(&shop.owner).await;
    let facts = search(&shop.owner, &format!("Actor=portal-link:{id}&TpOrd=Asc"), 200).await;
    assert_eq!(types(&facts), ["PortalPayloadsListed", "PortalPayloadRead", "Cancelled"]);
    assert_eq!(facts[0]["details"]["destinationId"], shop.destination.as_str());
    let of_event = search(
        &shop.owner,
        &format!("Subject=WebhookEvent/{}&Actor=portal-link:{id}&TpOrd=Asc", shop.event),
        200,
    )
    .await;
    assert_eq!(types(&of_event), ["PortalPayloadRead", "Cancelled"]);
    for fact in facts.iter().chain(&of_event) {
        let actor = json!({ "kind": "portal-link", "id": id, "name": "Shop Ltd" });
        assert_eq!(fact["actor"], actor, "{fact}");
    }
    shop.owner.delete(&format!("/api/v1/portal-links/{id}")).await.expect(200);
    settle(&shop.owner).await;
    let facts = search(&shop.owner, &format!("Subject=PortalLink/{id}&TpOrd=Asc"), 200).await;
    assert_eq!(types(&facts), ["PortalLinkCreated", "PortalLinkRevoked"]);
    assert_eq!(facts[0]["details"]["label"], "Shop Ltd");
    assert!(!facts[0].to_string().contains("okenHash"), "{}", facts[0]);
}

#[tokio::test]
async fn a_link_ends_when_it_is_revoked_and_when_it_expires() {
    let shop = Shop::create().await;
    let (created, lasting) = (shop.created("Read").await, shop.created("Read").await);
    let path = format!("/api/v1/portal-links/{}", created.text_of("id"));
    let holder_of_revoked = holder(&shop.owner, &created);
    holder_of_revoked.get("/api/v1/events").await.expect(200);
    let revoked = shop.owner.delete(&path).await.expect(200).body;
    assert_eq!((&revoked["isActive"], revoked["revokedAt"].is_string()), (&json!(false), true));
    let refused = holder_of_revoked.get("/api/v1/events").await.expect(401);
    assert_eq!(refused.problem(), "unauthenticated");
    shop.owner.delete(&path).await.expect(404);
    holder(&shop.owner, &lasting).get("/api/v1/events").await.expect(200);

    let body =
        json!({ "destinationId": shop.destination, "access": "Read", "label": "a", "expiresInSeconds": 1 });
    let short = shop.owner.post("/api/v1/portal-links", &body).await.expect(201);
    let holder_of_short = holder(&shop.owner, &short);
    until("the link to expire", async || {
        (holder_of_short.get("/api/v1/portal").await.status == 401).then_some(())
    })
    .await;
    let listed = async |filter: &str| {
        let page = shop.owner.get(&format!("/api/v1/portal-links?{filter}")).await.expect(200).body;
        let ids = page["items"].as_array().expect("items").iter().map(|link| link["id"].clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(listed("IsActive=true").await, [lasting.body["id"].clone()]);
    assert_eq!(
        listed("IsActive=false&CpOrd=createdAt&TpOrd=Asc").await,
        [created.body["id"].clone(), short.body["id"].clone()]
    );
    assert_eq!(listed(&format!("DestinationId={}", shop.other_destination)).await, [] as [Value; 0]);
    let list = shop.owner.get("/api/v1/portal-links").await.expect(200);
    assert!(!list.text.contains("ptl_"), "the token is shown once");
}

#[tokio::test]
async fn a_link_is_to_a_destination_of_the_tenant() {
    let (shop, stranger) = (Shop::create().await, Shop::create().await);
    let link = |destination: &str| json!({ "destinationId": destination, "access": "Read", "label": "a" });
    let path = "/api/v1/portal-links";
    shop.owner.post(path, &link(UNKNOWN)).await.expect(404);
    assert_eq!(
        shop.owner.post(path, &link(&stranger.destination)).await.expect(403).problem(),
        "other-tenant"
    );
    let too_long = json!({ "destinationId": shop.destination, "access": "Read", "label": "a",
        "expiresInSeconds": 90 * 86_400 + 1 });
    assert_eq!(shop.owner.post(path, &too_long).await.expect(400).wrong(), ["expiresInSeconds"]);
}
