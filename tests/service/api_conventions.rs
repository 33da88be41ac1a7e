//! What holds for every route: problems, request ids, CORS, bounds, the description, health.

use hooksentry::api::ROUTES;
use serde_json::{Value, json};

use crate::harness::api::{Api, ORIGIN, send};
use crate::harness::tenant::User;

#[tokio::test]
async fn what_does_not_exist_is_a_problem() {
    let api = Api::shared().await;
    for path in ["/api", "/api/v1", "/api/v2/events", "/api/v1/events/", "/health/../metrics/x", "/docs/x/y"]
    {
        let answer = send(api.request("GET", path)).await.expect(404);
        assert_eq!(answer.problem(), "no-such-route", "{path}");
    }
    let answer = send(api.request("PUT", "/api/v1/events")).await.expect(405);
    assert_eq!(answer.problem(), "method-not-allowed");
    assert!(answer.header("allow").contains("GET"));
    send(api.request("POST", "/api/v1/events").json(&json!({}))).await.expect(405);
}

#[tokio::test]
async fn every_id_in_a_path_that_is_no_uuid_names_nothing() {
    let owner = User::owner(&Api::shared().await).await;
    for route in ROUTES.iter().filter(|route| route.path.contains("{id}")) {
        for id in [
            "1",
            "not-a-uuid",
            "7d8e9f0a1b2c4d3e8f5a6b7c8d9e0f1a",
            "%FF",
            "%00",
            "{7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a}",
        ] {
            let path = route.path.replace("{id}", id);
            let answer = send(owner.request(route.method.as_str(), &path).json(&json!({}))).await;
            assert_eq!(answer.status, 404, "{} {path}: {}", route.method, answer.text);
        }
    }
}

