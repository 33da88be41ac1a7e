//! `POST /api/v1/second-factor/disable`

use aggregates::second_factor::SecondFactorCommand;
use axum::extract::State;
use axum::http::StatusCode;

use super::BothFactors;
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::problem::Problem;
use crate::api::v1::users::Users;
use crate::clock;

/// Disable the second factor
///
/// The password alone suffices for logins from now on. A wrong password or code counts as a failed login.
#[utoipa::path(post, path = "/api/v1/second-factor/disable", tag = "Auth", request_body = BothFactors,
    responses((status = 204, description = "The caller has no second factor."), (status = 400), (status = 409),
        (status = 429)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    body: UnreadBody,
) -> Result<StatusCode, Problem> {
    let given: BothFactors = body.read_small(&()).await?;
    users.check_both_factors(&caller, given).await?;
    users.change_second_factor(&caller, SecondFactorCommand::Disable { at: clock::now() }).await?;
    Ok(StatusCode::NO_CONTENT)
}
