//! `GET /api/v1/apikeys`

use axum::Json;
use axum::extract::State;
use projections::api_keys;

use super::{ApiKeyView, ApiKeys};
use crate::api::access::authentication::Caller;
use crate::api::http::filter::FilterParameters;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::Page;

/// List API keys
#[utoipa::path(get, path = "/api/v1/apikeys", tag = "API keys",
    params(FilterParameters<api_keys::Filter>),
    responses((status = 200, body = Page<ApiKeyView>, description = "A page of the tenant's API keys."),
        (status = 400)))]
pub(crate) async fn handler(
    State(keys): State<ApiKeys>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<ApiKeyView>>, Problem> {
    let paging = query.paging();
    let filter: api_keys::Filter = query.filter();
    query.complete()?;
    let mut scope = keys.commands.lists().begin(caller.tenant_id).await?;
    let listed = api_keys::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    Ok(Json(Page::of(listed)))
}
