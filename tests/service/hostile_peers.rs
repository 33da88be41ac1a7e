//! Peers that send nothing, send slowly or do not read: what they hold is bounded, and others have their part.

use hooksentry::api::ROUTES;
use reqwest::StatusCode;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::api::{Answer, Api, send};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::tenant::User;
use crate::harness::{WAIT_TIMEOUT, until};

async fn connect(program: &Process) -> TcpStream {
    let address = program.base().trim_start_matches("http://");
    TcpStream::connect(address).await.expect("a connection")
}

/// Sends a request whose body lacks its last byte.
async fn send_all_but_a_byte(program: &Process, path: &str, headers: &str, body: &str) -> TcpStream {
    let mut stream = connect(program).await;
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("a connection that takes a head");
    stream.write_all(&body.as_bytes()[..length - 1]).await.expect("a connection that takes a body");
    stream
}

/// Reads until the program closes the connection.
async fn rest_of(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(WAIT_TIMEOUT, stream.read_to_end(&mut bytes)).await.expect("the end of the connection");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_connection_that_never_makes_a_request_is_closed() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,projector", &database.url()).ready().await;
    let mut streams = Vec::new();
    for beginning in ["", "PRI * HT", "GET /health HTTP/1.1\r\nHost:"] {
        let mut stream = connect(&program).await;
        stream.write_all(beginning.as_bytes()).await.expect("a connection");
        streams.push(stream);
    }
    for stream in streams {
        assert!(!rest_of(stream).await.contains("200 OK"));
    }
    program.kill().await;
    database.discard().await;
}

#[tokio::test]
async fn slow_webhooks_of_one_tenant_leave_places_for_another() {
    let database = TestDatabase::create().await;
    let program =
        Launch::serve("api,projector", &database.url()).with("HOOKSENTRY_INGEST_REQUESTS", "4").ready().await;
    let api = Api::at(program.base());
    let (busy, other) = (User::owner(&api).await, User::owner(&api).await);
    let (busy_key, other_key) = (busy.api_key().await, other.api_key().await);
    let ((_, busy_token), (_, other_token)) = (busy.destination().await, other.destination().await);
    let path = format!("/api/v1/ingest/{}/{busy_token}", busy.tenant_id);
    let headers = format!("X-Api-Key: {busy_key}\r\n");
    // One of them may be refused itself, if it comes after the request that is to be refused.
    let mut slow = Vec::new();
    let refusal = until("a refusal", async || {
        slow.push(send_all_but_a_byte(&program, &path, &headers, "{}").await);
        Some(send(busy.ingest(&busy_key, &busy_token, "{}")).await).filter(|answer| answer.status == 429)
    })
    .await;
    assert!(refusal.text.contains("HOOKSENTRY_INGEST_REQUESTS"), "{}", refusal.text);
    send(other.ingest(&other_key, &other_token, "{}")).await.expect(202);
    busy.get("/api/v1/destinations").await.expect(200);
    program.kill().await;
    database.discard().await;
}

#[tokio::test]
async fn slow_requests_without_credentials_of_one_client_leave_places_for_another() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,projector", &database.url())
        .with("HOOKSENTRY_ANONYMOUS_REQUESTS", "4")
        .with("HOOKSENTRY_TRUSTED_PROXIES", "127.0.0.0/8")
        .ready()
        .await;
    let owner = User::owner(&Api::at(program.base())).await;
    let (path, client) = ("/api/v1/auth/refresh", "X-Forwarded-For: 198.51.100.1\r\n");
    let body = json!({ "refreshToken": "rfr_unknown" });
    let refresh = |api: &Api| api.request("POST", path).json(&body);
    // One of them may be refused itself, if it comes after the request that is to be refused.
    let mut slow = Vec::new();
    let refusal = until("a refusal", async || {
        slow.push(send_all_but_a_byte(&program, path, client, "{}").await);
        let request = refresh(&owner.api).header("X-Forwarded-For", "198.51.100.1");
        Some(send(request).await).filter(|answer| answer.status == 429)
    })
    .await;
    assert!(refusal.text.contains("HOOKSENTRY_ANONYMOUS_REQUESTS"), "{}", refusal.text);
    send(refresh(&owner.api.with_new_address())).await.expect(401);
    owner.get("/api/v1/destinations").await.expect(200);
    program.kill().await;
    database.discard().await;
}

