//! `DELETE /api/v1/invites/{id}`

use aggregates::ids::InviteId;
use aggregates::invite::{Invite, InviteCommand};
use axum::extract::State;
use axum::http::StatusCode;
use projections::invites;

use super::Invites;
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::clock;

/// Revoke an invite
///
/// Registrations with the invite are refused from the moment of the response. An invite also ends when the user who
/// issued it is deactivated or deleted, and while that user may not invite users of its role. It stays ended if the
/// user is activated again.
#[utoipa::path(delete, path = "/api/v1/invites/{id}", tag = "Invites",
    responses((status = 204, description = "The invite was revoked."),
        (status = 403), (status = 404), (status = 409)))]
pub(crate) async fn handler(
    State(invites): State<Invites>,
    caller: Caller,
    Id(id): Id<InviteId>,
) -> Result<StatusCode, Problem> {
    let owner = invites::owner_of(&mut *invites.commands.pool().acquire().await?, id).await?;
    caller.check_owner(owner, "invite")?;
    let revoke = InviteCommand::Revoke { at: clock::now() };
    invites.commands.execute::<Invite>(id.0, revoke, &caller.metadata()).await?;
    Ok(StatusCode::NO_CONTENT)
}
