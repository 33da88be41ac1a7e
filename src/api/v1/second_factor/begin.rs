//! `POST /api/v1/second-factor`

use aggregates::second_factor::SecondFactorCommand;
use axum::Json;
use axum::extract::State;
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::fields::body;
use crate::api::http::fields::text::CurrentPasswordText;
use crate::api::http::problem::Problem;
use crate::api::v1::users::Users;
use crate::clock;
use crate::secrets::totp::TotpSecret;

body! {
    /// Begin of an enrolment.
    NewSecondFactor {
        current_password: CurrentPasswordText = "currentPassword",
    }
}

/// Secret of an authenticator app.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Enrolment {
    /// The secret in base32, which is shown only once.
    #[schema(examples("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"))]
    secret: String,
    /// The secret with its parameters, for a QR code.
    #[schema(examples(
        "otpauth://totp/HookSentry:owner%40acme.com?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=HookSentry&algorithm=SHA1&digits=6&period=30"
    ))]
    uri: String,
}

/// Begin to enrol a second factor
///
/// Returns a secret for an authenticator app (TOTP, RFC 6238: SHA-1, six digits, 30 seconds). It is not in force until it
/// is confirmed with a code. A repetition returns a new secret and voids the former one. Only an Owner or Admin can enrol
/// one. A wrong `currentPassword` counts as a failed login.
#[utoipa::path(post, path = "/api/v1/second-factor", tag = "Auth", request_body = NewSecondFactor,
    responses((status = 200, body = Enrolment, description = "The secret, which is shown only once."),
        (status = 400), (status = 409), (status = 429)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    body: UnreadBody,
) -> Result<Json<Enrolment>, Problem> {
    let new: NewSecondFactor = body.read_small(&()).await?;
    let (user, email) = users.load_caller(&caller).await?;
    users.check_current_password(&caller, &email, Some(new.current_password)).await?;
    users.password_changes.hit(caller.user_id)?;
    let secret = TotpSecret::generate();
    let sealed = users.second_factors.seal(caller.user_id, &user, &secret).await?;
    let command = SecondFactorCommand::Begin { secret: sealed, at: clock::now() };
    users.change_second_factor(&caller, command).await?;
    Ok(Json(Enrolment {
        secret: secret.to_base32().expose_secret().to_owned(),
        uri: secret.to_uri(&email).expose_secret().to_owned(),
    }))
}
