//! The second factor: enrolment, new recovery codes, and its end.

use askama::Template;
use axum::response::{IntoResponse, Redirect, Response};

use super::LABELS;
use super::one::show;
use crate::api::account::Enrolment;
use crate::api::auth::Code;
use crate::pages::Refusal;
use crate::session::Session;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};

#[derive(Template)]
#[template(path = "account/enrolment.html")]
struct EnrolmentPage {
    frame: Frame,
    secret: String,
    uri: String,
    refusal: Option<Refusal>,
}

#[derive(Template)]
#[template(path = "account/recovery_codes.html")]
struct RecoveryCodesPage {
    frame: Frame,
    codes: String,
    is_new: bool,
}

/// Begins the enrolment and shows the secret, once.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn begin(session: Session, form: Form) -> Result<Response, PageError> {
    match session.api.begin_second_factor(&form.secret("current_password")).await {
        Ok(enrolment) => Ok(enrolment_page(&session, enrolment, None)),
        Err(error) => show(&session, Some(Refusal::of(error)?.in_form("factor", &LABELS))).await,
    }
}

/// Enables the second factor and shows the recovery codes, once. That ends all sessions.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn confirm(session: Session, form: Form) -> Result<Response, PageError> {
    match session.api.confirm_second_factor(form.text("code")).await {
        Ok(codes) => Ok(recovery_codes_page(&session, &codes, true)),
        Err(error) => {
            let refusal = Refusal::of(error)?.in_form("", &LABELS);
            // The secret is in the form of the user, who needs it for another try.
            let [secret, uri] = ["secret", "uri"].map(|field| form.text(field).to_owned());
            Ok(enrolment_page(&session, Enrolment { secret, uri }, Some(refusal)))
        }
    }
}

/// Replaces the recovery codes and shows the new ones, once.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn replace_recovery_codes(session: Session, form: Form) -> Result<Response, PageError> {
    let (password, code) = (form.secret("current_password"), Code::typed(form.text("code")));
    match session.api.replace_recovery_codes(&password, code).await {
        Ok(codes) => Ok(recovery_codes_page(&session, &codes, false)),
        Err(error) => show(&session, Some(Refusal::of(error)?.in_form("factor", &LABELS))).await,
    }
}

/// Disables the second factor.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn disable(session: Session, form: Form) -> Result<Response, PageError> {
    let (password, code) = (form.secret("current_password"), Code::typed(form.text("code")));
    match session.api.disable_second_factor(&password, code).await {
        Ok(()) => Ok(Redirect::to("/account?done=factor-disabled").into_response()),
        Err(error) => show(&session, Some(Refusal::of(error)?.in_form("factor", &LABELS))).await,
    }
}

fn enrolment_page(session: &Session, enrolment: Enrolment, refusal: Option<Refusal>) -> Response {
    let frame = Frame::of(session, Section::Account, "Set up a second factor");
    let Enrolment { secret, uri } = enrolment;
    // A link of another kind would be a way to foreign pages.
    let uri = if uri.starts_with("otpauth://") { uri } else { String::new() };
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    View(EnrolmentPage { frame, secret, uri, refusal }).answer(status_code)
}

fn recovery_codes_page(session: &Session, codes: &[String], is_new: bool) -> Response {
    let frame = Frame::of(session, Section::Account, "Recovery codes");
    View(RecoveryCodesPage { frame, codes: codes.join("\n"), is_new }).into_response()
}
