//! `/erasures/{id}`: the progress of one, and its end.

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use super::events;
use crate::api::erasures::Erasure;
use crate::clock;
use crate::pages::bulk_actions::{Term, terms};
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::times::{Moment, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;
use crate::words::StatusWords;

#[derive(Template)]
#[template(path = "erasures/one.html")]
struct ErasurePage {
    frame: Frame,
    id: Uuid,
    state: StatusWords,
    terms: Vec<Term>,
    matching: String,
    /// For the bar: events that it is for, and those that were reached with a payload.
    events: u64,
    reached: u64,
    erased: String,
    kept: String,
    /// Events that had no payload any more, or another status; `None` before the end.
    others: Option<String>,
    reason: String,
    /// Email address, or the id of a user who was deleted.
    requested_by: String,
    requested: Moment,
    completed: Option<Moment>,
    may_read_trail: bool,
}

/// Shows an erasure.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session, Path(id): Path<Uuid>) -> Result<Response, PageError> {
    let erasure = session.api.erasure(id).await?;
    let terms = terms(&erasure.terms(), &session.api.destinations().await?);
    let user = session.api.user(erasure.requested_by).await;
    let requested_by = user.map_or_else(|_| erasure.requested_by.to_string(), |user| user.email);
    let done = Parameters::of(&session.location).get("done") == Some("requested");
    let frame = Frame::of(&session, Section::Events, "Erasure of payloads")
        .with_notice(done.then_some("Requested. It is carried out in the background."));
    Ok(View(ErasurePage::of(frame, id, erasure, requested_by, terms)).into_response())
}

impl ErasurePage {
    fn of(frame: Frame, id: Uuid, erasure: Erasure, requested_by: String, terms: Vec<Term>) -> Self {
        let now = clock::now();
        let reached = erasure.erased + erasure.kept;
        let completed = erasure.completed_at.map(|at| Moment::of(at, now));
        Self {
            may_read_trail: frame.allows(Role::Admin),
            frame,
            id,
            state: StatusWords::of_erasure(completed.is_some()),
            terms,
            matching: events(erasure.events),
            events: erasure.events.max(1),
            reached,
            erased: grouped(erasure.erased),
            kept: grouped(erasure.kept),
            others: completed.as_ref().map(|_| grouped(erasure.events.saturating_sub(reached))),
            reason: erasure.reason,
            requested_by,
            requested: Moment::of(erasure.requested_at, now),
            completed,
        }
    }
}
