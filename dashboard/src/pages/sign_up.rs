//! `/sign-up`: a new tenant and its owner.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::{Labels, Refusal, sign_in};
use crate::api::auth::Credentials;
use crate::api::tenants::NewTenant;
use crate::session::Visitor;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::Frame;
use crate::web::query::Parameters;
use crate::{App, SignUp};

const LABELS: &Labels = &[
    ("name", "Name of the tenant"),
    ("ownerEmail", "Your email address"),
    ("ownerPassword", "Password"),
    ("invitation", "Invitation of the operator"),
];

#[derive(Template)]
#[template(path = "sign_up.html")]
struct SignUpPage {
    frame: Frame,
    is_closed: bool,
    needs_invitation: bool,
    invitation: String,
    name: String,
    email: String,
    refusal: Option<Refusal>,
}

/// Shows the form, or says that registration is closed.
pub(crate) async fn page(State(app): State<App>, visitor: Visitor) -> Response {
    let parameters = Parameters::of(&visitor.location);
    let invitation = parameters.get("invitation").unwrap_or_default().to_owned();
    View(SignUpPage { invitation, ..SignUpPage::empty(&app, &visitor) }).into_response()
}

/// Registers the tenant and signs its owner in.
///
/// # Errors
/// The API does not answer.
pub(crate) async fn submit(
    State(app): State<App>,
    visitor: Visitor,
    fields: Form,
) -> Result<Response, PageError> {
    let api = visitor.api(&app);
    let (name, email, password) = (fields.text("name"), fields.text("email"), fields.secret("password"));
    let invitation = fields.optional("invitation");
    let registered = api.register_tenant(NewTenant { name, email, password: &password, invitation }).await;
    if let Err(error) = registered {
        let refusal = Refusal::of(error)?.in_form("", LABELS);
        let status = refusal.status;
        let page = SignUpPage {
            invitation: invitation.unwrap_or_default().to_owned(),
            name: name.to_owned(),
            email: email.to_owned(),
            refusal: Some(refusal),
            ..SignUpPage::empty(&app, &visitor)
        };
        return Ok(View(page).with(status));
    }
    let tokens = api.log_in(Credentials { email, password: &password, code: None }).await?;
    Ok(sign_in::signed_in(&visitor, &tokens, "/"))
}

impl SignUpPage {
    fn empty(app: &App, visitor: &Visitor) -> Self {
        Self {
            frame: Frame::of_visitor(visitor, "Create an account"),
            is_closed: app.sign_up == SignUp::Closed,
            needs_invitation: app.sign_up == SignUp::Invitation,
            invitation: String::new(),
            name: String::new(),
            email: String::new(),
            refusal: None,
        }
    }
}
