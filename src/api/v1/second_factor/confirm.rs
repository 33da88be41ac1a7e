//! `POST /api/v1/second-factor/confirm`

use aggregates::second_factor::{SecondFactor, SecondFactorCommand};
use aggregates::user::UserRefusal;
use axum::Json;
use axum::extract::State;

use super::RecoveryCodesView;
use crate::api::access::authentication::Caller;
use crate::api::access::second_factors::GivenFactor;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::text::TotpCodeText;
use crate::api::http::problem::Problem;
use crate::api::v1::users::Users;
use crate::clock;
use crate::secrets::recovery_codes::NewRecoveryCodes;

body! {
    /// Proof that the authenticator app has the secret.
    SecondFactorConfirmation {
        totp_code: TotpCodeText = "totpCode",
    }
}

/// Enable the second factor
///
/// Logins need a code from now on. Closes the user's sessions, also the one of this request: they were opened with the
/// password alone. A wrong code counts as a failed login.
#[utoipa::path(post, path = "/api/v1/second-factor/confirm", tag = "Auth", request_body = SecondFactorConfirmation,
    responses((status = 200, body = RecoveryCodesView, description = "Recovery codes, which are shown only once."),
        (status = 400), (status = 409), (status = 429)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    body: UnreadBody,
) -> Result<Json<RecoveryCodesView>, Problem> {
    let SecondFactorConfirmation { totp_code } = body.read_small(&()).await?;
    let (user, email) = users.load_caller(&caller).await?;
    let secret = match &user.second_factor {
        SecondFactor::Begun { secret } => secret.clone(),
        SecondFactor::Enabled { .. } => return Err(UserRefusal::SecondFactorEnabled.into()),
        SecondFactor::Absent => return Err(UserRefusal::SecondFactorNotBegun.into()),
    };
    let proves = users.second_factors.proves(caller.user_id, &user, &secret, &totp_code);
    let refused = || GivenFactor::Totp(totp_code.clone()).refused();
    users.count_guess(&caller, &email, proves, refused).await?;
    let new = NewRecoveryCodes::generate();
    let (recovery_codes, at) = (new.hashes.clone(), clock::now());
    let command = SecondFactorCommand::Enable { secret, recovery_codes, at };
    users.change_second_factor(&caller, command).await?;
    Ok(Json(RecoveryCodesView::of(&new)))
}
