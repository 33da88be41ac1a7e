//! `/signing`: the webhook secret, a tester of signatures, and how receivers verify them.

pub(crate) mod secret;
mod snippets;
pub(crate) mod tester;

use askama::Template;
use axum::response::Response;

use crate::pages::Refusal;
use crate::session::Session;
use crate::session::claims::Role;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use snippets::{SNIPPETS, Snippet};
use tester::{Finding, Tested};

#[derive(Template)]
#[template(path = "administration/signing.html")]
struct SigningPage {
    frame: Frame,
    may_replace: bool,
    snippets: &'static [Snippet],
    /// What was typed into the tester, and what it found.
    tested: Tested,
    findings: Vec<Finding>,
    refusal: Option<Refusal>,
}

/// Shows the forms.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    Ok(show(&session, Tested::default(), vec![], None))
}

fn show(session: &Session, tested: Tested, findings: Vec<Finding>, refusal: Option<Refusal>) -> Response {
    let frame = Frame::of(session, Section::Administration, "Signing");
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    let may_replace = frame.allows(Role::Admin);
    View(SigningPage { frame, may_replace, snippets: &SNIPPETS, tested, findings, refusal })
        .answer(status_code)
}
