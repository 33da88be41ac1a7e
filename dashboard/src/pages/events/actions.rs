//! Replay and cancellation of an event.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::one;
use crate::api::problem::ApiError;
use crate::pages::Refusal;
use crate::session::Session;
use crate::web::error::PageError;
use crate::web::form::Form;

/// Replays an event.
///
/// # Errors
/// The API does not answer. A refusal is explained on the event's page.
pub(crate) async fn replay(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    let replayed = session.api.replay(id).await;
    finish(&session, id, replayed, "replayed").await
}

/// Cancels an event.
///
/// # Errors
/// The API does not answer. A refusal is explained on the event's page.
pub(crate) async fn cancel(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    let cancelled = session.api.cancel(id).await;
    finish(&session, id, cancelled, "cancelled").await
}

/// Leads to the event, or shows it with the refusal.
async fn finish(
    session: &Session,
    id: Uuid,
    result: Result<(), ApiError>,
    done: &str,
) -> Result<Response, PageError> {
    match result {
        Ok(()) => Ok(Redirect::to(&format!("/events/{id}?done={done}")).into_response()),
        Err(error) => one::show(session, id, Some(Refusal::of(error)?)).await,
    }
}
