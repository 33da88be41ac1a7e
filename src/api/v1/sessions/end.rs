//! `DELETE /api/v1/sessions/{id}`

use aggregates::ids::SessionId;
use aggregates::session::Closing;
use axum::extract::State;
use axum::http::StatusCode;
use projections::{TenantScope, sessions};

use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::auth::Auth;

/// End one of one's own sessions
///
/// All tokens of the session are refused from the moment of the response.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "Auth",
    responses((status = 204, description = "The session is closed."), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(auth): State<Auth>,
    caller: Caller,
    Id(id): Id<SessionId>,
) -> Result<StatusCode, Problem> {
    let pool = auth.commands.pool();
    let owner = sessions::owner_of(&mut *pool.acquire().await?, id).await?;
    caller.check_owner(owner, "open session")?;
    let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
    let session = sessions::get(&mut scope, id).await?;
    scope.end().await?;
    session
        .filter(|session| session.user_id == caller.user_id)
        .ok_or_else(|| Problem::not_found("open session"))?;
    auth.close(id, Closing::Logout, &caller.metadata()).await?;
    Ok(StatusCode::NO_CONTENT)
}
