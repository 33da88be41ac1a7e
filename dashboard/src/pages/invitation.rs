//! `/invitations/{token}`: a new user of a tenant that exists.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::{Labels, Refusal, sign_in};
use crate::App;
use crate::api::auth::Credentials;
use crate::session::Visitor;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::Frame;

const LABELS: &Labels = &[("email", "Your email address"), ("password", "Password")];

#[derive(Template)]
#[template(path = "invitation.html")]
struct InvitationPage {
    frame: Frame,
    /// Path of the form.
    action: String,
    email: String,
    refusal: Option<Refusal>,
}

/// Shows the form. Whether the invitation is valid is known when it is used.
pub(crate) async fn page(visitor: Visitor) -> Response {
    View(InvitationPage::new(&visitor)).into_response()
}

/// Registers the user and signs in.
///
/// # Errors
/// The API does not answer.
pub(crate) async fn submit(
    State(app): State<App>,
    visitor: Visitor,
    Path(token): Path<String>,
    fields: Form,
) -> Result<Response, PageError> {
    let api = visitor.api(&app);
    let (email, password) = (fields.text("email"), fields.secret("password"));
    if let Err(error) = api.accept_invite(&token, email, &password).await {
        let refusal = Refusal::of(error)?.in_form("", LABELS);
        let status = refusal.status;
        let refused = InvitationPage {
            email: email.to_owned(),
            refusal: Some(refusal),
            ..InvitationPage::new(&visitor)
        };
        return Ok(View(refused).with(status));
    }
    let tokens = api.log_in(Credentials { email, password: &password, code: None }).await?;
    Ok(sign_in::signed_in(&visitor, &tokens, "/"))
}

impl InvitationPage {
    fn new(visitor: &Visitor) -> Self {
        Self {
            frame: Frame::of_visitor(visitor, "Join your team"),
            action: visitor.location.clone(),
            email: String::new(),
            refusal: None,
        }
    }
}