#[tokio::test]
async fn a_request_has_an_id_its_own_or_ours() {
    let api = Api::shared().await;
    let ours = send(api.request("GET", "/health")).await.expect(200);
    assert_eq!(ours.header("x-request-id").len(), 36);
    let theirs = send(api.request("GET", "/api/nowhere").header("X-Request-Id", "client-7")).await;
    assert_eq!(theirs.header("x-request-id"), "client-7");
    let nonsense = send(api.request("GET", "/health").header("X-Request-Id", "a b\"c")).await;
    assert_eq!(nonsense.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn the_configured_website_manages_and_every_website_ingests() {
    let api = Api::shared().await;
    let preflight = async |path: &str, origin: &str| {
        let request = api
            .request("OPTIONS", path)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "authorization,x-api-key");
        let answer = send(request).await;
        answer.headers.get("access-control-allow-origin").map(|origin| origin.to_str().unwrap().to_owned())
    };
    let other = "https://evil.example.com";
    assert_eq!(preflight("/api/v1/events", ORIGIN).await.as_deref(), Some(ORIGIN));
    assert_eq!(preflight("/api/v1/events", other).await, None);
    let ingest = "/api/v1/ingest/7d8e9f0a-1b2c-4d3e-8f5a-6b7c8d9e0f1a/dst_1";
    assert_eq!(preflight(ingest, other).await.as_deref(), Some(other));

    let preflight = api.request("OPTIONS", ingest).header("Origin", other);
    let allowed = send(preflight.header("Access-Control-Request-Headers", "x-anything")).await;
    let headers = allowed.header("access-control-allow-headers");
    assert!(headers.contains("x-api-key") && !headers.contains("x-anything"), "{headers}");
    assert_eq!(allowed.header("access-control-allow-methods"), "GET,POST,PUT,PATCH,DELETE");

    let refused = send(api.request("GET", "/api/v1/events").header("Origin", ORIGIN)).await.expect(401);
    assert_eq!(refused.header("access-control-allow-origin"), ORIGIN, "scripts may read refusals too");
    let foreign = send(api.request("GET", "/api/v1/events").header("Origin", other)).await.expect(401);
    assert!(!foreign.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_json() {
    let api = Api::shared().await;
    let path = "/api/v1/auth/login";
    let json_type = ("content-type", "application/json");
    let post = |body: &'static str| api.request("POST", path).header(json_type.0, json_type.1).body(body);
    for body in ["", "{", "[]", "5", "null", "\"text\"", "{\"email\":}", "{} {}"] {
        let answer = send(post(body)).await.expect(400);
        assert_eq!(answer.problem(), "malformed-body", "{body:?}");
        assert_eq!(answer.wrong(), ["body"]);
    }
    for media_type in ["text/plain", "application/xml", "application/x-www-form-urlencoded"] {
        let request = api.request("POST", path).header("content-type", media_type).body("{}");
        send(request).await.expect(415);
    }
    send(api.request("POST", path).body("{}")).await.expect(415);
    let deep = format!("{{\"email\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    send(api.request("POST", path).header(json_type.0, json_type.1).body(deep)).await.expect(400);
    for declared in [true, false] {
        let body = format!("{{\"email\":\"{}\"}}", "x".repeat(16 << 10));
        let request = api.request("POST", path).header(json_type.0, json_type.1);
        let request = match declared {
            true => request.body(body),
            false => request
                .body(reqwest::Body::wrap_stream(futures::stream::iter([Ok::<_, std::io::Error>(body)]))),
        };
        send(request).await.expect(413);
    }
}

#[tokio::test]
async fn the_description_is_complete_and_the_page_works_offline() {
    let api = Api::shared().await;
    let description = send(api.request("GET", "/openapi.json")).await.expect(200).body;
    assert_eq!(description["openapi"], "3.1.0");
    for route in ROUTES {
        let method = route.method.as_str().to_ascii_lowercase();
        let operation = &description["paths"][route.described_path()][&method];
        assert!(operation["operationId"].is_string(), "{} {}", route.method, route.path);
        assert_eq!(operation["security"] != json!([]), needs_credentials(route), "{}", route.path);
    }
    let moved = send(api.request("GET", "/docs")).await;
    assert_eq!((moved.status, moved.header("location")), (303, "/docs/index.html"));
    let page = send(api.request("GET", "/docs/index.html")).await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    for file in page.text.split(['"', '\'']).filter(|text| text.starts_with("./") && text.contains('.')) {
        let path = format!("/docs/{}", file.trim_start_matches("./"));
        send(api.request("GET", &path)).await.expect(200);
    }
    assert!(
        !page.text.contains("http://") && !page.text.contains("https://"),
        "nothing comes from elsewhere"
    );
    let policy = page.header("content-security-policy");
    assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"), "{policy}");
    let data = send(api.request("GET", "/health")).await.expect(200);
    assert_eq!(data.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
    assert_eq!(data.header("referrer-policy"), "no-referrer");
    let start = send(api.request("GET", "/docs/swagger-initializer.js")).await.expect(200);
    assert!(start.text.contains("\"persistAuthorization\": false"), "{}", start.text);
    assert!(start.text.contains("/openapi.json"));
    send(api.request("GET", "/docs/nothing.js")).await.expect(404);
}

fn needs_credentials(route: &hooksentry::api::Route) -> bool {
    route.permission != hooksentry::api::Permission::Anyone
}

#[tokio::test]
async fn the_service_says_how_it_is() {
    let api = Api::shared().await;
    for path in ["/health", "/health/live"] {
        let health = send(api.request("GET", path)).await.expect(200).body;
        assert_eq!(health["status"], "healthy");
        let time = health["timestamp"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    }
    let ready = send(api.request("GET", "/health/ready")).await.expect(200).body;
    assert_eq!(ready["status"], "ready");
    assert!(!ready["projections"].as_array().unwrap().is_empty());
    let metrics = send(api.request("GET", "/metrics")).await.expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain"));
}

#[tokio::test]
async fn times_and_absent_values_look_as_documented() {
    let owner = User::owner(&Api::shared().await).await;
    let (id, _) = owner.destination().await;
    let destination = owner.get(&format!("/api/v1/destinations/{id}")).await.expect(200).body;
    assert_eq!(destination["authType"], Value::Null);
    assert!(destination.as_object().unwrap().contains_key("authType"));
    let time = destination["createdAt"].as_str().unwrap();
    assert_eq!((time.len(), &time[10..11], &time[19..20], &time[23..]), (24, "T", ".", "Z"), "{time}");
}
