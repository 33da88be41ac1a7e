//! Answers to requests that have no page.

use std::sync::Arc;

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::View;
use super::frame::Frame;
use crate::api::problem::{ApiError, Problem};
use crate::session::{SignedOut, has_ended};
use crate::words;

/// Reason why there is no page.
#[derive(Debug)]
pub(crate) enum PageError {
    /// The API refuses.
    Refused(Box<Problem>),
    /// The session is missing or has ended. The session layer leads to the sign-in.
    SignedOut,
    NotFound,
    MethodNotAllowed,
    /// A form that none of our pages sent to this browser, or whose page is too old.
    ForeignForm,
    /// A link that signs in once, for the second time.
    UsedLink,
    LargeForm,
    SlowForm,
    Internal(String),
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    frame: Frame,
    title: String,
    detail: String,
    /// What the person can do.
    advice: String,
}

impl PageError {
    pub(crate) fn internal(cause: &str) -> Self {
        Self::Internal(cause.to_owned())
    }
}

impl From<ApiError> for PageError {
    fn from(error: ApiError) -> Self {
        match error {
            error if has_ended(&error) => Self::SignedOut,
            ApiError::Problem(problem) => Self::Refused(Box::new(problem)),
            ApiError::Unreadable(cause) => Self::Internal(cause.to_string()),
        }
    }
}

impl From<Arc<ApiError>> for PageError {
    fn from(error: Arc<ApiError>) -> Self {
        match &*error {
            ApiError::Problem(problem) => Self::Refused(Box::new(problem.clone())),
            ApiError::Unreadable(cause) => Self::Internal(cause.to_string()),
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, detail, advice) = match self {
            Self::SignedOut => {
                let mut answer = StatusCode::UNAUTHORIZED.into_response();
                answer.extensions_mut().insert(SignedOut);
                return answer;
            }
            Self::Refused(problem) => return refused(*problem),
            Self::NotFound => return no_such_page(),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "This address only receives forms",
                "A page sends its form here.",
                "Go back to the page and use its form.",
            ),
            Self::ForeignForm => (
                StatusCode::FORBIDDEN,
                "This form was not accepted",
                "Nothing was changed. The form did not come from a page that this browser has open, or its page is too \
                 old.",
                "Go back, reload the page and try again. If it happens again, allow cookies for this address, and use \
                 https or localhost.",
            ),
            Self::UsedLink => (
                StatusCode::NOT_FOUND,
                "This link cannot be used any more",
                "It signs in once, within half an hour after it was printed.",
                "Sign in with the email address and password that were printed with it, or restart the demonstration for \
                 a new link.",
            ),
            Self::LargeForm => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "The form is too large",
                "Nothing was changed. A form may have at most 2 MiB.",
                "Go back and shorten it.",
            ),
            Self::SlowForm => (
                StatusCode::REQUEST_TIMEOUT,
                "The form took too long to arrive",
                "Nothing was changed.",
                "Go back and send it again.",
            ),
            Self::Internal(cause) => {
                tracing::error!(cause, "a page could not be shown");
                (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "Something went wrong on our side",
                    "The page could not be shown. What you did before may have been done.",
                    "Reload the page. The log of the service has the cause.",
                )
            }
        };
        page(status, title.to_owned(), detail.to_owned(), advice.to_owned())
    }
}

/// Returns the page for an address that has none.
pub(crate) fn no_such_page() -> Response {
    let (title, detail) =
        ("There is no page at this address", "The address may have been mistyped or shortened.");
    page(StatusCode::NOT_FOUND, title.to_owned(), detail.to_owned(), String::new())
}

pub(crate) async fn method_not_allowed() -> PageError {
    PageError::MethodNotAllowed
}

/// Returns the page of a refusal of the API.
pub(crate) fn refused(problem: Problem) -> Response {
    let advice = words::problem(&problem.kind).map_or("", |words| words.advice).to_owned();
    let title = if problem.title.is_empty() { "The request was refused".to_owned() } else { problem.title };
    page(problem.status, title, problem.detail, advice)
}

fn page(status: StatusCode, title: String, detail: String, advice: String) -> Response {
    let page = ErrorPage { frame: Frame::without_user(&title), title, detail, advice };
    // An error of the template must not lead here again.
    match page.render() {
        Ok(_) => View(page).with(status),
        Err(_) => status.into_response(),
    }
}
