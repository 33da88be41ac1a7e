//! `GET /api/v1/portal-links`

use axum::Json;
use axum::extract::State;
use projections::portal_links;

use super::{PortalLinkView, PortalLinks};
use crate::api::access::authentication::Caller;
use crate::api::http::filter::FilterParameters;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::Page;
use crate::clock;

/// List portal links
#[utoipa::path(get, path = "/api/v1/portal-links", tag = "Portal links",
    params(FilterParameters<portal_links::Filter>),
    responses((status = 200, body = Page<PortalLinkView>, description = "A page of the tenant's portal links."),
        (status = 400)))]
pub(crate) async fn handler(
    State(links): State<PortalLinks>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<PortalLinkView>>, Problem> {
    let paging = query.paging();
    let filter: portal_links::Filter = query.filter();
    query.complete()?;
    let mut scope = links.commands.lists().begin(caller.tenant_id).await?;
    let listed = portal_links::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    let now = clock::now();
    let items = listed.items.into_iter().map(|link| PortalLinkView::of(link, now)).collect();
    Ok(Json(Page { total: listed.total, items }))
}
