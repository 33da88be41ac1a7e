//! `GET /api/v1/bulk-actions`

use aggregates::bulk_action::BulkAction;
use axum::Json;
use axum::extract::State;
use projections::bulk_actions;
use uuid::Uuid;

use super::{BulkActionView, BulkActions};
use crate::api::access::authentication::Caller;
use crate::api::http::filter::FilterParameters;
use crate::api::http::problem::Problem;
use crate::api::http::query::{Paging, Query};
use crate::api::openapi::schemas::Page;
use crate::event_store::{bulk_action, stream_reader};

/// List bulk actions
#[utoipa::path(get, path = "/api/v1/bulk-actions", tag = "Bulk actions",
    params(FilterParameters<bulk_actions::Filter>),
    responses((status = 200, body = Page<BulkActionView>, description = "A page of the tenant's bulk actions."),
        (status = 400)))]
pub(crate) async fn handler(
    State(state): State<BulkActions>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<BulkActionView>>, Problem> {
    let Paging { page, sort, direction } = query.paging();
    let filter: bulk_actions::Filter = query.filter();
    query.complete()?;
    let mut scope = state.commands.lists().begin(caller.tenant_id).await?;
    let listed = bulk_actions::list(&mut scope, filter, sort, direction, page).await?;
    scope.end().await?;
    let ids: Vec<Uuid> = listed.items.iter().map(|row| row.id.0).collect();
    let mut connection = state.commands.pool().acquire().await?;
    let rows = stream_reader::read_streams::<BulkAction>(&mut connection, &ids).await?;
    drop(connection);
    let streams = bulk_action::fold(rows).map_err(Problem::internal)?;
    let items = listed.items.iter().filter_map(|row| {
        let action = &streams.get(&row.id.0)?.state;
        BulkActionView::of(row.id, action, row.progress.counts)
    });
    Ok(Json(Page { total: listed.total, items: items.collect() }))
}
