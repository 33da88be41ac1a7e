//! What all pages have in common.
//!
//! A handler returns a response of a [`View`] of its template, or a [`PageError`]. Every template has a field
//! `frame` with what surrounds the page ([`Frame`](frame::Frame)), and extends `layout.html` or `bare.html`.

pub(crate) mod error;
pub(crate) mod form;
pub(crate) mod frame;
pub(crate) mod icons;
pub(crate) mod lag;
pub(crate) mod layers;
pub(crate) mod query;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};

use error::PageError;

/// A page or a fragment of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<T>(pub(crate) T);

impl<T: Template> IntoResponse for View<T> {
    fn into_response(self) -> Response {
        match self.0.render() {
            Ok(html) => Html(html).into_response(),
            Err(error) => PageError::Internal(error.to_string()).into_response(),
        }
    }
}

impl<T: Template> View<T> {
    /// Returns the page with the status of the refusal that it shows, if there is one.
    pub(crate) fn answer(self, refused: Option<StatusCode>) -> Response {
        self.with(refused.unwrap_or(StatusCode::OK))
    }

    /// Returns the page with a status.
    pub(crate) fn with(self, status: StatusCode) -> Response {
        let mut answer = self.into_response();
        if answer.status().is_success() {
            *answer.status_mut() = status;
        }
        answer
    }
}
