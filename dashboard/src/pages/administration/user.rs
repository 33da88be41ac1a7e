//! `/users/{id}`: one user.

use askama::Template;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use crate::api::problem::ApiError;
use crate::api::users::{User, UserChange};
use crate::clock;
use crate::pages::Refusal;
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::times::Moment;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::form::Form;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;
use crate::words::{self, ROLES, StatusWords};

const LABELS: [(&str, &str); 2] = [("role", "Role"), ("status", "Status")];

#[derive(Template)]
#[template(path = "administration/user.html")]
struct UserPage {
    frame: Frame,
    status: StatusWords,
    role_words: &'static str,
    created: Moment,
    offer: Offer,
    refusal: Option<Refusal>,
    user: User,
}

/// What may be done to a user: the same rules as those of the API, which decides.
struct Offer {
    is_self: bool,
    /// Roles that the user may be given; empty: neither role nor status may be changed.
    roles: Vec<(&'static str, &'static str)>,
    delete: bool,
    remove_second_factor: bool,
}

/// Shows a user.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session, Path(id): Path<Uuid>) -> Result<Response, PageError> {
    show(&session, id, None).await
}

/// Changes the role.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn change(
    session: Session,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, PageError> {
    let change = UserChange { role: form.optional("role"), ..UserChange::default() };
    let changed = session.api.change_user(id, change).await;
    finish(&session, id, changed, &format!("/users/{id}?done=changed")).await
}

/// Activates or deactivates the user.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn switch(
    session: Session,
    Path(id): Path<Uuid>,
    form: Form,
) -> Result<Response, PageError> {
    let (status, done) =
        if form.text("to") == "on" { ("Active", "activated") } else { ("Inactive", "deactivated") };
    let change = UserChange { status: Some(status), ..UserChange::default() };
    let changed = session.api.change_user(id, change).await;
    finish(&session, id, changed, &format!("/users/{id}?done={done}")).await
}

/// Deletes the user.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn delete(session: Session, Path(id): Path<Uuid>, _: Form) -> Result<Response, PageError> {
    let deleted = session.api.delete_user(id).await;
    finish(&session, id, deleted, "/users?done=deleted").await
}

/// Removes the second factor of another user.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn remove_second_factor(
    session: Session,
    Path(id): Path<Uuid>,
    _: Form,
) -> Result<Response, PageError> {
    let removed = session.api.remove_second_factor(id).await;
    finish(&session, id, removed, &format!("/users/{id}?done=factor-removed")).await
}

async fn finish(
    session: &Session,
    id: Uuid,
    result: Result<(), ApiError>,
    next: &str,
) -> Result<Response, PageError> {
    match result {
        Ok(()) => Ok(Redirect::to(next).into_response()),
        Err(error) => show(session, id, Some(Refusal::of(error)?.in_form("", &LABELS))).await,
    }
}

async fn show(session: &Session, id: Uuid, refusal: Option<Refusal>) -> Result<Response, PageError> {
    let user = session.api.user(id).await?;
    let parameters = Parameters::of(&session.location);
    let frame = Frame::of(session, Section::Administration, user.email.clone());
    let frame = frame.with_notice(match parameters.get("done") {
        Some("changed") => Some("Saved. The role is in force at once."),
        Some("activated") => Some("Activated. The user can sign in."),
        Some("deactivated") => Some("Deactivated. All sessions of the user have ended."),
        Some("factor-removed") => Some("Removed. The password alone suffices for this user now."),
        _ => None,
    });
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    let page = UserPage {
        status: StatusWords::of_user(&user.status),
        role_words: words::role(&user.role).unwrap_or_default(),
        created: Moment::of(user.created_at, clock::now()),
        offer: Offer::of(&frame, &user, session.claims.user_id),
        frame,
        refusal,
        user,
    };
    Ok(View(page).answer(status_code))
}

impl Offer {
    fn of(frame: &Frame, user: &User, own_id: Uuid) -> Self {
        let is_owner = frame.allows(Role::Owner);
        let is_junior = |role: &str| matches!(role, "Viewer" | "Developer");
        let manages = |role: &str| is_owner || (frame.allows(Role::Admin) && is_junior(role));
        let roles = ROLES.into_iter().filter(|(role, _)| manages(role));
        Self {
            is_self: user.id == own_id,
            roles: if manages(&user.role) { roles.collect() } else { vec![] },
            delete: is_owner || (frame.allows(Role::Admin) && user.role != "Owner"),
            remove_second_factor: is_owner && user.id != own_id && user.second_factor_enabled,
        }
    }
}
