//! Client of HookSentry's HTTP API: the management API under `/api/v1`, and ingest.
//!
//! The demonstration (`dev --demo`), the benchmark and the tests of the service use it. It covers what they
//! need: typed calls for the resources that they create, and [`ApiClient::get`] and [`ApiClient::send`] for
//! everything else. The benchmark's load generator does not use it for ingest; the reason is in its own
//! documentation.

mod answer;
mod resources;

use std::time::Duration;

use reqwest::{Client, ClientBuilder, Method, RequestBuilder, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use answer::{Answer, ApiError};
pub use resources::{
    AcceptedEvent, CreatedApiKey, CreatedRoute, IngestTarget, NewTenant, RegisteredTenant, Tokens,
};

/// Timeout of a request, from sending it to the last byte of the answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Client of one API, with or without the access token of a user.
///
/// Paths are absolute, such as `/api/v1/events`.
#[derive(Clone)]
pub struct ApiClient {
    http: Client,
    base: String,
    access_token: Option<String>,
}

/// Builder of HTTP clients that use no proxy and follow no redirects.
///
/// reqwest needs a process-wide TLS provider even for plain HTTP. This installs one, unless the process has
/// one already.
pub fn http_client() -> ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().redirect(redirect::Policy::none())
}

impl ApiClient {
    /// Creates a client of the API at `base`, such as `http://127.0.0.1:5143`, without an access token.
    #[must_use]
    pub fn new(http: Client, base: &str) -> Self {
        Self { http, base: base.trim_end_matches('/').to_owned(), access_token: None }
    }

    /// Returns a client of the same API that sends this access token.
    #[must_use]
    pub fn with_access_token(&self, token: &str) -> Self {
        Self { access_token: Some(token.to_owned()), ..self.clone() }
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Begins a request to `path`, with the access token if this client has one.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match &self.access_token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request and reads the whole answer, of any status.
    ///
    /// # Errors
    ///
    /// [`ApiError::NoAnswer`] when the connection fails or the timeout of the HTTP client elapses,
    /// [`ApiError::UnexpectedAnswer`] when a body that claims to be JSON is not.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, ApiError> {
        Answer::read(request.send().await?).await
    }

    /// Sends a request and parses the body of a successful answer.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`ApiError::Refused`] when the status is not a success.
    pub async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ApiError> {
        Ok(serde_json::from_value(self.send(request).await?.success()?.body)?)
    }

    /// Reads the resource at `path`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    pub async fn get(&self, path: &str) -> Result<Value, ApiError> {
        self.call(self.request(Method::GET, path)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, ApiError> {
        self.call(self.request(Method::POST, path).json(body)).await
    }

    async fn patch<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, ApiError> {
        self.call(self.request(Method::PATCH, path).json(body)).await
    }
}
