//! `GET /api/v1/events/{id}/attempts`

use std::collections::BTreeMap;

use aggregates::ids::WebhookEventId;
use axum::Json;
use axum::extract::State;
use projections::attempt_responses::{self, AttemptResponse};
use projections::delivery_attempts::{self, DeliveryAttempt};
use projections::paging::{self, Direction, Listed};
use projections::{LoggedFact, Projection, TenantScope};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::principal::{DeliveryViewer, Principal};
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::OutcomeName;
use crate::api::v1::events::attempt_configuration::{ConfigurationView, ConfigurationsInForce};
use crate::api::v1::events::erasure::{self, PayloadErasure};
use crate::api::v1::events::state::Events;
use crate::api::v1::events::streams;

/// One attempt to deliver an event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    /// Number of the attempt, from 1, counted since the event was accepted.
    #[schema(minimum = 1)]
    attempt: u32,
    destination_id: Uuid,
    started_at: Timestamp,
    /// `null` while the attempt is in progress.
    finished_at: Option<Timestamp>,
    /// `null` while the attempt is in progress.
    outcome: Option<OutcomeName>,
    http_status: Option<u16>,
    duration_ms: Option<u64>,
    /// Empty once the payload of the event is erased.
    response_headers: BTreeMap<String, String>,
    /// First 2 KiB of the response body; `null` once the payload of the event is erased.
    response_excerpt: Option<String>,
    /// Address that the request was sent to.
    address: Option<String>,
    /// Description of a failure.
    detail: Option<String>,
    /// Worker that made the attempt; `null` to a portal link.
    worker: Option<String>,
    /// Version of the destination whose settings were used.
    destination_version: u64,
    /// Version of the tenant whose secret signed it.
    tenant_version: u64,
    /// Settings in force when the attempt started.
    configuration: ConfigurationView,
}

/// A page of an event's attempts.
#[derive(Serialize, ToSchema)]
pub(crate) struct AttemptPage {
    /// Number of attempts on all pages.
    #[schema(minimum = 0)]
    total: i64,
    /// Attempts of this page. A page beyond the last one has none.
    items: Vec<AttemptView>,
    /// Erasure of the payload on request, and with it of what was kept of the responses; `null` unless it was requested,
    /// and to a portal link.
    erasure: Option<PayloadErasure>,
}

/// List delivery attempts
///
/// Returns the attempts to deliver an event, oldest first unless `TpOrd` says otherwise.
#[utoipa::path(get, path = "/api/v1/events/{id}/attempts", tag = "Events",
    responses((status = 200, body = AttemptPage, description = "A page of the event's attempts."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    principal: Principal,
    Id(id): Id<WebhookEventId>,
    query: Query,
) -> Result<Json<AttemptPage>, Problem> {
    let tenant_id = events.find(&principal, id).await?.tenant_id;
    let shows_internals = principal.scope().shows_internals();
    let (page, direction) = query.entries()?;
    let pool = events.commands.pool();
    let mut scope = TenantScope::begin(pool, tenant_id).await?;
    let mut listed = delivery_attempts::list(&mut scope, id, direction, page).await?;
    if listed.total == 0 {
        scope.end().await?;
        let mut connection = pool.acquire().await?;
        let facts = streams::facts_before_rows(&mut connection, id, Projection::DeliveryAttempts).await?;
        drop(connection);
        listed = of_stream(&facts, direction, page);
        scope = TenantScope::begin(pool, tenant_id).await?;
    }
    let in_force = ConfigurationsInForce::at(&mut scope, &listed.items).await?;
    let numbers: Vec<u32> = listed.items.iter().map(|attempt| attempt.attempt).collect();
    let mut responses = attempt_responses::of_event(&mut scope, id, &numbers).await?;
    let erasure = match shows_internals {
        true => erasure::of(&mut scope, &[id]).await?.remove(&id),
        false => None,
    };
    scope.end().await?;
    let items = listed.items.into_iter().map(|attempt| {
        let response = responses.remove(&attempt.attempt).unwrap_or_default();
        let view = AttemptView::of(attempt, response, &in_force);
        view.map(|view| AttemptView { worker: view.worker.filter(|_| shows_internals), ..view })
    });
    Ok(Json(AttemptPage { total: listed.total, items: items.collect::<Result<_, _>>()?, erasure }))
}

/// Returns the attempts of an event from its stream. The read model has none of them if retention removed
/// them, or if they are too recent.
fn of_stream(facts: &[LoggedFact], direction: Direction, page: paging::Page) -> Listed<DeliveryAttempt> {
    let mut attempts = delivery_attempts::of_stream(facts);
    if direction == Direction::Descending {
        attempts.reverse();
    }
    let total = i64::try_from(attempts.len()).unwrap_or(i64::MAX);
    let bound = |number: i64| usize::try_from(number).unwrap_or(usize::MAX);
    let items = attempts.into_iter().skip(bound(page.offset)).take(bound(page.limit)).collect();
    Listed { total, items }
}

impl AttemptView {
    fn of(
        attempt: DeliveryAttempt,
        response: AttemptResponse,
        in_force: &ConfigurationsInForce,
    ) -> Result<Self, Problem> {
        let configuration = in_force.configuration_of(&attempt)?;
        let end = attempt.end;
        Ok(Self {
            attempt: attempt.attempt,
            destination_id: attempt.destination_id.0,
            started_at: attempt.started_at.into(),
            finished_at: end.as_ref().map(|end| end.finished_at.into()),
            outcome: end.as_ref().map(|end| end.outcome.into()),
            http_status: end.as_ref().and_then(|end| end.http_status),
            duration_ms: end.as_ref().map(|end| end.duration_ms),
            response_headers: response.headers,
            response_excerpt: response.excerpt,
            address: end.as_ref().and_then(|end| end.address.clone()),
            detail: end.and_then(|end| end.detail),
            worker: Some(attempt.worker),
            destination_version: attempt.destination_version,
            tenant_version: attempt.tenant_version,
            configuration,
        })
    }
}
