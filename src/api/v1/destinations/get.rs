//! `GET /api/v1/destinations/{id}`

use aggregates::ids::DestinationId;
use axum::Json;
use axum::extract::State;
use projections::legal_holds::LegalHolds;

use super::{DestinationView, Destinations};
use crate::api::access::principal::{DeliveryViewer, Principal};
use crate::api::as_of;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::DateOrTime;
use crate::api::v1::legal_holds;

/// Get a destination
///
/// A portal link does not show legal holds.
#[utoipa::path(get, path = "/api/v1/destinations/{id}", tag = "Destinations",
    params(("AsOf" = Option<DateOrTime>, Query,
        description = "Shows the destination as it was at this time; a date means its end.")),
    responses((status = 200, body = DestinationView, description = "The destination, now or as of the given time."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(destinations): State<Destinations>,
    principal: Principal,
    Id(id): Id<DestinationId>,
    query: Query,
) -> Result<Json<DestinationView>, Problem> {
    let tenant_id = principal.scope().admit_destination(id)?;
    let (destination, holds) = match as_of::is_requested(&query) {
        true => as_of::destination(&destinations.commands, tenant_id, id, query).await?,
        false => (
            destinations.find(tenant_id, id).await?,
            legal_holds::read(&destinations.commands, tenant_id).await?,
        ),
    };
    let holds = if principal.scope().shows_internals() { holds } else { LegalHolds::default() };
    Ok(Json(destinations.view(destination, &holds)))
}
