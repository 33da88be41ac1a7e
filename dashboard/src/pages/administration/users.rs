//! `/users`: users and invitations.

use askama::Template;
use axum::response::{IntoResponse, Response};
use uuid::Uuid;

use crate::api::invites::Invite;
use crate::api::users::User;
use crate::clock;
use crate::pages::Refusal;
use crate::session::Session;
use crate::session::claims::Role;
use crate::text::foreign::Foreign;
use crate::text::times::Moment;
use crate::web::View;
use crate::web::error::PageError;
use crate::web::frame::{Frame, Section};
use crate::web::query::Parameters;
use crate::words::{ROLES, StatusWords};

#[derive(Template)]
#[template(path = "administration/users.html")]
struct UsersPage {
    frame: Frame,
    rows: Vec<Row>,
    /// Users of the tenant, of which the page shows the first ones.
    total: usize,
    own_id: Uuid,
    invites: Vec<InviteRow>,
    may_invite: bool,
    /// Roles that the user may invite.
    roles: Vec<(&'static str, &'static str)>,
    /// What was typed into the form that was refused.
    days: String,
    refusal: Option<Refusal>,
}

struct Row {
    user: User,
    status: StatusWords,
    created: Moment,
}

struct InviteRow {
    id: Uuid,
    role: String,
    created: Moment,
    expires: Moment,
}

/// Shows users and open invitations.
///
/// # Errors
/// The API refuses or does not answer.
pub(crate) async fn page(session: Session) -> Result<Response, PageError> {
    show(&session, "", None).await
}

pub(super) async fn show(
    session: &Session,
    days: &str,
    refusal: Option<Refusal>,
) -> Result<Response, PageError> {
    let now = clock::now();
    let parameters = Parameters::of(&session.location);
    let frame =
        Frame::of(session, Section::Administration, "Users").with_notice(match parameters.get("done") {
            Some("deleted") => Some("The user is deleted and cannot sign in any more."),
            Some("revoked") => Some("The invitation is revoked. Its link is refused."),
            _ => None,
        });
    let may_invite = frame.allows(Role::Admin);
    let users = session.api.users().await?;
    let invites = if may_invite { session.api.invites().await?.items } else { vec![] };
    let is_open = |invite: &Invite| invite.used_at.is_none() && invite.expires_at > now;
    let status_code = refusal.as_ref().map(|refusal| refusal.status);
    let page = UsersPage {
        rows: users
            .items
            .into_iter()
            .map(|user| Row {
                status: StatusWords::of_user(&user.status),
                created: Moment::of(user.created_at, now),
                user,
            })
            .collect(),
        total: users.total,
        own_id: session.claims.user_id,
        invites: invites
            .into_iter()
            .filter(is_open)
            .map(|invite| InviteRow {
                id: invite.id,
                created: Moment::of(invite.created_at, now),
                expires: Moment::of(invite.expires_at, now),
                role: invite.target_role,
            })
            .collect(),
        may_invite,
        roles: ROLES
            .into_iter()
            .filter(|(role, _)| *role != "Owner" && (*role != "Admin" || frame.allows(Role::Owner)))
            .collect(),
        days: days.to_owned(),
        refusal,
        frame,
    };
    Ok(View(page).answer(status_code).into_response())
}
