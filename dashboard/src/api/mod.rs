//! The API as the dashboard calls it: in the process, through the API's own router.
//!
//! One module a resource has the types of the answers, with only the fields that pages show, and the calls. A call
//! takes a [`Caller`], which passes on who asks: address, user agent, id of the request and access token.

pub(crate) mod account;
mod answer;
pub(crate) mod api_keys;
pub(crate) mod audit;
pub(crate) mod auth;
pub(crate) mod bulk_actions;
pub(crate) mod destinations;
pub(crate) mod erasures;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod ingest;
pub(crate) mod invites;
pub(crate) mod portal;
pub(crate) mod problem;
pub(crate) mod senders;
pub(crate) mod stats;
pub(crate) mod tenant;
pub(crate) mod tenants;
pub(crate) mod users;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use axum::response::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tower::ServiceExt;

use answer::{AnswerBytes, AnswerMemory};
use problem::{ApiError, Problem};

/// Headers of a request that its calls of the API have as well.
const PASSED_ON: [HeaderName; 4] = [
    USER_AGENT,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-request-id"),
];

/// Characters that a segment of a path may have unescaped.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The API's router, and memory for its answers.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    router: Router,
    memory: AnswerMemory,
}

/// Who calls the API.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    peer: Option<SocketAddr>,
    headers: HeaderMap,
}

/// The API for one caller.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    api: Api,
    caller: Caller,
}

impl Caller {
    /// Returns the client of a request, without credentials.
    pub(crate) fn of(request: &Parts) -> Self {
        let mut headers = HeaderMap::new();
        for name in PASSED_ON {
            for value in request.headers.get_all(&name) {
                headers.append(&name, value.clone());
            }
        }
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
        Self { peer, headers }
    }

    /// Returns the caller with an access token.
    pub(crate) fn with_token(mut self, token: &SecretString) -> Self {
        if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret())) {
            value.set_sensitive(true);
            self.headers.insert(AUTHORIZATION, value);
        }
        self
    }
}

impl Api {
    pub(crate) fn new(router: Router) -> Self {
        Self { router, memory: AnswerMemory::new() }
    }

    /// Returns the API for a caller.
    pub(crate) fn of(&self, caller: Caller) -> Client {
        Client { api: self.clone(), caller }
    }
}

impl Client {
    /// Reads a resource. `path` is below `/api/v1` and may have a query. So are the paths of the other methods.
    ///
    /// # Errors
    /// The API refuses the request or answers in an unexpected form. The same holds for the other methods.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        parse(&self.send(Method::GET, path, Body::empty()).await?)
    }

    /// Sends a body and reads the answer.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ApiError> {
        parse(&self.send(Method::POST, path, json(body)?).await?)
    }

    /// Sends a body, or `()`, and ignores what a success says.
    pub(crate) async fn act(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(), ApiError> {
        self.send(method, path, json(body)?).await.map(drop)
    }

    /// Sends a JSON text as it is.
    async fn send_text(&self, method: Method, path: &str, text: &str) -> Result<(), ApiError> {
        self.send(method, path, text.to_owned().into()).await.map(drop)
    }

    /// Reads whether the service can work. It answers with 503 and the same content if it cannot.
    pub(crate) async fn readiness(&self) -> Result<health::Readiness, ApiError> {
        let answer = self.open(Method::GET, "/health/ready", Body::empty()).await;
        parse(&self.api.memory.read(answer.into_body()).await?)
    }

    /// Opens the stream of changes, which has no end.
    pub(crate) async fn changes(&self, last_event_id: Option<HeaderValue>) -> Response {
        let mut client = self.clone();
        if let Some(id) = last_event_id {
            client.caller.headers.insert("last-event-id", id);
        }
        client.open(Method::GET, "/api/v1/stream", Body::empty()).await
    }

    /// Sends a request and returns the answer as it is.
    async fn open(&self, method: Method, path: &str, body: Body) -> Response {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        match path.parse() {
            Ok(uri) => *request.uri_mut() = uri,
            Err(error) => tracing::error!(%error, "the dashboard made a path that is not valid"),
        }
        *request.headers_mut() = self.caller.headers.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(peer) = self.caller.peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let Ok(answer) = self.api.router.clone().oneshot(request).await;
        answer
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> Result<AnswerBytes, ApiError> {
        let answer = self.open(method, &format!("/api/v1{path}"), body).await;
        self.read(answer).await
    }

    /// Reads a whole answer.
    async fn read(&self, answer: Response) -> Result<AnswerBytes, ApiError> {
        let status = answer.status();
        let answer = self.api.memory.read(answer.into_body()).await?;
        if status.is_success() {
            return Ok(answer);
        }
        Err(ApiError::Problem(Problem::read(status, &answer.bytes)))
    }
}

/// Returns a text as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

fn json(body: &impl Serialize) -> Result<Body, ApiError> {
    let text = serde_json::to_vec(body).map_err(ApiError::unreadable)?;
    Ok(if text == b"null" { Body::empty() } else { text.into() })
}

fn parse<T: DeserializeOwned>(answer: &AnswerBytes) -> Result<T, ApiError> {
    serde_json::from_slice(&answer.bytes).map_err(ApiError::unreadable)
}
