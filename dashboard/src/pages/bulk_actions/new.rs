//! `/bulk-actions/new`: what would be done to how many events, to be confirmed. The URL has the action, and the filter as the
//! list of events has it.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};

use super::{Action, Term, matching, terms};
use crate::pages::events::filter::Filter;
use crate::pages::{Labels, Refusal};
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;

const LABELS: &Labels = &[("ratePerSecond", "Events per second at most")];

#[derive(Template)]
#[template(path = "bulk_actions/new.html")]
struct NewPage {
    frame: Frame,
    action: Action,
    /// URL of this page, which the form is sent to.
    location: String,
    /// URL of the list of the events.
    events: String,
    terms: Vec<Term>,
    /// `None`: the filter is refused.
    proposal: Option<Proposal>,
    may_act: bool,
    refusal: Option<Refusal>,
}

struct Proposal {
    matching: String,
    is_empty: bool,
    /// Rate as it was typed, or the default.
    rate: String,
}

/// Shows what would be done.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    show(&session, None, None).await
}

/// Requests it, and leads to its page.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn submit(session: Session, form: Form) -> Result<Response, PageError> {
    let (action, filter) = read(&session)?;
    let rate = form.optional("rate");
    match session.api.request_bulk_action(action.code(), &filter.selection(), rate).await {
        Ok(requested) => {
            let id = requested.id.map(|id| id.to_string()).unwrap_or_default();
            Ok(Redirect::to(&format!("/bulk-actions/{id}?done=requested")).into_response())
        }
        Err(error) => show(&session, rate, Some(Refusal::of(error)?.in_form("", LABELS))).await,
    }
}

fn read(session: &Session) -> Result<(Action, Filter), PageError> {
    let parameters = Parameters::of(&session.location);
    let action = Action::of(parameters.get("action").unwrap_or_default()).ok_or(PageError::NotFound)?;
    Ok((action, Filter::of(&parameters)))
}

async fn show(
    session: &Session,
    rate: Option<&str>,
    refusal: Option<Refusal>,
) -> Result<Response, PageError> {
    let (action, filter) = read(session)?;
    let frame = Frame::of(session, Section::Events, format!("{} of events", action.noun()));
    let (terms, proposal, refusal) =
        match session.api.try_bulk_action(action.code(), &filter.selection()).await {
            Ok(dry) => {
                let proposal = Proposal {
                    matching: matching(&dry),
                    is_empty: dry.events == 0,
                    rate: rate.map_or_else(|| dry.rate_per_second.to_string(), str::to_owned),
                };
                (terms(&dry.filter, &session.api.destinations().await?), Some(proposal), refusal)
            }
            Err(error) => (vec![], None, Some(Refusal::of(error)?.in_form("", LABELS))),
        };
    let status = refusal.as_ref().map(|refusal| refusal.status);
    let page = View(NewPage {
        may_act: frame.allows(if action == Action::Replay { Role::Developer } else { Role::Admin }),
        frame,
        action,
        location: session.location.clone(),
        events: filter.url(),
        terms,
        proposal,
        refusal,
    });
    Ok(page.answer(status))
}
