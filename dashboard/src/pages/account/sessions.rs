//! The end of sessions.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::one::show;
use crate::api::problem::ApiError;
use crate::pages::Refusal;
use crate::session::Session;
use crate::web::error::PageError;
use crate::web::form::Form;

/// Ends one session.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn end(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    let ended = session.api.end_session(id).await;
    finish(&session, ended, "ended").await
}

/// Ends all sessions but this one.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn end_others(session: Session, _: Form) -> Result<Response, PageError> {
    let ended = end_all_others(&session).await;
    finish(&session, ended, "others-ended").await
}

async fn end_all_others(session: &Session) -> Result<(), ApiError> {
    for other in session.api.sessions().await?.items.iter().filter(|other| !other.is_current) {
        match session.api.end_session(other.id).await {
            // It has ended by itself.
            Err(error) if error.is("not-found") => {}
            ended => ended?,
        }
    }
    Ok(())
}

async fn finish(session: &Session, result: Result<(), ApiError>, done: &str) -> Result<Response, PageError> {
    match result {
        Ok(()) => Ok(Redirect::to(&format!("/account?done={done}")).into_response()),
        Err(error) => show(session, Some(Refusal::of(error)?.in_form("sessions", &[]))).await,
    }
}
