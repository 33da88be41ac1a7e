//! `POST /api/v1/auth/logout`

use aggregates::session::Closing;
use axum::extract::State;
use axum::http::StatusCode;

use super::refresh_token::RefreshToken;
use super::{Auth, PresentedRefreshToken, refresh_token_refused};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::problem::Problem;

/// Log out
///
/// Closes the session of the refresh token and the session of the access token. All tokens of both are refused
/// from then on. A refresh token that was used before closes its session as well.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "Auth", request_body = PresentedRefreshToken,
    responses((status = 204, description = "The session is closed."), (status = 400)))]
pub(crate) async fn handler(
    State(auth): State<Auth>,
    caller: Caller,
    body: UnreadBody,
) -> Result<StatusCode, Problem> {
    let presented: PresentedRefreshToken = body.read_small(&()).await?;
    let presented = RefreshToken::parse(&presented).ok_or_else(refresh_token_refused)?;
    let session = auth.session(presented.session_id).await?;
    let session = session.filter(|session| session.user_id == caller.user_id);
    if !session.is_some_and(|session| presented.was_issued_for(&session)) {
        return Err(refresh_token_refused());
    }
    let metadata = caller.metadata();
    auth.close(presented.session_id, Closing::Logout, &metadata).await?;
    if caller.session_id != presented.session_id {
        auth.close(caller.session_id, Closing::Logout, &metadata).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
