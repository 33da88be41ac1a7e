//! One attempt: the request that delivers a webhook event to its destination, and its report.
//!
//! An attempt always ends with a report. One deadline covers the token, the lookup, the connection, and head
//! and body of the response. The body has little time of its own: a destination that has answered 200 has
//! accepted the event, even if the response body never ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aggregates::attempt_outcome::{AttemptReport, Outcome, RetryAfter};
use aggregates::destination_url::DestinationUrl;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::outbound_credentials::OutboundCredentials;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use projections::attempt_responses::AttemptResponse;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Method, Response, StatusCode};
use tokio::time::Instant;

use super::failure::{Failure, second_request};
use super::outbound_auth::Authorization;
use super::outbound_client::OutboundClient;
use super::response::{BodyEnd, EXCERPT_BYTES_MAX, bounded_detail, excerpt, kept_headers, read_body};
use super::signature::{
    SIGNATURE_HEADER, STANDARD_ID_HEADER, STANDARD_SIGNATURE_HEADER, STANDARD_TIMESTAMP_HEADER,
    SigningSecrets, sign, sign_standard,
};
use crate::hops;

/// Header with the id of the webhook event.
pub const EVENT_ID_HEADER: &str = "x-hooksentry-event-id";
/// Header with the number of the attempt, from 1.
pub const ATTEMPT_HEADER: &str = "x-hooksentry-attempt";

/// Time after the head of a response within which its body is read. The status decides the outcome; the rest of
/// the body is read so that the connection can be used again. Lower: slow bodies cost a connection. Higher: a
/// receiver that sends its body slowly occupies an attempt for longer, and is not suspended if it answers 2xx.
const BODY_TIME_MAX: Duration = Duration::from_secs(2);

const USER_AGENT_VALUE: &str = concat!("HookSentry/", env!("CARGO_PKG_VERSION"));
const CONTENT_TYPE_VALUE: &str = "application/json; charset=utf-8";

/// Content of an attempt.
#[derive(Clone)]
pub struct Request {
    pub tenant_id: TenantId,
    pub destination_id: DestinationId,
    /// Also the id of the Standard Webhooks signature.
    pub event_id: WebhookEventId,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    pub url: DestinationUrl,
    /// Sent byte for byte.
    pub body: Bytes,
    /// Installations that the webhook passed through before this one.
    pub hops: u16,
    pub secrets: SigningSecrets,
    pub credentials: Option<Arc<OutboundCredentials>>,
    /// W3C trace context of this attempt.
    pub traceparent: Option<String>,
    /// Current time, which the Standard Webhooks signature covers.
    pub at: DateTime<Utc>,
}

impl fmt::Debug for Request {
    /// Identifies the attempt, and omits its content.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Request")
            .field("destination_id", &self.destination_id)
            .field("event_id", &self.event_id)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

/// An attempt that ended.
#[derive(Debug)]
pub struct Attempted {
    /// Without a commitment to the response.
    pub report: AttemptReport,
    /// What is kept of the response; empty if there was none.
    pub response: AttemptResponse,
}

impl From<AttemptReport> for Attempted {
    fn from(report: AttemptReport) -> Self {
        Self { report, response: AttemptResponse::default() }
    }
}

impl OutboundClient {
    /// Makes one attempt. When the future is dropped, it is unknown whether the request arrived.
    pub async fn attempt(&self, request: &Request) -> Attempted {
        self.attempt_within(request, self.timeout).await
    }

    /// Makes one attempt that was claimed a while ago and must end within `time_left`.
    pub(super) async fn attempt_within(&self, request: &Request, time_left: Duration) -> Attempted {
        let started = Instant::now();
        let attempted = self.deliver(request, started + time_left).await;
        let duration_ms = saturating_milliseconds(started.elapsed());
        let Attempted { report, response } =
            attempted.unwrap_or_else(|failure| failure.into_report(duration_ms).into());
        let detail = report.detail.as_deref().map(bounded_detail);
        Attempted { report: AttemptReport { duration_ms, detail, ..report }, response }
    }

