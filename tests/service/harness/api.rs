//! The API under test, and its answers.
//!
//! Tests of the API's contract share one service in the process of the tests, with a database and a projector.
//! Each test registers its own tenants and sends from its own address.

use std::thread;

use clap::Parser;
use hooksentry::config::{self, Settings};
use hooksentry::event_store::{EventStore, LogNotifier};
use hooksentry::lifecycle::Lifecycle;
use hooksentry::service::Service;
use hooksentry::telemetry::Telemetry;
use hooksentry_client::{self as client, ApiClient, http_client};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{OnceCell, oneshot};

use super::postgres::TestDatabase;

/// Password of every user that a test creates.
pub(crate) const PASSWORD: &str = "a password of the tests";

/// Largest payload of the service under test, in bytes.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 10;

/// Origin whose scripts may use the management API.
pub(crate) const ORIGIN: &str = "https://dashboard.example.com";

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    settings: Settings,
}

/// The service that the tests of one process share.
struct SharedService {
    base: String,
    database_url: String,
}

/// API as the tests of one client address see it.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) client: ApiClient,
}

/// Answer to a request, of any status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// The body if it is JSON, else `null`.
    pub(crate) body: Value,
}

impl Api {
    /// Returns the API of a process that the test started.
    pub(crate) fn at(base: &str) -> Self {
        Self { client: ApiClient::new(super::client(), base) }
    }

    /// Returns the API of the shared service, for requests from a new address.
    pub(crate) async fn shared() -> Self {
        Self::at(&shared_service().await.base).with_new_address()
    }

    /// Returns the same API, for requests from another address.
    pub(crate) fn with_new_address(&self) -> Self {
        let [_, b, c, d] = rand::random::<u32>().to_be_bytes();
        let address = HeaderValue::from_str(&format!("11.{b}.{c}.{d}")).expect("an address");
        let headers = HeaderMap::from_iter([(HeaderName::from_static("x-forwarded-for"), address)]);
        let http = http_client().default_headers(headers).build().expect("a client");
        Self { client: ApiClient::new(http, &self.url("")) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        self.client.url(path)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).expect("a method"), path)
    }

    /// Opens the log of the shared service, to append facts that no request of a client causes.
    pub(crate) async fn log(&self) -> EventStore {
        let url = &shared_service().await.database_url;
        let pool = PgPoolOptions::new().max_connections(4).connect(url).await;
        EventStore::new(pool.expect("the database of the API"), LogNotifier::within_process())
    }
}

/// Sends a request and reads the answer.
pub(crate) async fn send(request: RequestBuilder) -> Answer {
    let answer = client::Answer::read(request.send().await.expect("an answer")).await;
    let client::Answer { status, headers, text, body } = answer.expect("a whole answer");
    Answer { status: status.as_u16(), headers, text, body }
}

impl Answer {
    /// Returns the answer, which must have this status; a failure must be a well-formed problem.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        if status >= 400 {
            self.check_problem();
        }
        self
    }

    /// Checks the answer against RFC 9457.
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

    /// Returns the kind of problem.
    pub(crate) fn problem(&self) -> &str {
        self.body["type"].as_str().and_then(|uri| uri.strip_prefix("/problems/")).unwrap_or_default()
    }

    /// Returns the names of the fields that were refused.
    pub(crate) fn wrong(&self) -> Vec<&str> {
        self.body["errors"]
            .as_object()
            .map(|errors| errors.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// Returns a text in the body.
    #[track_caller]
    pub(crate) fn text_of(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.text)).to_owned()
    }
}

/// Tries to log in.
pub(crate) async fn login(api: &Api, email: &str, password: &str) -> Answer {
    let body = json!({ "email": email, "password": password });
    send(api.request("POST", "/api/v1/auth/login").json(&body)).await
}

/// Returns a name that no other test uses.
pub(crate) fn unique(kind: &str) -> String {
    format!("{kind}-{:016x}", rand::random::<u64>())
}

async fn shared_service() -> &'static SharedService {
    static SERVICE: OnceCell<SharedService> = OnceCell::const_new();
    SERVICE.get_or_init(start).await
}

/// Starts the service in a thread with its own runtime, because it outlives the test that needs it first.
async fn start() -> SharedService {
    let database = TestDatabase::create().await;
    let database_url = database.url();
    let (ready, started) = oneshot::channel();
    let url = database_url.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let lifecycle = Lifecycle::new(super::WAIT_TIMEOUT);
            let roles = "api,projector".parse().expect("roles");
            let service = Service::start(&settings(&url), &roles, Telemetry::detached(), lifecycle)
                .await
                .expect("a service that starts");
            ready.send(format!("http://{}", service.address())).expect("a receiver");
            service.finish().await.expect("a service without errors");
        });
    });
    SharedService { base: started.await.expect("a service that starts"), database_url }
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
        "--own-hosts=hooks.example.com",
        "--tenant-creations-per-hour=20",
        "--prompt-refusals=0",
        "--password-memory-kib=64",
        "--password-passes=1",
        "--password-queue=256",
        "--password-min-length=0",
        "--refuse-common-passwords=false",
        "--require-current-password=false",
        "--retention-every=100ms",
        &format!("--max-payload-bytes={payload_bytes_max}"),
        &format!("--cors-origin={ORIGIN}"),
    ]
    .map(Into::into);
    config::parse::<CommandLine>(line).expect("settings").settings
}
