//! Late answers to clients that go on although they are refused.
//!
//! A client that repeats at once what was refused takes as much of the processor as it can. Most send the next request when
//! they have an answer, so a late answer makes them cost next to nothing. Meanwhile only the connection is held: the
//! request has given its place back. What a client is refused is counted by its address, and what is refused because the
//! service is overloaded for all clients together: those who overload it may have many addresses.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::sleep;

use super::problem::Kind;
use super::rate_limits::{RateLimitKey, RateLimiter};
use super::request_context::RequestContext;
use crate::config::RateLimit;

/// Time by which further ones are late. Lower: they cost more. Higher: a client waits longer for what is wrong.
const DELAY: Duration = Duration::from_millis(500);

/// Counts refusals. Clones share the counts.
#[derive(Clone, Debug)]
pub(crate) struct LateRefusals(RateLimiter);

impl LateRefusals {
    /// Refusals within `prompt` are answered at once; all of them, if there is no such limit.
    pub(crate) fn new(prompt: Option<RateLimit>) -> Self {
        Self(RateLimiter::new(prompt))
    }
}

/// Answers late with status 401 or 429 when the client was refused often, and with 503 when many were.
pub(crate) async fn delay(State(refusals): State<LateRefusals>, request: Request, next: Next) -> Response {
    let client = request.extensions().get::<RequestContext>().map(|context| context.client);
    let response = next.run(request).await;
    let counted_by = match response.extensions().get::<Kind>().map(|kind| kind.status()) {
        Some(StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS) => client.map(RateLimitKey::from),
        Some(StatusCode::SERVICE_UNAVAILABLE) => Some(RateLimitKey::AllClients),
        _ => None,
    };
    if counted_by.is_some_and(|key| refusals.0.hit(key).is_err()) {
        metrics::counter!("hooksentry_http_late_refusals_total").increment(1);
        sleep(DELAY).await;
    }
    response
}
