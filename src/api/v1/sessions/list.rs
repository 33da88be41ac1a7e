//! `GET /api/v1/sessions`

use axum::Json;
use axum::extract::State;
use projections::sessions;

use super::SessionView;
use crate::api::access::authentication::Caller;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::Page;
use crate::api::v1::auth::Auth;

/// List one's own sessions
#[utoipa::path(get, path = "/api/v1/sessions", tag = "Auth",
    responses((status = 200, body = Page<SessionView>, description = "A page of the caller's open sessions."),
        (status = 400)))]
pub(crate) async fn handler(
    State(auth): State<Auth>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<SessionView>>, Problem> {
    let paging = query.paging();
    query.complete()?;
    let filter = sessions::Filter { user: Some(caller.user_id) };
    let mut scope = auth.commands.lists().begin(caller.tenant_id).await?;
    let listed = sessions::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    let items = listed.items.into_iter().map(|session| SessionView {
        id: session.id.0,
        is_current: session.id == caller.session_id,
        opened_at: session.opened_at.into(),
        expires_at: session.expires_at.into(),
    });
    Ok(Json(Page { total: listed.total, items: items.collect() }))
}
