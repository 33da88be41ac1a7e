//! `/sign-in`: email address and password, then the second factor if the user has one.

use askama::Template;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};

use super::{Labels, Refusal};
use crate::api::auth::{Code, Credentials, Tokens};
use crate::session::sealed::FirstStep;
use crate::session::{Visitor, next};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::Frame;
use crate::web::query::Parameters;
use crate::{App, SignUp};

const LABELS: &Labels =
    &[("email", "Email address"), ("password", "Password"), ("totpCode", "Code"), ("recoveryCode", "Code")];

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    frame: Frame,
    /// Path to open after the sign-in.
    next: String,
    email: String,
    may_sign_up: bool,
    refusal: Option<Refusal>,
}

#[derive(Template)]
#[template(path = "second_factor.html")]
struct SecondFactorPage {
    frame: Frame,
    next: String,
    /// Encrypted email address and password.
    first_step: String,
    refusal: Option<Refusal>,
}

/// Shows the form, or leads a user who is signed in to the page that was asked for.
pub(crate) async fn page(State(app): State<App>, visitor: Visitor) -> Response {
    let parameters = Parameters::of(&visitor.location);
    let next = next::path(parameters.get("next"));
    if visitor.signed_in.is_some() {
        return Redirect::to(next).into_response();
    }
    form(&app, &visitor, next, "", None)
}

/// Signs in.
///
/// # Errors
/// The API does not answer.
pub(crate) async fn submit(
    State(app): State<App>,
    visitor: Visitor,
    fields: Form,
) -> Result<Response, PageError> {
    let next = next::path(fields.optional("next")).to_owned();
    let bound = visitor.cookies.visitor().unwrap_or_default();
    let is_second_step = fields.optional("first_step").is_some();
    let step = match fields.optional("first_step") {
        None => FirstStep { email: fields.text("email").to_owned(), password: fields.secret("password") },
        Some(sealed) => match app.sessions.sealer.open(sealed, bound) {
            Some(step) => step,
            // The time for the second step is over.
            None => return Ok(form(&app, &visitor, &next, "", None)),
        },
    };
    let code = fields.optional("code").map(Code::typed);
    let credentials = Credentials { email: &step.email, password: &step.password, code };
    let error = match visitor.api(&app).log_in(credentials).await {
        Ok(tokens) => return Ok(signed_in(&visitor, &tokens, &next)),
        Err(error) => error,
    };
    let needs_code = error.is("second-factor-required");
    let refusal = Refusal::of(error)?.in_form("", LABELS);
    if needs_code || (is_second_step && refusal.status.as_u16() == 401) {
        let first_step = app.sessions.sealer.seal(&step, bound).unwrap_or_default();
        let frame = Frame::of_visitor(&visitor, "Second factor");
        let refusal = (!needs_code).then_some(refusal);
        return Ok(View(SecondFactorPage { frame, next, first_step, refusal }).into_response());
    }
    Ok(form(&app, &visitor, &next, &step.email, Some(refusal)))
}

/// Returns the answer that signs a user in and opens a page of ours.
pub(super) fn signed_in(visitor: &Visitor, tokens: &Tokens, next: &str) -> Response {
    let cookie = visitor.cookies.sign_in(tokens);
    (AppendHeaders([(SET_COOKIE, cookie)]), Redirect::to(next)).into_response()
}

fn form(app: &App, visitor: &Visitor, next: &str, email: &str, refusal: Option<Refusal>) -> Response {
    let status = refusal.as_ref().map(|refusal| refusal.status);
    let is_changed = Parameters::of(&visitor.location).get("done") == Some("password");
    let notice =
        is_changed.then_some("Your password is changed, and all sessions have ended. Sign in with it.");
    let page = View(SignInPage {
        frame: Frame::of_visitor(visitor, "Sign in").with_notice(notice),
        next: next.to_owned(),
        email: email.to_owned(),
        may_sign_up: app.sign_up != SignUp::Closed,
        refusal,
    });
    page.answer(status)
}
