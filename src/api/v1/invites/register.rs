//! `POST /api/v1/invites/{token}/register`

use aggregates::ids::UserId;
use aggregates::invite::{Invite, InviteCommand, InviteRefusal, Inviter};
use aggregates::role::UserStatus;
use aggregates::user::User;
use axum::extract::State;
use axum::response::IntoResponse;
use projections::tenant_usage::Resource;
use projections::{invites, tenants};

use super::Invites;
use crate::api::commands::UnitOfWork;
use crate::api::http::body::UnreadBody;
use crate::api::http::created::Created;
use crate::api::http::fields::text;
use crate::api::http::path::Segments;
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::request_context::RequestContext;
use crate::api::v1::auth::Credentials;
use crate::api::v1::users::{self, NewAccount, UserView};
use crate::event_store::NewEmail;
use crate::secrets::token;
use crate::{clock, identifiers};

/// Register with an invite
///
/// Creates a user of the tenant that issued the invite. An invite can be used once.
#[utoipa::path(post, path = "/api/v1/invites/{token}/register", tag = "Invites",
    request_body = Credentials,
    responses((status = 201, body = UserView, description = "The new user."),
        (status = 400), (status = 403), (status = 404), (status = 409), (status = 422), (status = 429)))]
pub(crate) async fn handler(
    State(invites): State<Invites>,
    context: RequestContext,
    segments: Segments,
    body: UnreadBody,
) -> Result<impl IntoResponse, Problem> {
    invites.registrations.hit(context.client)?;
    let [token] = segments.into_array()?;
    let token = text::token(&token).map_err(|message| Problem::invalid(FieldErrors::of("token", message)))?;
    let mut connection = invites.commands.pool().acquire().await?;
    let invite = invites::by_token(&mut connection, &token::hash(token)).await?;
    let invite = invite.filter(|invite| invite.revoked_at.is_none()).ok_or(InviteRefusal::NotIssued)?;
    if tenants::is_suspended(&mut connection, invite.tenant_id).await? == Some(true) {
        return Err(Problem::tenant_suspended());
    }
    drop(connection);
    let Credentials { email, password } = body.read_small(&invites.passwords).await?;
    let at = clock::now();
    if invite.used_at.is_some() {
        return Err(InviteRefusal::IsUsed.into());
    }
    if invite.expires_at <= at {
        return Err(InviteRefusal::HasExpired.into());
    }
    invites.limits.check(invite.tenant_id, Resource::Users).await?;
    let password_hash = invites.passwords.hash(password, context.requester()).await?;
    let (user_id, tenant_id, role) = (UserId(identifiers::new_id()), invite.tenant_id, invite.target_role);
    let reservation = invites.vault.email_reservation(&email).await?;
    let email = NewEmail::new(email);
    let account = &NewAccount { id: user_id, tenant_id, email, reservation, password_hash, role, at };
    let invite = &invite;
    let metadata = context.metadata_of_stranger(tenant_id, user_id);
    invites
        .commands
        .transact(&metadata, |mut work| async move {
            users::register(&mut work, account).await?;
            let inviter = inviter(&work, invite.issued_by).await?;
            let accept = InviteCommand::Accept { user_id, inviter, at };
            work.decide::<Invite>(invite.id.0, accept, Problem::from).await?;
            Ok((work, ()))
        })
        .await?;
    Ok(Created { location: format!("/api/v1/users/{user_id}"), body: UserView::registered(account) })
}

/// Returns the user who issued the invite; `None`: that user is inactive or deleted.
async fn inviter(work: &UnitOfWork, issued_by: Option<UserId>) -> Result<Option<Inviter>, Problem> {
    let Some(id) = issued_by else { return Ok(None) };
    match work.load::<User>(id.0).await?.state {
        User::Registered(user) if user.status == UserStatus::Active => {
            Ok(Some(Inviter { role: user.role, deactivated_at: user.deactivated_at }))
        }
        _ => Ok(None),
    }
}
