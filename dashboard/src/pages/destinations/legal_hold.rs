//! `/destinations/{id}/legal-hold`: the legal hold on one destination.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::{LABELS, one};
use crate::api::problem::ApiError;
use crate::pages::Refusal;
use crate::session::Session;
use crate::web::error::PageError;
use crate::web::form::Form;

/// Places a legal hold.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn place(session: Session, Path(id): Path<Uuid>, form: Form) -> Result<Response, PageError> {
    let held = session.api.hold_destination(id, form.text("reason")).await;
    finish(&session, id, held, "held").await
}

/// Lifts the legal hold.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn lift(session: Session, Path(id): Path<Uuid>, form: Form) -> Result<Response, PageError> {
    let lifted = session.api.lift_hold_of_destination(id, form.text("reason")).await;
    finish(&session, id, lifted, "lifted").await
}

async fn finish(
    session: &Session,
    id: Uuid,
    result: Result<(), ApiError>,
    done: &str,
) -> Result<Response, PageError> {
    match result {
        Ok(()) => Ok(Redirect::to(&format!("/destinations/{id}?done={done}")).into_response()),
        Err(error) => one::show(session, id, Some(Refusal::of(error)?.in_form("hold", &LABELS))).await,
    }
}
