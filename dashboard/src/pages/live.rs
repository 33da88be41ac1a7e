//! `/live`: the stream of changes for the scripts of a page.

use axum::http::HeaderMap;
use axum::response::Response;

use crate::session::Session;

/// Passes the stream of the API on. It has no end.
pub(crate) async fn stream(session: Session, headers: HeaderMap) -> Response {
    session.api.changes(headers.get("last-event-id").cloned()).await
}
