//! Every route with every role, with no token, with another tenant's token, and with every kind of id of
//! another tenant. The routes come from the table that the router is made of, so none is forgotten.

use std::collections::HashMap;

use aggregates::role::Role;
use hooksentry::api::{Permission, ROUTES, Route};
use serde_json::json;

use crate::harness::api::{Answer, Api, send, unique};
use crate::harness::events::accept;
use crate::harness::tenant::User;

/// Excluded: the response does not end. `live.rs` tests which changes it sends.
const STREAM: &str = "/api/v1/stream";
/// Excluded: the shared service has no sealer, so nothing is logged. `sealer/serving.rs` tests these routes.
const AUDIT_LOG: &str = "/api/v1/audit/log/";
const UNKNOWN: &str = "7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a";

/// One of everything that a tenant has, by the start of the path that names it.
struct Things(HashMap<&'static str, String>);

impl Things {
    async fn of(owner: &User) -> Self {
        let (destination, token) = owner.destination().await;
        let (sender, _) = owner.sender(&destination).await;
        let key = owner.post("/api/v1/apikeys", &json!({ "name": "a" })).await.expect(201);
        let link = json!({ "destinationId": destination, "access": "Read", "label": "a" });
        let link = owner.post("/api/v1/portal-links", &link).await.expect(201).text_of("id");
        let colleague = owner.colleague("Viewer").await;
        let invite = owner.post("/api/v1/invites", &json!({})).await.expect(201);
        let session = owner.get("/api/v1/sessions").await.expect(200).body["items"][0]["id"].clone();
        let event = accept(owner, &key.text_of("key"), &token).await;
        let erasure = json!({ "scope": "Events", "to": "2020-01-01", "reason": "a" });
        let erasure = owner.post("/api/v1/erasures", &erasure).await.expect(202).text_of("id");
        let bulk_action = json!({ "action": "Replay", "filter": { "to": "2020-01-01" } });
        let bulk_action = owner.post("/api/v1/bulk-actions", &bulk_action).await.expect(202).text_of("id");
        Self(HashMap::from([
            ("tenants", owner.tenant_id.clone()),
            ("users", colleague.id),
            ("sessions", session.as_str().expect("an id").to_owned()),
            ("invites", invite.text_of("id")),
            ("apikeys", key.text_of("id")),
            ("portal-links", link),
            ("queues", destination.clone()),
            ("destinations", destination),
            ("senders", sender),
            ("events", event),
            ("erasures", erasure),
            ("bulk-actions", bulk_action),
        ]))
    }

    /// The route's path, with the id of one of these things.
    fn path(&self, route: &Route) -> String {
        let kind = route.path.split('/').nth(3).expect("a collection");
        route.path.replace("{id}", &self.0[kind])
    }
}

fn routes_for_users() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.permission.needs_user())
}

/// Calls a route with a body and a place to resume from that none of them accepts, so that nothing is done
/// and every answer ends.
async fn call(user: &User, route: &Route, path: &str) -> Answer {
    let request = user.request(route.method.as_str(), path).header("Last-Event-ID", "none");
    send(request.header("content-type", "application/json").body("[")).await
}

#[tokio::test]
async fn without_a_good_token_every_route_but_the_open_ones_answers_401() {
    let api = Api::shared().await;
    let owner = User::owner(&api).await;
    let things = Things::of(&owner).await;
    let mut forged = owner.clone();
    forged.token = format!("{}x", owner.token);
    let key = owner.api_key().await;
    for route in routes_for_users() {
        let path = if route.path.contains("{id}") { things.path(route) } else { route.path.to_owned() };
        let method = route.method.as_str();
        for request in [
            api.request(method, &path),
            api.request(method, &path).header("X-Api-Key", &key),
            api.request(method, &path).bearer_auth(&key),
            api.request(method, &path).basic_auth("a", Some("b")),
            api.request(method, &path).header("Authorization", "Bearer"),
            forged.request(method, &path),
            // Two identities are none.
            owner.request(method, &path).bearer_auth(&owner.token),
        ] {
            let answer = send(request.json(&json!({}))).await.expect(401);
            assert_eq!(answer.problem(), "unauthenticated", "{method} {path}");
            assert!(answer.header("www-authenticate").starts_with("Bearer"));
        }
    }
}

