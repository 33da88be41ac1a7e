//! A new password.

use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};

use super::LABELS;
use super::one::show;
use crate::pages::Refusal;
use crate::session::Session;
use crate::web::error::PageError;
use crate::web::form::Form;

/// Changes the password. That ends all sessions, so it leads to the sign-in.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn change(session: Session, form: Form) -> Result<Response, PageError> {
    let (new, current) = (form.secret("password"), form.secret("current_password"));
    match session.api.change_password(session.claims.user_id, &new, &current).await {
        Ok(()) => {
            let cookie = session.cookies.sign_out();
            let sign_in = Redirect::to("/sign-in?done=password&next=/account");
            Ok((AppendHeaders([(SET_COOKIE, cookie)]), sign_in).into_response())
        }
        Err(error) => show(&session, Some(Refusal::of(error)?.in_form("password", &LABELS))).await,
    }
}
