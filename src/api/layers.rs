//! What surrounds every request: its id, its span, its bounds, and the net below it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, LOCATION, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::sync::Semaphore;
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};
use tracing::Instrument;

use super::client_address::TrustedProxies;
use super::problem::{Kind, Problem};
use super::request_context::{REQUEST_ID, RequestContext};

/// Gives a request its context and its span, and the answer its headers.
pub(super) async fn surround(
    State(proxies): State<TrustedProxies>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let context = RequestContext::of(&request, &proxies);
    // The path itself may hold a token: the log gets the route.
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = known_method(request.method());
    let span = tracing::info_span!(
        "http.request",
        request.id = %context.request_id,
        trace.id = context.trace_id.as_deref(),
        http.method = method,
        http.route = %route,
    );
    let request_id = context.header();
    request.extensions_mut().insert(context);

    let mut response = next.run(request).instrument(span.clone()).await;

    let headers = response.headers_mut();
    if let Some(request_id) = request_id {
        headers.insert(REQUEST_ID, request_id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let (status, duration) = (response.status(), started.elapsed());
    span.in_scope(|| {
        tracing::debug!(http.status = status.as_u16(), duration_ms = duration.as_millis(), "answered");
    });
    metrics::histogram!(
        "hooksentry_http_request_seconds",
        "method" => method, "route" => route, "status" => status.as_str().to_owned(),
    )
    .record(duration.as_secs_f64());
    response
}

/// A metric may have a label for each method there is, not for each that somebody makes up.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// A handler that panics has a bug; its caller still gets an answer, and the others are not disturbed.
pub(super) async fn catch(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => Problem::internal(format!("a handler panicked: {}", words(&*panic))).into_response(),
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a word")
}

/// How many requests may be under way, and how long each may take.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    pub(super) under_way: Arc<Semaphore>,
    /// `None`: as long as it takes.
    pub(super) time: Option<Duration>,
}

/// Keeps a request within its bounds. Whoever comes while all places are taken is turned away at once: a
/// queue in front of a busy service only makes it answer late.
pub(super) async fn bound(
    State(bounds): State<Bounds>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Ok(_place) = bounds.under_way.try_acquire() else { return Err(Problem::busy()) };
    match bounds.time {
        None => Ok(next.run(request).await),
        Some(time) => tokio::time::timeout(time, next.run(request))
            .await
            .map_err(|_| Problem::unavailable(format!("a request took longer than {time:?}"))),
    }
}

/// Which websites may call: every one for ingest, the configured one for the rest.
pub(super) fn cors(management_origin: Option<HeaderValue>) -> CorsLayer {
    let allowed = move |origin: &HeaderValue, parts: &Parts| {
        parts.uri.path().starts_with("/api/v1/ingest/") || management_origin.as_ref() == Some(origin)
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        // Mirrored, because a literal `*` does not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .allow_methods(AllowMethods::mirror_request())
        .expose_headers([LOCATION, RETRY_AFTER, REQUEST_ID])
        .max_age(Duration::from_secs(600))
}

/// What answers where no route does.
pub(super) async fn no_such_route() -> Problem {
    Problem::new(Kind::NoSuchRoute, "No route matches this path.")
}

/// What answers where a route does not know the method.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "See the header Allow for the methods of this route.")
}
