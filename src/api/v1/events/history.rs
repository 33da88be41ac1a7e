//! What happened to a webhook event: every attempt, and every fact.

use std::collections::BTreeMap;

use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::WebhookEvent;
use axum::Json;
use axum::extract::State;
use projections::delivery_attempts::{self, DeliveryAttempt};
use projections::paging::{self, Direction, Listed};
use projections::{LogPosition, LoggedFact, Projection, TenantScope};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::http::time::Timestamp;
use crate::api::openapi::schemas::Page;
use crate::api::v1::events::Events;
use crate::api::v1::events::attempt_configuration::{ConfigurationView, InForce};
use crate::api::v1::events::streams;
use crate::event_store::stream_reader::{self, Entry};

/// Entries of a page, unless a caller says otherwise.
const ENTRIES_DEFAULT: i64 = 100;

/// One attempt to deliver an event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Attempt)]
pub(crate) struct AttemptView {
    /// Its number, from 1, over the event's whole life.
    #[schema(minimum = 1)]
    attempt: u32,
    destination_id: Uuid,
    started_at: Timestamp,
    /// When it was over; `null` while it is under way.
    finished_at: Option<Timestamp>,
    /// How it ended, such as `succeeded`, `refused_status` or `timeout`; `null` while it is under way.
    outcome: Option<&'static str>,
    http_status: Option<u16>,
    duration_ms: Option<u64>,
    response_headers: BTreeMap<String, String>,
    /// The first 2 KiB of the answer.
    response_excerpt: Option<String>,
    /// The address the request went to.
    address: Option<String>,
    /// A reason in words, where there is one.
    detail: Option<String>,
    /// Who made it.
    worker: String,
    /// Version of the destination whose settings it went by.
    destination_version: u64,
    /// Version of the tenant whose secret signed it.
    tenant_version: u64,
    /// What it went by: the settings that were in force when it started.
    configuration: ConfigurationView,
}

/// One fact.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Fact)]
pub(crate) struct FactView {
    /// Its place in the log.
    position: FactPosition,
    /// Its version within the event's stream.
    version: i64,
    /// When it was recorded.
    time: Timestamp,
    /// What happened, such as `EventAccepted`.
    #[serde(rename = "type")]
    event_type: String,
    /// The particulars.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// Who brought it about: `user:<id>`, `api-key:<id>` or `role:<name>`.
    actor: Option<String>,
    /// The request in whose course it was written.
    request_id: Option<String>,
}

/// A place in the log's total order.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FactPosition {
    transaction_id: u64,
    position: i64,
}

/// List the attempts to deliver an event, oldest first.
#[utoipa::path(get, path = "/api/v1/events/{id}/attempts", tag = "Events",
    responses((status = 200, body = Page<AttemptView>), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn attempts(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
    mut query: Query,
) -> Result<Json<Page<AttemptView>>, Problem> {
    events.find(&caller, id).await?;
    let page = query.page(ENTRIES_DEFAULT);
    let direction = query.direction(Direction::Ascending);
    query.complete()?;
    let pool = events.commands.pool();
    let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
    let mut listed = delivery_attempts::list(&mut scope, id, direction, page).await?;
    if listed.total == 0 {
        scope.end().await?;
        let mut connection = pool.acquire().await?;
        let facts = streams::facts_before_rows(&mut connection, id, Projection::DeliveryAttempts).await?;
        drop(connection);
        listed = of_stream(&facts, direction, page);
        scope = TenantScope::begin(pool, caller.tenant_id).await?;
    }
    let in_force = InForce::at(&mut scope, &listed.items).await?;
    scope.end().await?;
    let items = listed.items.into_iter().map(|attempt| AttemptView::of(attempt, &in_force));
    Ok(Json(Page { total: listed.total, items: items.collect::<Result<_, _>>()? }))
}

/// The attempts of an event that the read model does not show: it was kept as long as its tenant wanted, or
/// accepted a moment ago.
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

/// List every fact of an event, oldest first.
#[utoipa::path(get, path = "/api/v1/events/{id}/history", tag = "Events",
    responses((status = 200, body = Page<FactView>), (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn history(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
    mut query: Query,
) -> Result<Json<Page<FactView>>, Problem> {
    events.find(&caller, id).await?;
    let page = query.page(ENTRIES_DEFAULT);
    let direction = query.direction(Direction::Ascending);
    query.complete()?;
    let mut scope = TenantScope::begin(events.commands.pool(), caller.tenant_id).await?;
    let listed = stream_reader::history::<WebhookEvent>(scope.connection(), id.0, direction, page).await?;
    scope.end().await?;
    let items = listed.items.into_iter().map(FactView::of).collect::<Result<_, _>>()?;
    Ok(Json(Page { total: listed.total, items }))
}

impl AttemptView {
    fn of(attempt: DeliveryAttempt, in_force: &InForce) -> Result<Self, Problem> {
        let configuration = in_force.configuration_of(&attempt)?;
        let end = attempt.end;
        Ok(Self {
            attempt: attempt.attempt,
            destination_id: attempt.destination_id.0,
            started_at: attempt.started_at.into(),
            finished_at: end.as_ref().map(|end| end.finished_at.into()),
            outcome: end.as_ref().map(|end| end.outcome.name()),
            http_status: end.as_ref().and_then(|end| end.http_status),
            duration_ms: end.as_ref().map(|end| end.duration_ms),
            response_headers: end.as_ref().map(|end| end.response_headers.clone()).unwrap_or_default(),
            response_excerpt: end.as_ref().and_then(|end| end.response_excerpt.clone()),
            address: end.as_ref().and_then(|end| end.address.clone()),
            detail: end.and_then(|end| end.detail),
            worker: attempt.worker,
            destination_version: attempt.destination_version,
            tenant_version: attempt.tenant_version,
            configuration,
        })
    }
}

impl FactView {
    fn of(entry: Entry) -> Result<Self, Problem> {
        // A fact is stored under its name; the name is said once.
        let mut named: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&entry.payload)?;
        let data = match named.remove(&entry.event_type) {
            Some(data) => data,
            None => RawValue::from_string(entry.payload)?,
        };
        let LogPosition { transaction_id, position } = entry.position;
        Ok(Self {
            position: FactPosition { transaction_id, position },
            version: entry.sequence,
            time: entry.recorded_at.into(),
            event_type: entry.event_type,
            data,
            actor: entry.actor,
            request_id: entry.request_id,
        })
    }
}
