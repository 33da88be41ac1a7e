//! `GET /api/v1/destinations`

use axum::Json;
use axum::extract::State;
use projections::{destinations, legal_holds};

use super::{DestinationView, Destinations};
use crate::api::access::authentication::Caller;
use crate::api::http::filter::FilterParameters;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::Page;

/// List destinations
#[utoipa::path(get, path = "/api/v1/destinations", tag = "Destinations",
    params(FilterParameters<destinations::Filter>),
    responses((status = 200, body = Page<DestinationView>, description = "A page of the tenant's destinations."),
        (status = 400)))]
pub(crate) async fn handler(
    State(destinations): State<Destinations>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<DestinationView>>, Problem> {
    let paging = query.paging();
    let filter: destinations::Filter = query.filter();
    query.complete()?;
    let mut scope = destinations.commands.lists().begin(caller.tenant_id).await?;
    let listed = destinations::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    let holds = legal_holds::of_tenant(scope.connection(), caller.tenant_id, None).await?;
    scope.end().await?;
    let items = listed.items.into_iter().map(|destination| destinations.view(destination, &holds)).collect();
    Ok(Json(Page { total: listed.total, items }))
}
