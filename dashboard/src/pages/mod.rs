//! The pages, one module each.

pub(crate) mod account;
pub(crate) mod administration;
pub(crate) mod audit;
pub(crate) mod bulk_actions;
pub(crate) mod destinations;
pub(crate) mod erasures;
pub(crate) mod events;
pub(crate) mod ingest_token;
pub(crate) mod invitation;
pub(crate) mod live;
pub(crate) mod overview;
pub(crate) mod portal;
pub(crate) mod senders;
pub(crate) mod sign_in;
pub(crate) mod sign_out;
pub(crate) mod sign_up;
pub(crate) mod system;
pub(crate) mod test_event;
pub(crate) mod welcome;

use axum::http::StatusCode;
use uuid::Uuid;

use crate::api::problem::{ApiError, Problem};
use crate::session::Session;
use crate::session::cookies::Cookies;
use crate::web::error::PageError;
use crate::words;

/// Refusal of a form, which is shown above it.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) title: String,
    pub(crate) detail: String,
    pub(crate) advice: &'static str,
    pub(crate) fields: Vec<RefusedField>,
    /// Form of the page that was refused, where it has several.
    pub(crate) form: &'static str,
}

/// Names of a form's fields in the API, and their labels on the page.
pub(crate) type Labels = [(&'static str, &'static str)];

/// A field that was refused.
#[derive(Clone, Debug)]
pub(crate) struct RefusedField {
    /// `None`: the page has no such field.
    pub(crate) label: Option<&'static str>,
    /// Name in the API.
    pub(crate) name: String,
    /// What is wrong with it, as a clause that follows its name.
    pub(crate) message: String,
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

    /// Returns the refusal of a field that is checked here.
    pub(crate) fn of_field(name: &str, message: String) -> Self {
        let errors = [(name.to_owned(), vec![message])].into();
        let (kind, title) = ("invalid-input".to_owned(), "The request is not valid".to_owned());
        Problem { status: StatusCode::BAD_REQUEST, kind, title, errors, ..Problem::default() }.into()
    }

    /// Names the form that was refused, and its fields as the page labels them.
    pub(crate) fn in_form(mut self, form: &'static str, labels: &Labels) -> Self {
        self.form = form;
        for field in &mut self.fields {
            field.label = labels.iter().find(|(name, _)| *name == field.name).map(|(_, label)| *label);
        }
        self
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        let advice = words::problem(&problem.kind).map_or("", |words| words.advice);
        let field = |(name, messages): (String, Vec<String>)| RefusedField {
            label: None,
            name,
            message: messages.join(", "),
        };
        let fields = problem.errors.into_iter().map(field).collect();
        Self {
            status: problem.status,
            title: problem.title,
            detail: problem.detail,
            advice,
            fields,
            form: "",
        }
    }
}

/// Returns the URL that sources send to with this ingest token.
fn ingest_url(session: &Session, token: &str) -> String {
    ingest_url_of(&session.cookies, session.claims.tenant_id, token)
}

fn ingest_url_of(cookies: &Cookies, tenant_id: Uuid, token: &str) -> String {
    format!("{}/api/v1/ingest/{tenant_id}/{token}", cookies.base())
}

/// Returns a request that sends an event to an ingest URL.
fn ingest_curl(url: &str) -> String {
    format!(
        "curl -i {url} \\\n  -H \"X-Api-Key: $API_KEY\" -H 'Content-Type: application/json' \\\n  -d '{{\"hello\":\"world\"}}'"
    )
}