    async fn deliver(&self, request: &Request, deadline: Instant) -> Result<Attempted, Failure> {
        let owner = (request.tenant_id, request.destination_id);
        let authorization = match &request.credentials {
            Some(credentials) => Some(self.authorization(owner, credentials, deadline).await?),
            None => None,
        };
        let response = self.post(request, authorization.as_ref(), deadline).await?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let (Some(Authorization::Token(key, refused)), Some(credentials)) =
                (&authorization, &request.credentials)
        {
            // The destination may have revoked the token early. Send the request again with a new one; a
            // second 401 is the result of the attempt.
            self.tokens.forget(key, refused).await;
            let fresh = self.authorization(owner, credentials, deadline).await?;
            let response =
                self.post(request, Some(&fresh), deadline).await.map_err(Failure::of_second_request)?;
            let Attempted { report, response } = self.attempted(response, deadline).await;
            let detail = Some(second_request(report.detail));
            return Ok(Attempted { report: AttemptReport { detail, ..report }, response });
        }
        Ok(self.attempted(response, deadline).await)
    }

    async fn post(
        &self,
        request: &Request,
        authorization: Option<&Authorization>,
        deadline: Instant,
    ) -> Result<Response, Failure> {
        let mut post = reqwest::Request::new(Method::POST, request.url.url().clone());
        *post.headers_mut() = headers(request, authorization);
        *post.body_mut() = Some(request.body.clone().into());
        self.send(request.tenant_id, post, deadline).await
    }

    async fn attempted(&self, mut response: Response, deadline: Instant) -> Attempted {
        let status = response.status();
        let address = self.remote_address(&response);
        let headers = kept_headers(response.headers());
        let overloaded = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status);
        let retry_after = response.headers().get(RETRY_AFTER).filter(|_| overloaded);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()).and_then(RetryAfter::parse);
        // A few bytes more than the excerpt, so that no character is cut in two.
        let deadline = deadline.min(Instant::now() + BODY_TIME_MAX);
        let (body, end) = read_body(&mut response, EXCERPT_BYTES_MAX + 4, deadline).await;
        let detail = match end {
            BodyEnd::Whole | BodyEnd::TooLong => None,
            BodyEnd::Late => Some("the body of the answer did not end in time".to_owned()),
            BodyEnd::Broken => Some("the body of the answer was cut off".to_owned()),
        };
        let report = AttemptReport {
            outcome: if status.is_success() { Outcome::Succeeded } else { Outcome::RefusedStatus },
            status: Some(status.as_u16()),
            duration_ms: 0,
            retry_after,
            response_hmac_sha256: None,
            address,
            detail,
        };
        Attempted { report, response: AttemptResponse { headers, excerpt: excerpt(&body) } }
    }
}

/// Returns the headers of a delivery. The header of the credentials does not replace any other.
fn headers(request: &Request, authorization: Option<&Authorization>) -> HeaderMap {
    let id = request.event_id.to_string();
    let standard = sign_standard(&request.secrets, &id, request.at, &request.body);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_VALUE));
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
    let own = [
        (SIGNATURE_HEADER, sign(&request.secrets.current, &request.body)),
        (STANDARD_ID_HEADER, id.clone()),
        (STANDARD_TIMESTAMP_HEADER, request.at.timestamp().to_string()),
        (STANDARD_SIGNATURE_HEADER, standard),
        (EVENT_ID_HEADER, id),
        (ATTEMPT_HEADER, request.attempt.to_string()),
        (hops::HEADER, hops::value_after(request.hops)),
    ];
    let trace = request.traceparent.clone().map(|traceparent| ("traceparent", traceparent));
    for (name, value) in own.into_iter().chain(trace) {
        // Only an invalid traceparent can fail, and is then omitted.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Some((name, value)) = authorization.map(Authorization::header) {
        headers.entry(name).or_insert(value);
    }
    headers
}

fn saturating_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
