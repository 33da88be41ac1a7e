//! `GET /api/v1/audit/log/checkpoint`

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use projections::TenantScope;

use crate::api::access::authentication::Caller;
use crate::api::http::problem::Problem;
use crate::api::v1::audit::Audit;
use crate::api::v1::audit::log::tile;
use crate::evidence_log;

/// Get the signed checkpoint of the transparency log
///
/// The number of facts of the tenant and the hash that determines all of them, signed: C2SP tlog-checkpoint. The public
/// key is at `/.well-known/hooksentry-log-keys`, and has the name of the log here, which is the first line.
#[utoipa::path(get, path = "/api/v1/audit/log/checkpoint", tag = "Audit",
    responses((status = 200, body = String, content_type = "text/plain",
        description = "The last signed checkpoint."), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(audit): State<Audit>,
    caller: Caller,
) -> Result<impl IntoResponse, Problem> {
    let tree = audit.tree(&caller).await?;
    let mut scope = TenantScope::begin(audit.pool(), caller.tenant_id).await?;
    let checkpoint = evidence_log::last_checkpoint(scope.connection(), &tree).await?;
    scope.end().await?;
    let checkpoint = checkpoint.ok_or_else(tile::nothing_sealed)?;
    Ok(([(CONTENT_TYPE, tile::TEXT)], checkpoint.note))
}
