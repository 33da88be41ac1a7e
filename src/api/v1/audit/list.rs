//! `GET /api/v1/audit`

use axum::Json;
use axum::extract::State;
use projections::paging::Direction;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::access::authentication::Caller;
use crate::api::http::problem::Problem;
use crate::api::http::query::Query;
use crate::api::v1::audit::Audit;
use crate::api::v1::audit::entry::EntryView;
use crate::api::v1::audit::parameters::{Search, SearchParameters};
use crate::audit_trail;

/// A page of the audit trail.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditPage)]
pub(crate) struct TrailPage {
    /// Cursor of the next page, for the parameter `After` with the same filters and order. `null` on the last page.
    next: Option<String>,
    items: Vec<EntryView>,
}

/// List the audit trail
///
/// Returns facts of the tenant: who did what, to which subject, when, and what it changed. They are in the order of the
/// log, latest first unless `TpOrd` says otherwise. The trail is the log itself, so the same facts are in the proofs of
/// `/api/v1/audit/log`.
#[utoipa::path(get, path = "/api/v1/audit", tag = "Audit", params(SearchParameters),
    responses((status = 200, body = TrailPage, description = "A page of the tenant's facts."), (status = 400)))]
pub(crate) async fn handler(
    State(audit): State<Audit>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<TrailPage>, Problem> {
    let limit = query.items();
    let direction = query.direction(Direction::Descending);
    let cursors = &audit.events.cursors;
    let search = Search::read(query, direction, &caller, cursors)?;
    let lists = audit.events.commands.lists();
    let mut lists = lists.connect(caller.tenant_id).await?;
    let settled = audit_trail::settled(lists.connection()).await?;
    let bounds =
        audit_trail::bounds(lists.connection(), &search.filter, direction, search.after, settled).await?;
    let mut scope = lists.into_scope().await?;
    let found = audit_trail::search(&mut scope, &search.filter, bounds, direction, limit).await?;
    let next = found.next.map(|position| search.cursor(&caller, cursors, position)).transpose()?;
    let entries = found.into_entries(&mut scope).await?;
    scope.end().await?;
    let items = entries.into_iter().map(|entry| {
        let cursor = search.cursor(&caller, cursors, entry.position)?;
        Ok(EntryView::of(entry, cursor))
    });
    Ok(Json(TrailPage { next, items: items.collect::<Result<_, serde_json::Error>>()? }))
}
