//! `POST /api/v1/bulk-actions/{id}/pause`, `/resume` and `/cancel`

use aggregates::bulk_action::{BulkActionCommand, BulkActionCounts, BulkActionResult};
use aggregates::ids::BulkActionId;
use axum::Json;
use axum::extract::State;

use super::{BulkActionView, BulkActions, check_role};
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::clock;

/// Pause a bulk action
///
/// After the answer no further event is replayed or cancelled until it is resumed.
#[utoipa::path(post, path = "/api/v1/bulk-actions/{id}/pause", tag = "Bulk actions",
    responses((status = 200, body = BulkActionView, description = "The bulk action, which is paused."),
        (status = 403), (status = 404), (status = 409)))]
pub(crate) async fn pause(
    State(bulk_actions): State<BulkActions>,
    caller: Caller,
    Id(id): Id<BulkActionId>,
) -> Result<Json<BulkActionView>, Problem> {
    let at = clock::now();
    bulk_actions.change(&caller, id, |_| BulkActionCommand::Pause { at }).await.map(Json)
}

/// Resume a bulk action
///
/// It continues after the last event that was examined.
#[utoipa::path(post, path = "/api/v1/bulk-actions/{id}/resume", tag = "Bulk actions",
    responses((status = 200, body = BulkActionView, description = "The bulk action, which is running."),
        (status = 403), (status = 404), (status = 409)))]
pub(crate) async fn resume(
    State(bulk_actions): State<BulkActions>,
    caller: Caller,
    Id(id): Id<BulkActionId>,
) -> Result<Json<BulkActionView>, Problem> {
    let at = clock::now();
    bulk_actions.change(&caller, id, |_| BulkActionCommand::Resume { at }).await.map(Json)
}

/// Cancel a bulk action
///
/// After the answer no further event is replayed or cancelled. What was done to events is not undone.
#[utoipa::path(post, path = "/api/v1/bulk-actions/{id}/cancel", tag = "Bulk actions",
    responses((status = 200, body = BulkActionView, description = "The bulk action, which has ended."),
        (status = 403), (status = 404), (status = 409)))]
pub(crate) async fn cancel(
    State(bulk_actions): State<BulkActions>,
    caller: Caller,
    Id(id): Id<BulkActionId>,
) -> Result<Json<BulkActionView>, Problem> {
    let at = clock::now();
    let command = |counts| BulkActionCommand::Cancel(BulkActionResult { counts, at });
    bulk_actions.change(&caller, id, command).await.map(Json)
}

impl BulkActions {
    async fn change(
        &self,
        caller: &Caller,
        id: BulkActionId,
        command: impl FnOnce(BulkActionCounts) -> BulkActionCommand + Send,
    ) -> Result<BulkActionView, Problem> {
        let (action, _) = self.load(caller, id).await?;
        let request = action.request().ok_or_else(|| Problem::not_found("bulk action"))?;
        check_role(caller, request.action)?;
        let (store, metadata) = (self.commands.store(), caller.metadata());
        let (action, progress) = store.change_bulk_action(caller.tenant_id, id, command, &metadata).await?;
        BulkActionView::of(id, &action, progress.counts).ok_or_else(|| Problem::not_found("bulk action"))
    }
}
