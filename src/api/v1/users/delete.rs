//! `DELETE /api/v1/users/{id}`

use aggregates::ids::UserId;
use aggregates::user::{User, UserCommand};
use axum::extract::State;
use axum::http::StatusCode;

use super::{Users, release_email, update_owners};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::clock;

/// Delete a user
///
/// Closes the user's sessions and releases the email address. The last Owner of a tenant cannot be deleted.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "Users",
    responses((status = 204, description = "The user was deleted."), (status = 403), (status = 404), (status = 409)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    Id(id): Id<UserId>,
) -> Result<StatusCode, Problem> {
    let before = users.find(&caller, id).await?;
    caller.role.check_delete(before.role)?;
    let (users, caller, at) = (&users, &caller, clock::now());
    users
        .commands
        .transact(&caller.metadata(), |mut work| async move {
            let mut user = work.load::<User>(id.0).await?;
            let User::Registered(before) = user.state.clone() else { return Err(Problem::not_found("user")) };
            caller.role.check_delete(before.role)?;
            let email = work.email_of(&user).await?;
            work.decide_loaded(&mut user, vec![UserCommand::Delete { at }], Problem::from)?;
            release_email(&mut work, users.vault.email_reservation(&email).await?, id, at).await?;
            update_owners(&mut work, id, &before, None, at).await?;
            Ok((work, ()))
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
