//! `GET /api/v1/users`

use axum::Json;
use axum::extract::State;
use projections::users;

use super::{UserView, Users};
use crate::api::access::authentication::Caller;
use crate::api::http::filter::FilterParameters;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::Page;

/// List users
#[utoipa::path(get, path = "/api/v1/users", tag = "Users",
    params(FilterParameters<users::Filter>),
    responses((status = 200, body = Page<UserView>, description = "A page of the tenant's users."), (status = 400)))]
pub(crate) async fn handler(
    State(users): State<Users>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<UserView>>, Problem> {
    let paging = query.paging();
    let filter: users::Filter = query.filter();
    query.complete()?;
    let mut scope = users.commands.lists().begin(caller.tenant_id).await?;
    let listed = users::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    Ok(Json(Page::of(listed)))
}
