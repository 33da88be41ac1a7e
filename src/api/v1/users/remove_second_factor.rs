//! `DELETE /api/v1/users/{id}/second-factor`

use aggregates::ids::UserId;
use aggregates::second_factor::SecondFactorCommand;
use aggregates::user::{User, UserCommand};
use axum::extract::State;
use axum::http::StatusCode;

use super::Users;
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::clock;

/// Remove the second factor of another user
///
/// For a user who has lost the authenticator app and the recovery codes. The user's password alone suffices from then on.
#[utoipa::path(delete, path = "/api/v1/users/{id}/second-factor", tag = "Users",
    responses((status = 204, description = "The user has no second factor."), (status = 403), (status = 404),
        (status = 409)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    Id(id): Id<UserId>,
) -> Result<StatusCode, Problem> {
    users.find(&caller, id).await?;
    caller.role.check_remove_second_factor(id == caller.user_id)?;
    let disable = UserCommand::SecondFactor(SecondFactorCommand::Disable { at: clock::now() });
    users.commands.execute::<User>(id.0, disable, &caller.metadata()).await?;
    Ok(StatusCode::NO_CONTENT)
}
