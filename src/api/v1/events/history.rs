//! `GET /api/v1/events/{id}/history`

use std::collections::BTreeMap;

use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::WebhookEvent;
use axum::Json;
use axum::extract::State;
use projections::LogPosition;
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
use crate::api::v1::events::state::Events;
use crate::event_store::stream_reader::{self, Entry};

/// A fact of an event.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Fact)]
pub(crate) struct FactView {
    /// Position in the log.
    position: FactPosition,
    /// Version of the event's stream.
    version: i64,
    /// Time at which the fact was recorded.
    time: Timestamp,
    /// Type of the fact, such as `EventAccepted`.
    #[serde(rename = "type")]
    event_type: String,
    /// Fields of the fact, which depend on its type.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
    /// Actor that caused the fact: `user:<id>`, `api-key:<id>`, `portal-link:<id>` or `role:<name>`.
    actor: Option<String>,
    /// Request that wrote the fact.
    request_id: Option<String>,
    /// Bulk action that caused it; `null`: none.
    bulk_action_id: Option<Uuid>,
}

/// Position in the total order of the log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FactPosition {
    transaction_id: u64,
    position: i64,
}

/// List an event's facts
///
/// Returns every fact of an event, oldest first unless `TpOrd` says otherwise.
#[utoipa::path(get, path = "/api/v1/events/{id}/history", tag = "Events",
    responses((status = 200, body = Page<FactView>, description = "A page of the event's facts."),
        (status = 400), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<WebhookEventId>,
    query: Query,
) -> Result<Json<Page<FactView>>, Problem> {
    events.find(&caller, id).await?;
    let (page, direction) = query.entries()?;
    let mut scope = events.commands.lists().begin(caller.tenant_id).await?;
    let listed = stream_reader::history::<WebhookEvent>(scope.connection(), id.0, direction, page).await?;
    scope.end().await?;
    let items = listed.items.into_iter().map(FactView::of).collect::<Result<_, _>>()?;
    Ok(Json(Page { total: listed.total, items }))
}

impl FactView {
    fn of(entry: Entry) -> Result<Self, Problem> {
        // A fact is stored as an object with its name as the only key; the response has the name in `type`.
        let mut named: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&entry.payload)?;
        let data = match named.remove(&entry.event_type) {
            Some(data) => data,
            None => RawValue::from_string(entry.payload)?,
        };
        let LogPosition { transaction_id, position } = entry.position;
        Ok(Self {
            position: FactPosition { transaction_id: transaction_id.0, position },
            version: entry.sequence,
            time: entry.recorded_at.into(),
            event_type: entry.event_type,
            data,
            actor: entry.actor,
            request_id: entry.request_id,
            bulk_action_id: entry.bulk_action_id,
        })
    }
}
