//! The API on a loopback port, in this process, with a database and a projector: what the tests of the
//! contract talk to. One service serves all tests of a process; each test has tenants of its own, and an
//! address of its own to come from.

use std::net::Ipv4Addr;
use std::thread;

use clap::Parser;
use hooksentry::config::{self, Settings};
use hooksentry::event_store::{EventStore, LogNotifier};
use hooksentry::lifecycle::Lifecycle;
use hooksentry::service::Service;
use hooksentry::telemetry::Telemetry;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{OnceCell, oneshot};

use super::client;
use super::postgres::TestDatabase;

/// The password of every user that a test makes.
pub(crate) const PASSWORD: &str = "a password of the tests";

/// Largest payload of the service under test, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// The origin whose scripts may use the management API.
pub(crate) const ORIGIN: &str = "https://dashboard.example.com";

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    settings: Settings,
}

struct Running {
    base: String,
    database_url: String,
}

/// The API as one visitor sees it, who comes from an address of their own.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    running: &'static Running,
    address: Ipv4Addr,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The body, where it is JSON; else `null`.
    pub(crate) body: Value,
}

impl Api {
    pub(crate) async fn visit() -> Self {
        static RUNNING: OnceCell<Running> = OnceCell::const_new();
        let running = RUNNING.get_or_init(start).await;
        let [_, b, c, d] = rand::random::<u32>().to_be_bytes();
        Self { client: client(), running, address: Ipv4Addr::new(11, b, c, d) }
    }

    /// The same visitor from another address.
    pub(crate) fn moved(&self) -> Self {
        let [_, b, c, d] = rand::random::<u32>().to_be_bytes();
        Self { address: Ipv4Addr::new(12, b, c, d), ..self.clone() }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.base)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.client.request(method, self.url(path)).header("X-Forwarded-For", self.address.to_string())
    }

    /// The log behind the API, for what only workers and time bring about.
    pub(crate) async fn log(&self) -> EventStore {
        let pool = PgPoolOptions::new().max_connections(4).connect(&self.running.database_url).await;
        EventStore::new(pool.expect("the database of the API"), LogNotifier::within_process())
    }
}

/// Sends a request and reads the answer.
pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let is_of = |kind: &str| {
        headers
            .get("content-type")
            .is_some_and(|media_type| media_type.to_str().is_ok_and(|media_type| media_type.contains(kind)))
    };
    let is_json = is_of("json");
    // A stream goes on until somebody stops listening.
    let text = match is_of("event-stream") {
        true => String::new(),
        false => response.text().await.expect("a whole answer"),
    };
    let body = if is_json { serde_json::from_str(&text).expect("JSON") } else { Value::Null };
    Answer { status, headers, text, body }
}

impl Answer {
    /// The answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        if status >= 400 {
            self.check_problem();
        }
        self
    }

    /// Every failure is a problem (RFC 9457).
    #[track_caller]
    fn check_problem(&self) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.text);
        assert_eq!(self.body["status"], self.status);
        for member in ["type", "title", "detail"] {
            assert!(self.body[member].as_str().is_some_and(|text| !text.is_empty()), "{}", self.text);
        }
        assert_eq!(self.headers.contains_key("www-authenticate"), self.status == 401);
        if self.status == 429 {
            let seconds: u64 = self.header("retry-after").parse().expect("seconds");
            assert!(seconds > 0);
        }
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}")).to_str().expect("text")
    }

    /// The kind of problem.
    pub(crate) fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|uri| uri.strip_prefix("/problems/")).unwrap_or_default()
    }

    /// The names of the wrong fields.
    pub(crate) fn wrong(&self) -> Vec<&str> {
        self.body["errors"]
            .as_object()
            .map(|errors| errors.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// A text in the body.
    #[track_caller]
    pub(crate) fn text_of(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.text)).to_owned()
    }
}

/// A user who is logged in.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) api: Api,
    pub(crate) id: String,
    pub(crate) tenant_id: String,
    pub(crate) email: String,
    pub(crate) token: String,
    pub(crate) refresh_token: String,
}

impl User {
    /// The Owner of a new tenant.
    pub(crate) async fn owner(api: &Api) -> Self {
        let name = unique("tenant");
        let email = format!("{name}@example.com");
        let body = json!({ "name": name, "ownerEmail": email, "ownerPassword": PASSWORD });
        let tenant = send(api.request("POST", "/api/v1/tenants").json(&body)).await.expect(201);
        Self::login(api, &tenant.text_of("ownerUserId"), &tenant.text_of("tenantId"), &email).await
    }

