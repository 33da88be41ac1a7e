//! The pages, one module each.

pub(crate) mod destinations;
pub(crate) mod events;
pub(crate) mod invitation;
pub(crate) mod live;
pub(crate) mod overview;
pub(crate) mod sign_in;
pub(crate) mod sign_out;
pub(crate) mod sign_up;
pub(crate) mod welcome;

use axum::http::StatusCode;

use crate::api::problem::{ApiError, Problem};
use crate::session::Session;
use crate::web::error::PageError;
use crate::words;

/// Refusal of a form, which is shown above it.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) advice: &'static str,
    /// Name of a field of the API, and what is wrong with it.
    pub(crate) fields: Vec<(String, String)>,
}

impl Refusal {
    /// Returns what to show of an error; an error that is no refusal has a page of its own.
    ///
    /// # Errors
    /// The API did not answer, or the session has ended.
    pub(crate) fn of(error: ApiError) -> Result<Self, PageError> {
        match error {
            ApiError::Problem(problem) if problem.kind != "unauthenticated" => Ok(problem.into()),
            error => Err(error.into()),
        }
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let advice = words::problem(&problem.kind).map_or("", |words| words.advice);
        let fields = problem.errors.into_iter().map(|(name, messages)| (name, messages.join(", "))).collect();
        Self { status: problem.status, title: problem.title, detail: problem.detail, advice, fields }
    }
}

/// Returns the URL that sources send to with this ingest token.
fn ingest_url(session: &Session, token: &str) -> String {
    format!("{}/api/v1/ingest/{}/{token}", session.cookies.base(), session.claims.tenant_id)
}

/// Returns a request that sends an event to an ingest URL.
fn ingest_curl(url: &str) -> String {
    format!(
        "curl -i {url} \\\n  -H \"X-Api-Key: $API_KEY\" -H 'Content-Type: application/json' \\\n  -d '{{\"hello\":\"world\"}}'"
    )
}
