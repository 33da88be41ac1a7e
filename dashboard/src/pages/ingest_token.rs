//! A new ingest token, which is shown only once, and a form to try it.

use askama::Template;
use axum::response::{IntoResponse, Response};

use super::{ingest_curl, ingest_url};
use crate::session::Session;
use crate::web::View;
use crate::web::frame::{Frame, Section};

#[derive(Template)]
#[template(path = "ingest_token.html")]
struct IngestTokenPage {
    frame: Frame,
    /// Path of the destination or sender.
    path: String,
    token: String,
    url: String,
    curl: String,
    replaces_another: bool,
}

/// Shows a token that is not shown again. `path` is that of its destination or sender.
pub(super) fn show(
    session: &Session,
    title: &'static str,
    path: String,
    token: String,
    replaces_another: bool,
) -> Response {
    let url = ingest_url(session, &token);
    let frame = Frame::of(session, Section::Destinations, title);
    let curl = ingest_curl(&url);
    View(IngestTokenPage { frame, path, token, url, curl, replaces_another }).into_response()
}
