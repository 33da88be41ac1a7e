//! `/bulk-actions`: the latest ones.

use askama::Template;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::{Action, matching, terms};
use crate::api::bulk_actions::{BulkAction, LISTED_MAX};
use crate::api::destinations::Destination;
use crate::clock;
use crate::session::Session;
use crate::text::foreign::Foreign;
use crate::text::times::{Moment, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::words::StatusWords;

#[derive(Template)]
#[template(path = "bulk_actions/list.html")]
struct BulkActionsPage {
    frame: Frame,
    rows: Vec<Row>,
    /// Whether there may be more than are shown.
    is_full: bool,
}

struct Row {
    id: Uuid,
    state: StatusWords,
    noun: &'static str,
    /// The filter in words.
    filter: String,
    done: String,
    events: String,
    requested: Moment,
}

/// Shows the list.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    let actions = session.api.bulk_actions().await?;
    let destinations = session.api.destinations().await?;
    let page = BulkActionsPage {
        frame: Frame::of(&session, Section::Events, "Bulk actions"),
        is_full: actions.len() == LISTED_MAX,
        rows: actions.into_iter().filter_map(|action| Row::of(&action, &destinations)).collect(),
    };
    Ok(View(page).into_response())
}

impl Row {
    fn of(action: &BulkAction, destinations: &[Destination]) -> Option<Self> {
        let terms = terms(&action.filter, destinations);
        let terms: Vec<_> = terms.iter().map(|term| format!("{}: {}", term.label, term.value)).collect();
        Some(Self {
            id: action.id?,
            state: StatusWords::of_bulk_action(action.state.as_deref()?),
            noun: Action::of(&action.action).map_or("Bulk action", Action::noun),
            filter: if terms.is_empty() { "all events".to_owned() } else { terms.join(", ") },
            done: grouped(action.done),
            events: matching(action),
            requested: Moment::of(action.requested_at, clock::now()),
        })
    }
}
