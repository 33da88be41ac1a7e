//! Middleware of every page: headers, and pages in place of problems.

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::error;
use crate::api::problem::Problem;

/// Scripts and styles are files of ours, and only htmx may make elements of text: its script is the only one that
/// creates the policy.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
     trusted-types htmx",
);
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
/// Largest problem that is made a page, in bytes.
const PROBLEM_BYTES_MAX: usize = 64 << 10;

/// Adds headers to a page, and makes pages of the problems with which limits refuse a request.
pub(crate) async fn pages(request: Request, next: Next) -> Response {
    let answer = next.run(request).await;
    let is_problem =
        answer.headers().get(CONTENT_TYPE).is_some_and(|value| value == "application/problem+json");
    secured(if is_problem { as_page(answer).await } else { answer })
}

async fn as_page(answer: Response) -> Response {
    let (parts, body) = answer.into_parts();
    let body = to_bytes(body, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let mut page = error::refused(Problem::read(parts.status, &body));
    if let Some(wait) = parts.headers.get(RETRY_AFTER) {
        page.headers_mut().insert(RETRY_AFTER, wait.clone());
    }
    page.extensions_mut().extend(parts.extensions);
    page
}

/// Adds the headers of every page.
pub(crate) fn secured(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Without the origin in forms, browsers without Sec-Fetch-Site could not be told from other websites.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(
        PERMISSIONS_POLICY,
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=()"),
    );
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}