    /// Another user of the same tenant, made by this one.
    pub(crate) async fn colleague(&self, role: &str) -> Self {
        let email = format!("{}@example.com", unique("user"));
        let body = json!({ "email": email, "password": PASSWORD, "role": role });
        let user = self.post("/api/v1/users", &body).await.expect(201);
        Self::login(&self.api, &user.text_of("id"), &self.tenant_id, &email).await
    }

    /// The user with this email, logged in anew.
    pub(crate) async fn login(api: &Api, id: &str, tenant_id: &str, email: &str) -> Self {
        let tokens = login(api, email, PASSWORD).await.expect(200);
        Self {
            api: api.clone(),
            id: id.to_owned(),
            tenant_id: tenant_id.to_owned(),
            email: email.to_owned(),
            token: tokens.text_of("accessToken"),
            refresh_token: tokens.text_of("refreshToken"),
        }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.api.request(method, path).bearer_auth(&self.token)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        send(self.request("POST", path).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        send(self.request("PATCH", path).json(body)).await
    }

    /// A POST without a body.
    pub(crate) async fn call(&self, path: &str) -> Answer {
        send(self.request("POST", path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        send(self.request("DELETE", path)).await
    }

    /// An API key of the tenant.
    pub(crate) async fn api_key(&self) -> String {
        self.post("/api/v1/apikeys", &json!({ "name": "tests" })).await.expect(201).text_of("key")
    }

    /// A destination: its id and its ingest token.
    pub(crate) async fn destination(&self) -> (String, String) {
        let body = json!({ "url": "https://receiver.example.com/hooks" });
        let destination = self.post("/api/v1/destinations", &body).await.expect(201);
        (destination.text_of("id"), destination.text_of("ingestToken"))
    }

    /// A sender of a destination: its id and its ingest token.
    pub(crate) async fn sender(&self, destination_id: &str) -> (String, String) {
        let path = format!("/api/v1/destinations/{destination_id}/senders");
        let sender = self.post(&path, &json!({ "label": "tests" })).await.expect(201);
        (sender.text_of("id"), sender.text_of("ingestToken"))
    }

    /// An ingest request with a payload.
    pub(crate) fn ingest(&self, api_key: &str, token: &str, payload: &str) -> RequestBuilder {
        let path = format!("/api/v1/ingest/{}/{token}", self.tenant_id);
        self.api.request("POST", &path).header("X-Api-Key", api_key).body(payload.to_owned())
    }
}

/// Tries to log in.
pub(crate) async fn login(api: &Api, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    send(api.request("POST", "/api/v1/auth/login").json(&body)).await
}

/// A name that no other test uses.
pub(crate) fn unique(kind: &str) -> String {
    format!("{kind}-{:016x}", rand::random::<u64>())
}

/// Starts the service in a thread with a runtime of its own: it outlives the test that needs it first.
async fn start() -> Running {
    let database = TestDatabase::create().await;
    let database_url = database.url();
    let (ready, started) = oneshot::channel();
    let url = database_url.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let lifecycle = Lifecycle::new(super::PATIENCE);
            let roles = "api,projector".parse().expect("roles");
            let service = Service::start(&settings(&url), &roles, Telemetry::detached(), lifecycle)
                .await
                .expect("a service that starts");
            ready.send(format!("http://{}", service.address())).expect("somebody who waits");
            service.finish().await.expect("a service that goes on");
        });
    });
    Running { base: started.await.expect("a service that starts"), database_url }
}

fn settings(database_url: &str) -> Settings {
    let payload_bytes_max = PAYLOAD_BYTES_MAX.to_string();
    let line = [
        "tests",
        "--listen=127.0.0.1:0",
        &format!("--database-url={database_url}"),
        "--jwt-key=tests:a-key-of-at-least-32-bytes-for-tests",
        "--encryption-key=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
        "--trusted-proxies=127.0.0.0/8",
        "--tenant-creations-per-hour=20",
        "--password-memory-kib=64",
        "--password-passes=1",
        "--retention-every=100ms",
        &format!("--max-payload-bytes={payload_bytes_max}"),
        &format!("--cors-origin={ORIGIN}"),
    ]
    .map(Into::into);
    config::read::<Line>(line, |_| None).expect("settings").settings
}
