//! `/events/{id}/erase`: what is lost with the payload of an event, to be confirmed.

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use crate::clock;
use crate::pages::{Labels, Refusal};
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::times::{Moment, grouped};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::words::{self, StatusWords};

const LABELS: &Labels = &[("reason", "Reason")];

#[derive(Template)]
#[template(path = "events/erase.html")]
struct ErasePage {
    frame: Frame,
    id: Uuid,
    status: StatusWords,
    /// Size of the payload in bytes; `None`: there is none any more.
    bytes: Option<String>,
    /// Attempts with a response, as far as the page of the event shows them.
    responses: usize,
    has_key: bool,
    /// What the erasure means for its delivery.
    consequence: &'static str,
    /// Reason of the legal hold that keeps the payload, and when it was placed.
    hold: Option<(String, Moment)>,
    may_erase: bool,
    /// Reason as it was typed into the form that was refused.
    reason: String,
    refusal: Option<Refusal>,
}

/// Shows what is lost.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session, Path(id): Path<Uuid>) -> Result<Response, PageError> {
    show(&session, id, "", None).await
}

/// Erases the payload.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn submit(
    session: Session,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, PageError> {
    match session.api.erase_payload(id, form.text("reason")).await {
        Ok(()) => Ok(Redirect::to(&format!("/events/{id}?done=erased")).into_response()),
        Err(error) => {
            let refusal = Refusal::of(error)?.in_form("", LABELS);
            show(&session, id, form.text("reason"), Some(refusal)).await
        }
    }
}

async fn show(
    session: &Session,
    id: Uuid,
    reason: &str,
    refusal: Option<Refusal>,
) -> Result<Response, PageError> {
    let event = session.api.event(id).await?;
    let attempts = session.api.attempts(id).await?.items;
    let destination = session.api.destination(event.destination_id).await?;
    let tenant = session.api.tenant(session.claims.tenant_id).await?;
    let frame = Frame::of(session, Section::Events, "Erase a payload");
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    let page = ErasePage {
        may_erase: frame.allows(Role::Admin),
        frame,
        id,
        status: StatusWords::of_event(&event.status),
        bytes: event.payload.map(|payload| grouped(u64::try_from(payload.len()).unwrap_or(u64::MAX))),
        responses: attempts
            .iter()
            .filter(|attempt| attempt.response_excerpt.is_some() || !attempt.response_headers.is_empty())
            .count(),
        has_key: event.idempotency_key.is_some(),
        consequence: words::erasure_of_event(&event.status).unwrap_or_default(),
        hold: tenant
            .legal_hold
            .or(destination.legal_hold)
            .map(|hold| (hold.reason, Moment::of(hold.placed_at, clock::now()))),
        reason: reason.to_owned(),
        refusal,
    };
    Ok(View(page).answer(status_code))
}
