//! `GET /api/v1/events/facets`

use axum::Json;
use axum::extract::State;
use projections::webhook_events::{self, EXAMINED_MAX, Facets};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::principal::Principal;
use crate::api::http::filter::FilterParameters;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::openapi::schemas::{EventStatusName, OutcomeName};
use crate::api::v1::events::state::Events;

/// How the newest events of a list are distributed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EventFacets)]
pub(crate) struct FacetsView {
    /// Events that were counted.
    #[schema(minimum = 0, maximum = 10_000)]
    examined: i64,
    /// Whether these are all events of the list.
    is_complete: bool,
    statuses: Vec<Facet<EventStatusName>>,
    /// At most 20.
    destinations: Vec<Facet<Uuid>>,
    /// At most 20.
    senders: Vec<Facet<Uuid>>,
    /// Outcomes of the attempts that ended last.
    outcomes: Vec<Facet<OutcomeName>>,
    /// HTTP statuses of the responses to these attempts, at most 20.
    http_statuses: Vec<Facet<u16>>,
}

/// A value and the number of events that have it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Facet<T> {
    value: T,
    #[schema(minimum = 1)]
    count: i64,
}

/// Count events by what they can be filtered by
///
/// Counts the newest 10,000 events that match the filter, for each value of a field: those of the most events first.
#[utoipa::path(get, path = "/api/v1/events/facets", tag = "Events",
    params(FilterParameters<webhook_events::Filter>),
    responses((status = 200, body = FacetsView, description = "Numbers of events."), (status = 400)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    principal: Principal,
    mut query: Query,
) -> Result<Json<FacetsView>, Problem> {
    let (tenant_id, filter) = events.filter(&principal, &mut query).await?;
    query.complete()?;
    let mut scope = events.commands.lists().begin(tenant_id).await?;
    let facets = webhook_events::facets(&mut scope, filter).await?;
    scope.end().await?;
    Ok(Json(FacetsView::from(facets)))
}

impl From<Facets> for FacetsView {
    fn from(facets: Facets) -> Self {
        Self {
            examined: facets.examined,
            is_complete: facets.examined < EXAMINED_MAX,
            statuses: values(facets.statuses, EventStatusName::from),
            destinations: values(facets.destinations, |id| id.0),
            senders: values(facets.senders, |id| id.0),
            outcomes: values(facets.outcomes, OutcomeName::from),
            http_statuses: values(facets.http_statuses, |status| status),
        }
    }
}

fn values<T, V>(counts: Vec<(T, i64)>, view: impl Fn(T) -> V) -> Vec<Facet<V>> {
    counts.into_iter().map(|(value, count)| Facet { value: view(value), count }).collect()
}
