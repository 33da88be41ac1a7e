//! `POST /api/v1/auth/refresh`

use aggregates::session::{SessionCommand, SessionFact};
use axum::Json;
use axum::extract::State;
use projections::sessions;

use super::refresh_token::RefreshToken;
use super::{Auth, PresentedRefreshToken, Tokens, refresh_token_refused};
use crate::api::access::access_tokens::Bearer;
use crate::api::http::body::UnreadBody;
use crate::api::http::problem::Problem;
use crate::api::http::request_context::RequestContext;
use crate::clock;
use crate::security_log::{self, SecurityEvent, Subject};

/// Refresh the tokens of a session
///
/// A refresh token can be used once. A second use means that two parties have it, and closes the session. A session
/// ends 30 days after its login however often it is refreshed, unless the operator has set another time, and can be
/// refreshed 60 times within an hour.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "Auth", request_body = PresentedRefreshToken,
    responses((status = 200, body = Tokens, description = "New tokens of the session."),
        (status = 400), (status = 401), (status = 403), (status = 429)))]
pub(crate) async fn handler(
    State(auth): State<Auth>,
    context: RequestContext,
    body: UnreadBody,
) -> Result<Json<Tokens>, Problem> {
    let presented: PresentedRefreshToken = body.read_small(&()).await?;
    let presented = RefreshToken::parse(&presented).ok_or_else(refresh_token_refused)?;
    let user = sessions::user(&mut *auth.commands.pool().acquire().await?, presented.session_id).await?;
    let user = user.ok_or_else(refresh_token_refused)?;
    if !user.is_current {
        return Err(Problem::read_model_behind());
    }
    let session = auth.session(presented.session_id).await?.ok_or_else(refresh_token_refused)?;
    if !presented.was_issued_for(&session) {
        return Err(refresh_token_refused());
    }
    if user.tenant_is_suspended {
        return Err(Problem::tenant_suspended());
    }
    // Only a holder of a token of the session uses up its limit.
    auth.refreshes.hit(presented.session_id)?;
    let bearer = Bearer {
        user_id: user.user_id,
        session_id: presented.session_id,
        tenant_id: user.tenant_id,
        email: user.email.to_string(),
        role: user.role,
    };
    let now = clock::now();
    let (tokens, issued) = auth.issue(&bearer, &presented.family, session.opened_at, now)?;
    let metadata = context.metadata_of_user(user.tenant_id, user.user_id);
    let command = SessionCommand::Refresh { presented: presented.hash, tokens: issued, at: now };
    let facts = auth.change(presented.session_id, &command, &metadata).await?;
    match facts.as_slice() {
        [SessionFact::SessionRefreshed { .. }] => Ok(Json(tokens)),
        _ => {
            let subject = Subject { tenant_id: user.tenant_id, user_id: Some(user.user_id) };
            security_log::report(SecurityEvent {
                kind: "refresh-token-reused",
                route: "/api/v1/auth/refresh",
                subject: Some(subject),
                client: Some(context.client),
                request_id: Some(&context.request_id),
            });
            Err(refresh_token_refused().about(Some(subject)))
        }
    }
}