#[tokio::test]
async fn large_bodies_of_one_tenant_leave_memory_for_another() {
    let database = TestDatabase::create().await;
    let program =
        Launch::serve("api,projector", &database.url()).with("HOOKSENTRY_BODY_BYTES", "16MiB").ready().await;
    let api = Api::at(program.base());
    let (busy, other) = (User::owner(&api).await, User::owner(&api).await);
    let path = format!("/api/v1/tenants/{}/webhook-secret/verify", busy.tenant_id);
    let large = json!({ "payload": "x".repeat(5 << 20), "signature": "s" }).to_string();
    let headers = format!("Authorization: Bearer {}\r\n", busy.token);
    let _first = send_all_but_a_byte(&program, &path, &headers, &large).await;
    let refusal = until("a refusal", async || {
        let request = busy.request("POST", &path).header("content-type", "application/json");
        Some(send(request.body(large.clone())).await).filter(|answer| answer.status == 429)
    })
    .await;
    assert!(refusal.text.contains("HOOKSENTRY_BODY_BYTES"), "{}", refusal.text);
    other.post("/api/v1/apikeys", &json!({ "name": "a" })).await.expect(201);
    program.kill().await;
    database.discard().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_live_stream_loses_it() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,projector", &database.url()).ready().await;
    let api = Api::at(program.base());
    let owner = User::owner(&api).await;
    let open_streams = async || {
        let metrics = send(api.request("GET", "/metrics")).await.expect(200).text;
        let line = metrics.lines().find(|line| line.starts_with("hooksentry_live_streams "));
        line.and_then(|line| line.split(' ').nth(1)?.parse::<f64>().ok()).unwrap_or_default()
    };
    // Not a byte of an answer may be sent.
    let mut builder = h2::client::Builder::new();
    let (client, connection) = builder
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(connect(&program).await)
        .await
        .expect("a connection");
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(connection);
    let mut client = client.ready().await.expect("a connection");
    let head = axum::http::Request::get(format!("{}/api/v1/stream", program.base()))
        .header("Authorization", format!("Bearer {}", owner.token))
        .body(())
        .expect("a request");
    let (answer, _) = client.send_request(head, true).expect("a request");
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    until("the stream to be open", async || (open_streams().await == 1.0).then_some(())).await;
    owner.post("/api/v1/auth/logout", &json!({ "refreshToken": owner.refresh_token })).await.expect(204);
    until("the stream to be closed", async || (open_streams().await == 0.0).then_some(())).await;
    drop(answer);
    program.kill().await;
    database.discard().await;
}

#[tokio::test]
async fn a_client_that_goes_on_although_it_is_refused_gets_its_answers_late() {
    let database = TestDatabase::create().await;
    let launch = Launch::serve("api,projector", &database.url()).with("HOOKSENTRY_PROMPT_REFUSALS", "3");
    let program = launch.ready().await;
    let api = Api::at(program.base());
    let owner = User::owner(&api).await;
    let refused = || send(api.request("GET", "/api/v1/apikeys").header("authorization", "Bearer wrong"));
    for _ in 0..3 {
        refused().await.expect(401);
    }
    expect_late(refused(), 401, &owner).await;
    program.kill().await;
    database.discard().await;
}

/// Expects an answer with this status, after that to a request which is sent later.
async fn expect_late(refused: impl Future<Output = Answer>, status: u16, user: &User) {
    let mut late = std::pin::pin!(refused);
    tokio::select! {
        biased;
        answer = &mut late => panic!("{answer:?} was first"),
        answer = user.get("/api/v1/apikeys") => drop(answer.expect(200)),
    }
    late.await.expect(status);
    let metrics = send(user.api.request("GET", "/metrics")).await.expect(200).text;
    assert!(metrics.lines().any(|line| line == "hooksentry_http_late_refusals_total 1"), "{metrics}");
}

#[tokio::test]
async fn refusals_because_of_overload_are_late_when_there_are_many() {
    let database = TestDatabase::create().await;
    let first = Launch::serve("api,projector", &database.url()).ready().await;
    let owner = User::owner(&Api::at(first.base())).await;
    database.flip_data_keys().await;
    // A process that does not have the key in memory, so it refuses lists by idempotency key as unavailable.
    let second = Launch::serve("api", &database.url()).with("HOOKSENTRY_PROMPT_REFUSALS", "3").ready().await;
    let owner = User { api: Api::at(second.base()), ..owner };
    let refused = || owner.get("/api/v1/events?IdempotencyKey=order-7");
    for _ in 0..3 {
        refused().await.expect(503);
    }
    expect_late(refused(), 503, &owner).await;
    first.kill().await;
    second.kill().await;
    database.discard().await;
}

/// Longest body of a request without credentials, in bytes.
const SMALL_BODY_BYTES_MAX: usize = 16 << 10;

#[tokio::test]
async fn bodies_without_credentials_are_small() {
    let api = Api::shared().await;
    let body = format!("{{\"a\":\"{}\"}}", "x".repeat(SMALL_BODY_BYTES_MAX));
    let open = ROUTES.iter().filter(|route| !route.permission.needs_user() && route.method == "POST");
    for route in open.filter(|route| !route.path.contains("{token}")) {
        let request = api.request("POST", route.path);
        let answer =
            send(request.header("content-type", "application/json").body(body.clone())).await.expect(413);
        assert!(answer.text.contains(&SMALL_BODY_BYTES_MAX.to_string()), "{}: {}", route.path, answer.text);
    }
}
