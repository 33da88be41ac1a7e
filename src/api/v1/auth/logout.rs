//! `POST /api/v1/auth/logout`

use aggregates::session::{Closing, Session};
use axum::extract::State;
use axum::http::StatusCode;

use super::refresh_token::RefreshToken;
use super::{Auth, PresentedRefreshToken, refresh_token_refused};
use crate::api::access::authentication::Caller;
use crate::api::http::body::UnreadBody;
use crate::api::http::problem::Problem;
use crate::clock;
use crate::secrets::token;

/// Log out
///
/// Closes the session of the refresh token and the session of the access token. All tokens of both are refused
/// from then on.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "Auth", request_body = PresentedRefreshToken,
    responses((status = 204, description = "The session is closed."), (status = 400)))]
pub(crate) async fn handler(
    State(auth): State<Auth>,
    caller: Caller,
    body: UnreadBody,
) -> Result<StatusCode, Problem> {
    let presented: PresentedRefreshToken = body.read().await?;
    let presented = RefreshToken::parse(&presented).ok_or_else(refresh_token_refused)?;
    let session = auth.commands.store().load::<Session>(presented.session_id.0).await?;
    match &session.state {
        Session::Open { user_id, refresh_token_hash, expires_at }
            if *user_id == caller.user_id
                && token::same(refresh_token_hash, &presented.hash)
                && *expires_at > clock::now() => {}
        _ => return Err(refresh_token_refused()),
    }
    let metadata = caller.metadata();
    auth.close(presented.session_id, Closing::Logout, &metadata).await?;
    if caller.session_id != presented.session_id {
        auth.close(caller.session_id, Closing::Logout, &metadata).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}
