//! `GET /api/v1/destinations/{id}/senders`

use aggregates::ids::DestinationId;
use axum::Json;
use axum::extract::State;
use projections::senders;

use super::{SenderView, Senders};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::Page;
use crate::api::v1::destinations;

/// List the senders of a destination
#[utoipa::path(get, path = "/api/v1/destinations/{id}/senders", tag = "Senders",
    responses((status = 200, body = Page<SenderView>, description = "A page of the destination's senders."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(senders): State<Senders>,
    caller: Caller,
    Id(destination_id): Id<DestinationId>,
    mut query: Query,
) -> Result<Json<Page<SenderView>>, Problem> {
    destinations::check_owner(&senders.commands, &caller, destination_id).await?;
    let paging = query.paging();
    query.complete()?;
    let mut scope = senders.commands.lists().begin(caller.tenant_id).await?;
    let listed =
        senders::list(&mut scope, destination_id, paging.sort, paging.direction, paging.page).await?;
    scope.end().await?;
    Ok(Json(Page::of(listed)))
}
