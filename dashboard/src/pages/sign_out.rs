//! `/sign-out`

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};

use crate::App;
use crate::session::{Session, has_ended};
use crate::web::error::PageError;
use crate::web::form::Form;

/// Ends the session in the API and removes its cookie.
///
/// # Errors
/// The API does not answer, so the session is still open.
pub(crate) async fn submit(State(_): State<App>, session: Session, _: Form) -> Result<Response, PageError> {
    if let Err(error) = session.api.log_out(&session.tokens.refresh_token).await
        && !has_ended(&error)
    {
        return Err(error.into());
    }
    let cookie = session.cookies.sign_out();
    Ok((AppendHeaders([(SET_COOKIE, cookie)]), Redirect::to("/sign-in")).into_response())
}
