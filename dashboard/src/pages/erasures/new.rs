//! `/erasures/new`: of how many events the payloads would be erased, to be confirmed. The URL has the filter as the list
//! of events has it.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};

use super::events;
use crate::api::erasures::ErasureScope;
use crate::pages::bulk_actions::{Term, terms};
use crate::pages::events::filter::Filter;
use crate::pages::{Labels, Refusal};
use crate::session::Session;
use crate::text::foreign::Foreign;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;

const LABELS: &Labels = &[
    ("reason", "Reason"),
    ("status", "Status"),
    ("destinationUrlId", "Destination"),
    ("from", "From (UTC)"),
    ("to", "To (UTC)"),
];

#[derive(Template)]
#[template(path = "erasures/new.html")]
struct NewPage {
    frame: Frame,
    /// URL of this page, which the form is sent to.
    location: String,
    /// URL of the list of the events.
    list: String,
    terms: Vec<Term>,
    /// `None`: the filter is refused.
    proposal: Option<Proposal>,
    /// Whether the filter has terms that cannot select the events of an erasure.
    is_too_narrow: bool,
    refusal: Option<Refusal>,
}

struct Proposal {
    matching: String,
    is_empty: bool,
    /// Reason as it was typed.
    reason: String,
}

/// Shows what would be erased.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    show(&session, "", None).await
}

/// Requests it, and leads to its page.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn submit(session: Session, form: Form) -> Result<Response, PageError> {
    let selection = Filter::of(&Parameters::of(&session.location)).selection();
    let reason = form.text("reason");
    let Some(scope) = ErasureScope::of(&selection) else { return show(&session, reason, None).await };
    match session.api.request_erasure(&scope, reason).await {
        Ok(requested) => {
            let id = requested.id.map(|id| id.to_string()).unwrap_or_default();
            Ok(Redirect::to(&format!("/erasures/{id}?done=requested")).into_response())
        }
        Err(error) => show(&session, reason, Some(Refusal::of(error)?.in_form("", LABELS))).await,
    }
}

async fn show(session: &Session, reason: &str, refusal: Option<Refusal>) -> Result<Response, PageError> {
    let filter = Filter::of(&Parameters::of(&session.location));
    let selection = filter.selection();
    let scope = ErasureScope::of(&selection);
    let (terms, proposal, refusal) = match &scope {
        None => (vec![], None, refusal),
        Some(scope) => match session.api.try_erasure(scope).await {
            Ok(dry) => {
                let proposal = Proposal {
                    matching: events(dry.events),
                    is_empty: dry.events == 0,
                    reason: reason.to_owned(),
                };
                (terms(&dry.terms(), &session.api.destinations().await?), Some(proposal), refusal)
            }
            Err(error) => (vec![], None, Some(Refusal::of(error)?.in_form("", LABELS))),
        },
    };
    let status = refusal.as_ref().map(|refusal| refusal.status);
    let page = View(NewPage {
        frame: Frame::of(session, Section::Events, "Erasure of payloads"),
        location: session.location.clone(),
        list: filter.url(),
        terms,
        proposal,
        is_too_narrow: scope.is_none(),
        refusal,
    });
    Ok(page.answer(status))
}
