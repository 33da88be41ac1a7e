//! `/bulk-actions/{id}`: the progress of one, and its end.

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::{Action, Term, matching, terms};
use crate::api::bulk_actions::{BulkAction, Refused};
use crate::clock;
use crate::pages::Refusal;
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::times::{Moment, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;
use crate::words::StatusWords;

#[derive(Template)]
#[template(path = "bulk_actions/one.html")]
struct BulkActionPage {
    frame: Frame,
    id: Uuid,
    noun: &'static str,
    participle: &'static str,
    state: StatusWords,
    terms: Vec<Term>,
    matching: String,
    /// For the bar: events that matched, and those that were examined.
    events: u64,
    examined: u64,
    done: String,
    refused: String,
    reasons: Vec<(&'static str, String)>,
    rate: String,
    /// Email address, or the id of a user who was deleted.
    requested_by: String,
    requested: Moment,
    ended: Option<Moment>,
    may_pause: bool,
    may_resume: bool,
    may_cancel: bool,
    refusal: Option<Refusal>,
}

/// Shows a bulk action.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session, Path(id): Path<Uuid>) -> Result<Response, PageError> {
    show(&session, id, None).await
}

/// Pauses a bulk action.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn pause(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    change(&session, id, "pause", "paused").await
}

/// Resumes a bulk action.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn resume(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    change(&session, id, "resume", "resumed").await
}

/// Cancels a bulk action.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn cancel(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    change(&session, id, "cancel", "cancelled").await
}

async fn change(session: &Session, id: Uuid, change: &str, done: &str) -> Result<Response, PageError> {
    match session.api.change_bulk_action(id, change).await {
        Ok(()) => Ok(Redirect::to(&format!("/bulk-actions/{id}?done={done}")).into_response()),
        Err(error) => show(session, id, Some(Refusal::of(error)?)).await,
    }
}

async fn show(session: &Session, id: Uuid, refusal: Option<Refusal>) -> Result<Response, PageError> {
    let action = session.api.bulk_action(id).await?;
    let destinations = session.api.destinations().await?;
    let parameters = Parameters::of(&session.location);
    let frame =
        Frame::of(session, Section::Events, "Bulk action").with_notice(match parameters.get("done") {
            Some("requested") => Some("Requested. It is carried out in the background."),
            Some("paused") => Some("Paused. Nothing is done to further events until it is resumed."),
            Some("resumed") => Some("Resumed. It continues after the last event that was examined."),
            Some("cancelled") => Some("Cancelled. What was done to events is not undone."),
            _ => None,
        });
    let status = refusal.as_ref().map(|refusal| refusal.status);
    let terms = terms(&action.filter, &destinations);
    let user = session.api.user(action.requested_by).await;
    let requested_by = user.map_or_else(|_| action.requested_by.to_string(), |user| user.email);
    Ok(View(BulkActionPage::of(frame, id, &action, requested_by, terms, refusal)).answer(status))
}

impl BulkActionPage {
    fn of(
        frame: Frame,
        id: Uuid,
        action: &BulkAction,
        requested_by: String,
        terms: Vec<Term>,
        refusal: Option<Refusal>,
    ) -> Self {
        let now = clock::now();
        let kind = Action::of(&action.action);
        let state = action.state.as_deref().unwrap_or_default();
        let role = if kind == Some(Action::Replay) { Role::Developer } else { Role::Admin };
        let may_act = frame.allows(role);
        Self {
            frame,
            id,
            noun: kind.map_or("Bulk action", Action::noun),
            participle: kind.map_or("Done", Action::participle),
            state: StatusWords::of_bulk_action(state),
            terms,
            matching: matching(action),
            events: action.events.max(1),
            examined: action.examined,
            done: grouped(action.done),
            refused: grouped(action.examined.saturating_sub(action.done)),
            reasons: reasons(&action.refused),
            rate: grouped(u64::from(action.rate_per_second)),
            requested_by,
            requested: Moment::of(action.requested_at, now),
            ended: action.ended_at.map(|at| Moment::of(at, now)),
            may_pause: may_act && state == "Running",
            may_resume: may_act && state == "Paused",
            may_cancel: may_act && matches!(state, "Running" | "Paused"),
            refusal,
        }
    }
}

/// Returns why events were left as they are, each reason with the number of events.
fn reasons(refused: &Refused) -> Vec<(&'static str, String)> {
    let reasons = [
        ("Delivery was not given up", refused.not_in_critical_failure),
        ("The payload is erased", refused.payload_is_erased),
        ("It did not wait for an attempt", refused.not_waiting),
        ("An attempt was in progress", refused.attempt_in_progress),
    ];
    reasons
        .into_iter()
        .filter(|(_, events)| *events > 0)
        .map(|(why, events)| (why, grouped(events)))
        .collect()
}
