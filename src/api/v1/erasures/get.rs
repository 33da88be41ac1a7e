//! `GET /api/v1/erasures/{id}`

use aggregates::erasure::Erasure;
use aggregates::ids::ErasureId;
use axum::Json;
use axum::extract::State;
use projections::{TenantScope, erasures};

use super::ErasureView;
use crate::api::access::authentication::Caller;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::events::Events;
use crate::event_store::stream_reader;

/// Get an erasure
#[utoipa::path(get, path = "/api/v1/erasures/{id}", tag = "Erasures",
    responses((status = 200, body = ErasureView, description = "The erasure and its progress."), (status = 403),
        (status = 404)))]
pub(crate) async fn handler(
    State(events): State<Events>,
    caller: Caller,
    Id(id): Id<ErasureId>,
) -> Result<Json<ErasureView>, Problem> {
    let mut connection = events.commands.pool().acquire().await?;
    let owner = stream_reader::owner_of::<Erasure>(&mut connection, id.0).await?;
    drop(connection);
    caller.check_owner(owner, "erasure")?;
    let mut scope = TenantScope::begin(events.commands.pool(), caller.tenant_id).await?;
    let progress = erasures::progress(&mut scope, id).await?;
    scope.end().await?;
    // Loaded last: a completed erasure shows its last progress.
    let (request, result) = match events.commands.store().load::<Erasure>(id.0).await?.state {
        Erasure::Unknown => return Err(Problem::not_found("erasure")),
        Erasure::Requested(request) => (request, None),
        Erasure::Completed(request, result) => (request, Some(result)),
    };
    let mut progress = progress.unwrap_or_default();
    if let Some(result) = result {
        (progress.erased, progress.kept) = (result.erased, result.kept);
    }
    Ok(Json(ErasureView::of(Some(id), request, progress, result)))
}
