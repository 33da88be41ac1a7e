//! `POST /api/v1/auth/refresh`

use aggregates::fact::Fact;
use aggregates::session::{Session, SessionCommand, SessionFact};
use axum::Json;
use axum::extract::State;
use projections::{LoggedFact, sessions};

use super::refresh_token::RefreshToken;
use super::{Auth, PresentedRefreshToken, Tokens, refresh_token_refused};
use crate::api::access::access_tokens::Bearer;
use crate::api::http::body::UnreadBody;
use crate::api::http::problem::Problem;
use crate::api::http::request_context::RequestContext;
use crate::clock;
use crate::event_store::{Actor, stream_reader};
use crate::secrets::token;

/// Refresh the tokens of a session
///
/// A refresh token can be used once. A second use means that two parties have it, and closes the session.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "Auth", request_body = PresentedRefreshToken,
    responses((status = 200, body = Tokens, description = "New tokens of the session."),
        (status = 400), (status = 401)))]
pub(crate) async fn handler(
    State(auth): State<Auth>,
    context: RequestContext,
    body: UnreadBody,
) -> Result<Json<Tokens>, Problem> {
    let presented: PresentedRefreshToken = body.read().await?;
    let presented = RefreshToken::parse(&presented).ok_or_else(refresh_token_refused)?;
    let user = sessions::user(&mut *auth.commands.pool().acquire().await?, presented.session_id).await?;
    let user = user.ok_or_else(refresh_token_refused)?;
    if !user.is_current {
        return Err(Problem::read_model_behind());
    }
    if !auth.was_issued(&presented).await? {
        return Err(refresh_token_refused());
    }
    let bearer = Bearer {
        user_id: user.user_id,
        session_id: presented.session_id,
        tenant_id: user.tenant_id,
        email: user.email.to_string(),
        role: user.role,
    };
    let now = clock::now();
    let (tokens, issued) = auth.issue(&bearer, now)?;
    let metadata = context.metadata(user.tenant_id, Actor::User(user.user_id));
    let command = SessionCommand::Refresh { presented: presented.hash, tokens: issued, at: now };
    let refreshed = auth.commands.execute::<Session>(presented.session_id.0, command, &metadata).await?;
    match refreshed.facts.as_slice() {
        [SessionFact::SessionRefreshed { .. }] => Ok(Json(tokens)),
        _ => Err(refresh_token_refused()),
    }
}

impl Auth {
    /// Returns whether a token was ever a refresh token of its session. Only such a token may close the session:
    /// its id, which every access token contains, must not suffice to log out its user.
    async fn was_issued(&self, presented: &RefreshToken) -> Result<bool, Problem> {
        let mut connection = self.commands.pool().acquire().await?;
        let rows = stream_reader::read::<Session>(&mut connection, presented.session_id.0).await?;
        for row in rows {
            let issued = match LoggedFact::try_from(row).map_err(Problem::internal)?.fact {
                Fact::Session(
                    SessionFact::LoggedIn { tokens, .. } | SessionFact::SessionRefreshed { tokens, .. },
                ) => tokens,
                _ => continue,
            };
            if token::same(&issued.refresh_token_hash, &presented.hash) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
