//! Middleware of every request: its id, its tracing span, panics, CORS.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    RETRY_AFTER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tracing::Instrument;

use crate::api::http::problem::{Kind, Problem};
use crate::api::http::request_context::{ContextSource, REQUEST_ID, RequestContext};
use crate::security_log::{self, SecurityEvent, Subject};

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// Answers of the API are data: a browser that is made to show one loads and runs nothing.
const NO_CONTENT: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Headers that scripts of other websites may send.
const CORS_REQUEST_HEADERS: [HeaderName; 7] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    HeaderName::from_static("last-event-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("x-idempotency-key"),
    REQUEST_ID,
];

/// Adds a context and a tracing span to a request, and common headers to the response. A panic becomes a problem of kind
/// `Internal`.
pub(crate) async fn with_context(
    State(source): State<ContextSource>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let context = RequestContext::of(&request, &source);
    // The path may contain a token, so the route is logged instead.
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
    request.extensions_mut().insert(context.clone());

    let mut response = without_panic(next.run(request)).instrument(span.clone()).await;

    span.in_scope(|| report_refusal(&response, &route, &context));
    let headers = response.headers_mut();
    if let Some(request_id) = request_id {
        headers.insert(REQUEST_ID, request_id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(NO_CONTENT);
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

/// Reports a refusal with status 401, 403 or 429 to the security log.
fn report_refusal(response: &Response, route: &str, context: &RequestContext) {
    let refusal = response.extensions().get::<Kind>().filter(|kind| {
        matches!(
            kind.status(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        )
    });
    if let Some(kind) = refusal {
        security_log::report(SecurityEvent {
            kind: kind.name(),
            route,
            subject: response.extensions().get::<Subject>().copied(),
            client: Some(context.client),
            request_id: Some(&context.request_id),
        });
    }
}

/// Bounds the label of a metric: clients may send any method.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

async fn without_panic(response: impl Future<Output = Response>) -> Response {
    match AssertUnwindSafe(response).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            Problem::internal(format!("a handler panicked: {}", message_of(&*panic))).into_response()
        }
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Allows scripts of every website to ingest, and those of `management_origin` to use the management API.
pub(crate) fn cors(management_origin: Option<HeaderValue>) -> CorsLayer {
    let allowed = move |origin: &HeaderValue, parts: &Parts| {
        parts.uri.path().starts_with("/api/v1/ingest/") || management_origin.as_ref() == Some(origin)
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_headers(CORS_REQUEST_HEADERS)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .expose_headers([LOCATION, RETRY_AFTER, REQUEST_ID])
        .max_age(Duration::from_secs(600))
}

/// Handles requests whose path no route has.
pub(crate) async fn no_such_route() -> Problem {
    Problem::new(Kind::NoSuchRoute, "No route matches this path.")
}

/// Handles requests whose method the route does not have.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed, "The `Allow` header lists the methods of this route.")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::to_bytes;
    use axum::http::StatusCode;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;

    async fn ask(router: &Router) -> (StatusCode, Value) {
        let request = Request::builder().uri("/").body(axum::body::Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), 9_999).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_does_not_reveal_its_message() {
        async fn handler() {
            panic!("the secret is 42");
        }
        let context = from_fn_with_state(ContextSource::default(), with_context);
        let router = Router::new().route("/", get(handler)).layer(context);
        let (status, body) = ask(&router).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(body["detail"], "An unexpected error occurred.");
        assert!(!body.to_string().contains("42"));
    }
}
