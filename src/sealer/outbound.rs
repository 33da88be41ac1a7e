//! Requests of the sealer to other parties, which may answer late, too much, or not at all.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{StatusCode, redirect};
use thiserror::Error;
use tokio::time::timeout;
use url::Url;

/// Maximum length of an answer, in bytes. Those of the standards have some hundred to some thousand.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Limits of the header fields of an answer.
const ANSWER_HEADERS_MAX: usize = 100;
const ANSWER_HEADER_BYTES_MAX: u32 = 32 * 1024;
/// Idle timeout of connections.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// HTTP client. It follows no redirects and reads no environment variables: the operator configures
/// where requests go.
#[derive(Clone, Debug)]
pub(super) struct Outbound {
    http: reqwest::Client,
    timeout: Duration,
}

/// An answer with any status.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

/// Reason why there is no answer that could be read.
#[derive(Debug, Error)]
pub(super) enum RequestFailure {
    #[error("it did not answer within {0:?}")]
    Late(Duration),
    #[error("it cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("its answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

impl Outbound {
    /// Returns a client whose requests must be answered within `timeout`.
    ///
    /// # Errors
    /// When no trusted certificate authorities are found.
    pub(super) fn new(timeout: Duration) -> Result<Self, reqwest::Error> {
        // Fails when it is installed already. It is the same one in the whole program.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .tcp_nodelay(true)
            .pool_idle_timeout(POOL_IDLE)
            .http1_max_headers(ANSWER_HEADERS_MAX)
            .http2_max_header_list_size(ANSWER_HEADER_BYTES_MAX)
            .build()?;
        Ok(Self { http, timeout })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a body and reads the whole answer.
    ///
    /// # Errors
    /// See [`RequestFailure`].
    pub(super) async fn post(
        &self,
        url: &Url,
        content_type: HeaderValue,
        body: Vec<u8>,
    ) -> Result<Answer, RequestFailure> {
        let request = self.http.post(url.clone()).header(CONTENT_TYPE, content_type).body(body);
        timeout(self.timeout, read(request)).await.unwrap_or(Err(RequestFailure::Late(self.timeout)))
    }
}

async fn read(request: reqwest::RequestBuilder) -> Result<Answer, RequestFailure> {
    // The URL may have a password.
    let failed = |error: reqwest::Error| RequestFailure::Unreachable(error.without_url());
    let mut response = request.send().await.map_err(failed)?;
    let mut body = vec![];
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(RequestFailure::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status: response.status(), body })
}
