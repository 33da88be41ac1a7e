//! Replay and cancellation of an event.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::one;
use crate::api::problem::ApiError;
use crate::pages::Refusal;
use crate::session::Session;
use crate::session::viewer::Viewer;
use crate::web::error::PageError;
use crate::web::form::Form;

/// Replays an event.
///
/// # Errors
/// The API does not answer. A refusal is explained on the event's page.
pub(crate) async fn replay(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    replay_for(&session.into(), id).await
}

/// Replays an event for a user or through a portal link.
///
/// # Errors
/// The API does not answer. A refusal is explained on the event's page.
pub(in crate::pages) async fn replay_for(viewer: &Viewer, id: Uuid) -> Result<Response, PageError> {
    let replayed = viewer.api.replay(id).await;
    finish(viewer, id, replayed, "replayed").await
}

/// Cancels an event.
///
/// # Errors
/// The API does not answer. A refusal is explained on the event's page.
pub(crate) async fn cancel(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    cancel_for(&session.into(), id).await
}

/// Cancels an event for a user or through a portal link.
///
/// # Errors
/// The API does not answer. A refusal is explained on the event's page.
pub(in crate::pages) async fn cancel_for(viewer: &Viewer, id: Uuid) -> Result<Response, PageError> {
    let cancelled = viewer.api.cancel(id).await;
    finish(viewer, id, cancelled, "cancelled").await
}

/// Leads to the event, or shows it with the refusal.
async fn finish(
    viewer: &Viewer,
    id: Uuid,
    result: Result<(), ApiError>,
    done: &str,
) -> Result<Response, PageError> {
    match result {
        Ok(()) => Ok(Redirect::to(&format!("{}/events/{id}?done={done}", viewer.base())).into_response()),
        Err(error) => one::show(viewer, id, Some(Refusal::of(error)?)).await,
    }
}
