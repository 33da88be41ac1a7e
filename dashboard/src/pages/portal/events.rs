//! `/portal/events`: the pages of events, through a portal link.

use axum::extract::Path;
use axum::response::Response;
use uuid::Uuid;

use crate::pages::events::{actions, list, one};
use crate::session::viewer::PortalSession;
use crate::web::error::PageError;
use crate::web::form::Form;

/// Shows a page of the list.
///
/// # Errors
/// The API does not answer. A filter that it refuses is explained on the page.
pub(crate) async fn list(PortalSession(viewer): PortalSession) -> Result<Response, PageError> {
    list::show(viewer).await
}

/// Shows an event.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn one(
    PortalSession(viewer): PortalSession,
    Path(id): Path<Uuid>,
) -> Result<Response, PageError> {
    one::show(&viewer, id, None).await
}

/// Replays an event.
///
/// # Errors
/// The API does not answer. A refusal is explained on the event's page.
pub(crate) async fn replay(
    PortalSession(viewer): PortalSession,
    Path(id): Path<Uuid>,
    _: Form,
) -> Result<Response, PageError> {
    actions::replay_for(&viewer, id).await
}

/// Cancels an event.
///
/// # Errors
/// The API does not answer. A refusal is explained on the event's page.
pub(crate) async fn cancel(
    PortalSession(viewer): PortalSession,
    Path(id): Path<Uuid>,
    _: Form,
) -> Result<Response, PageError> {
    actions::cancel_for(&viewer, id).await
}
