//! `/invites`: new invitations, and their end.

use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::{shown_once, users};
use crate::api::destinations::Number;
use crate::api::invites::NewInvite;
use crate::clock;
use crate::pages::Refusal;
use crate::session::Session;
use crate::text::times::Moment;
use crate::web::error::PageError;
use crate::web::form::Form;

const LABELS: [(&str, &str); 2] = [("role", "Role"), ("validityDays", "Valid for days")];

/// Issues an invitation and shows its link, once.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn create(session: Session, form: Form) -> Result<Response, PageError> {
    let days = form.optional("days");
    let new = NewInvite { role: form.text("role"), validity_days: days.map(Number::typed) };
    match session.api.issue_invite(&new).await {
        Ok(invite) => {
            let link = format!("{}/invitations/{}", session.cookies.base(), invite.token);
            let end = Moment::of(invite.expires_at, clock::now());
            let lead = format!(
                "Send this link to your colleague, who chooses an email address and a password there. It can be used once, \
                 until {} UTC ({}). It is shown only now: copy it before you leave.",
                end.text, end.distance
            );
            Ok(shown_once::show(&session, "Invitation created", lead, ("Link", link), "/users"))
        }
        Err(error) => {
            let refusal = Refusal::of(error)?.in_form("invite", &LABELS);
            users::show(&session, days.unwrap_or_default(), Some(refusal)).await
        }
    }
}

/// Revokes an invitation.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn revoke(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    match session.api.revoke_invite(id).await {
        Ok(()) => Ok(Redirect::to("/users?done=revoked").into_response()),
        Err(error) => users::show(&session, "", Some(Refusal::of(error)?)).await,
    }
}
