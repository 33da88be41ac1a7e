//! `/portal`: opens a portal link, and `/portal/sign-out` closes it.
//!
//! The token is in the fragment of the link's URL, which browsers do not send. A script puts it into the form, and the
//! form sends it in its body, so that it is in no log of requests.

use askama::Template;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use secrecy::SecretString;

use crate::pages::{Labels, Refusal};
use crate::session::viewer::PortalSession;
use crate::session::{Visitor, has_ended};
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::Frame;
use crate::web::query::Parameters;
use crate::{App, clock};

/// Beginning of the tokens of portal links.
const PREFIX: &str = "ptl_";
const LABELS: &Labels = &[("token", "Code of the link")];

#[derive(Template)]
#[template(path = "portal/enter.html")]
struct EnterPage {
    frame: Frame,
    /// Whether the link that was open has ended.
    has_ended: bool,
    refusal: Option<Refusal>,
}

/// Shows the form that opens a link.
pub(crate) async fn page(visitor: Visitor) -> Response {
    show(&visitor, None)
}

/// Opens a link.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn submit(
    State(app): State<App>,
    visitor: Visitor,
    form: Form,
) -> Result<Response, PageError> {
    let text = form.text("token");
    // An access token must not be kept in the cookie of a link.
    if !text.starts_with(PREFIX) {
        return Ok(refuse(&visitor));
    }
    let token = SecretString::from(text);
    match visitor.api_with(&app, &token).portal_link().await {
        Ok(link) => {
            let seconds = (link.expires_at - clock::now()).num_seconds().max(0);
            let cookie = visitor.cookies.enter_portal(&token, seconds);
            Ok((AppendHeaders([(SET_COOKIE, cookie)]), Redirect::to("/portal/events")).into_response())
        }
        Err(error) if has_ended(&error) => Ok(refuse(&visitor)),
        Err(error) => Ok(show(&visitor, Some(Refusal::of(error)?.in_form("", LABELS)))),
    }
}

/// Closes the link in this browser. The link itself stays in force.
pub(crate) async fn leave(PortalSession(viewer): PortalSession, _: Form) -> Response {
    let cookie = viewer.cookies.leave_portal();
    (AppendHeaders([(SET_COOKIE, cookie)]), Redirect::to("/portal")).into_response()
}

fn refuse(visitor: &Visitor) -> Response {
    let message = "is not that of a link in force; ask whom you have the link from for a new one".to_owned();
    show(visitor, Some(Refusal::of_field("token", message).in_form("", LABELS)))
}

fn show(visitor: &Visitor, refusal: Option<Refusal>) -> Response {
    let status = refusal.as_ref().map(|refusal| refusal.status);
    let has_ended = Parameters::of(&visitor.location).get("ended").is_some();
    let frame = Frame::of_visitor(visitor, "Deliveries");
    View(EnterPage { frame, has_ended, refusal }).answer(status)
}
