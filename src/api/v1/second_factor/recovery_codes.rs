//! `POST /api/v1/second-factor/recovery-codes`

use aggregates::second_factor::SecondFactorCommand;
use axum::Json;
use axum::extract::State;

use super::{BothFactors, RecoveryCodesView};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::problem::Problem;
use crate::api::v1::users::Users;
use crate::clock;
use crate::secrets::recovery_codes::NewRecoveryCodes;

/// Replace the recovery codes
///
/// The former ones are void. A wrong password or code counts as a failed login.
#[utoipa::path(post, path = "/api/v1/second-factor/recovery-codes", tag = "Auth", request_body = BothFactors,
    responses((status = 200, body = RecoveryCodesView, description = "Recovery codes, which are shown only once."),
        (status = 400), (status = 409), (status = 429)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    body: UnreadBody,
) -> Result<Json<RecoveryCodesView>, Problem> {
    let given: BothFactors = body.read_small(&()).await?;
    users.check_both_factors(&caller, given).await?;
    users.password_changes.hit(caller.user_id)?;
    let new = NewRecoveryCodes::generate();
    let (recovery_codes, at) = (new.hashes.clone(), clock::now());
    let command = SecondFactorCommand::ReplaceRecoveryCodes { recovery_codes, at };
    users.change_second_factor(&caller, command).await?;
    Ok(Json(RecoveryCodesView::of(&new)))
}