#[tokio::test]
async fn the_open_routes_are_those_of_the_contract() {
    let open: Vec<String> = ROUTES
        .iter()
        .filter(|route| !route.permission.needs_user())
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    assert_eq!(
        open,
        [
            "POST /api/v1/auth/login",
            "POST /api/v1/auth/refresh",
            "POST /api/v1/tenants",
            "POST /api/v1/invites/{token}/register",
            "POST /api/v1/ingest/{tenantId}/{token}",
            "GET /.well-known/hooksentry-log-keys",
            "GET /.well-known/hooksentry-log/checkpoint",
            "GET /.well-known/hooksentry-log/tile/{*tile}",
            "GET /health",
            "GET /health/live",
            "GET /health/ready",
            "GET /metrics",
            "GET /openapi.json",
            "GET /docs",
            "GET /docs/{file}",
        ]
    );
}

#[tokio::test]
async fn every_role_may_do_what_the_matrix_says_and_nothing_else() {
    let owner = User::owner(&Api::shared().await).await;
    for role in Role::ALL {
        let user = if role == Role::Owner { owner.clone() } else { owner.colleague(role.name()).await };
        for route in routes_for_users().filter(|route| route.permission != Permission::LogOut) {
            // An id that does not exist: only a caller with permission learns that it does not exist.
            let path = route.path.replace("{id}", UNKNOWN);
            let answer = call(&user, route, &path).await;
            let what = format!("{} {} as {}: {}", route.method, path, role.name(), answer.text);
            if !route.permission.allows(role) {
                assert_eq!((answer.status, answer.problem()), (403, "role-forbids"), "{what}");
            } else if route.path.contains("{id}") || route.path.starts_with(AUDIT_LOG) {
                assert_eq!((answer.status, answer.problem()), (404, "not-found"), "{what}");
            } else {
                let expected = if route.method == "GET" && route.path != STREAM { 200 } else { 400 };
                assert_eq!(answer.status, expected, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn every_kind_of_id_of_another_tenant_is_refused() {
    let (ours, theirs) = (User::owner(&Api::shared().await).await, User::owner(&Api::shared().await).await);
    let (our_things, their_things) = (Things::of(&ours).await, Things::of(&theirs).await);
    for route in routes_for_users().filter(|route| route.path.contains("{id}")) {
        let path = their_things.path(route);
        let answer = call(&ours, route, &path).await;
        assert_eq!((answer.status, answer.problem()), (403, "other-tenant"), "{} {path}", route.method);
        // What belongs to us is let through: what remains to be said against it is the body.
        let path = our_things.path(route);
        if route.method == "GET" || route.method == "PATCH" {
            let answer = call(&ours, route, &path).await;
            let no_mapping = route.path.ends_with("/mapping");
            let expected = if route.method == "PATCH" {
                400
            } else if no_mapping {
                404
            } else {
                200
            };
            assert_eq!(answer.status, expected, "{} {path}: {}", route.method, answer.text);
        }
    }
}

#[tokio::test]
async fn lists_show_nothing_of_another_tenant() {
    let (ours, theirs) = (User::owner(&Api::shared().await).await, User::owner(&Api::shared().await).await);
    let their_things = Things::of(&theirs).await;
    theirs.post("/api/v1/invites", &json!({})).await.expect(201);
    let lists = |route: &&Route| {
        let is_list = !route.path.contains('{') && route.path != STREAM && !route.path.starts_with(AUDIT_LOG);
        route.method == "GET" && is_list && route.permission.allows(Role::Owner)
    };
    for route in routes_for_users().filter(lists) {
        let path = format!("{}?Qt=200", route.path);
        let list = ours.get(&path).await.expect(200);
        assert!(!list.text.contains(&theirs.tenant_id), "{path}");
        assert!(their_things.0.values().all(|id| !list.text.contains(id.as_str())), "{path}");
    }
    // A foreign destination as a filter matches nothing, rather than saying that it exists.
    let path = format!("/api/v1/events?DestinationUrlId={}", their_things.0["destinations"]);
    assert_eq!(ours.get(&path).await.expect(200).body["total"], 0);
}

#[tokio::test]
async fn a_new_role_a_deactivation_and_a_deletion_hold_at_once() {
    let owner = User::owner(&Api::shared().await).await;
    let user = owner.colleague("Developer").await;
    let path = format!("/api/v1/users/{}", user.id);
    let body = json!({ "name": unique("key") });
    user.post("/api/v1/apikeys", &body).await.expect(201);
    owner.patch(&path, &json!({ "role": "Viewer" })).await.expect(200);
    user.post("/api/v1/apikeys", &body).await.expect(403);
    owner.patch(&path, &json!({ "role": "Admin" })).await.expect(200);
    user.get("/api/v1/invites").await.expect(200);
    owner.patch(&path, &json!({ "status": "Inactive" })).await.expect(200);
    user.get("/api/v1/users").await.expect(401);
    let gone = owner.colleague("Developer").await;
    owner.delete(&format!("/api/v1/users/{}", gone.id)).await.expect(204);
    gone.get("/api/v1/users").await.expect(401);
}
