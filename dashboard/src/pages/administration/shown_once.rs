//! A secret that is shown only once.

use askama::Template;
use axum::response::{IntoResponse, Response};

use crate::session::Session;
use crate::web::View;
use crate::web::frame::{Frame, Section};

#[derive(Template)]
#[template(path = "administration/shown_once.html")]
struct ShownOncePage {
    frame: Frame,
    /// What it is for.
    lead: String,
    label: &'static str,
    secret: String,
    /// Path of the page that follows.
    path: &'static str,
}

/// Shows a secret on a page of its own.
pub(super) fn show(
    session: &Session,
    title: &'static str,
    lead: String,
    (label, secret): (&'static str, String),
    path: &'static str,
) -> Response {
    let frame = Frame::of(session, Section::Administration, title);
    View(ShownOncePage { frame, lead, label, secret, path }).into_response()
}
