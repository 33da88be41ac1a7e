//! `GET /api/v1/audit/log/tile/<level>/<index>[.p/<width>]` and `tile/entries/<index>[.p/<width>]`

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use evidence::tree::{LogResource, TileId};
use projections::TenantScope;

use crate::api::access::authentication::Caller;
use crate::api::http::path::Segments;
use crate::api::http::problem::{Kind, Problem};
use crate::api::v1::audit::Audit;
pub(crate) use crate::api::v1::audit::state::nothing_sealed;
use crate::evidence_log;

pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
const BYTES: &str = "application/octet-stream";
/// A tile with these coordinates never changes.
const IMMUTABLE: &str = "private, max-age=31536000, immutable";

/// Get a tile of the transparency log
///
/// `tile` is `<level>/<index>` for hashes of the tree, and `entries/<index>` for the entries themselves, which are
/// computed from the facts of the tenant. `.p/<width>` follows for a tile that is not full: C2SP tlog-tiles.
#[utoipa::path(get, path = "/api/v1/audit/log/tile/{tile}", tag = "Audit",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream",
        description = "The hashes of the tile, or its entries, each after its length in two bytes."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(audit): State<Audit>,
    caller: Caller,
    segments: Segments,
) -> Result<Response, Problem> {
    let [path] = segments.into_array()?;
    let resource = resource(&path)?;
    let tree = audit.tree(&caller).await?;
    let tenant = caller.tenant_id;
    let bytes = match resource {
        LogResource::Entries(id) => {
            let key = audit.evidence_key(tenant, &tree).await?;
            let mut scope = TenantScope::begin(audit.pool(), tenant).await?;
            let bytes = evidence_log::tile_entries(scope.connection(), &tree, id, &key).await?;
            scope.end().await?;
            bytes
        }
        LogResource::Tile(id) => {
            let mut scope = TenantScope::begin(audit.pool(), tenant).await?;
            let bytes = evidence_log::tile(scope.connection(), &tree, id).await?;
            scope.end().await?;
            bytes
        }
        LogResource::Checkpoint => None,
    };
    answer(bytes)
}

/// Returns what a path below `tile/` names.
pub(crate) fn resource(path: &str) -> Result<LogResource, Problem> {
    let problem = |detail: String| Problem::new(Kind::NotFound, detail);
    format!("tile/{path}").parse().map_err(|error| problem(format!("The path names no tile: {error}.")))
}

/// Returns the coordinates of a tile of hashes.
pub(crate) fn hashes(resource: LogResource) -> Option<TileId> {
    match resource {
        LogResource::Tile(id) => Some(id),
        LogResource::Checkpoint | LogResource::Entries(_) => None,
    }
}

/// Returns the answer with a tile; `None`: there is no such tile.
pub(crate) fn answer(bytes: Option<Vec<u8>>) -> Result<Response, Problem> {
    let bytes = bytes.ok_or_else(|| Problem::new(Kind::NotFound, "The log has no such tile yet."))?;
    Ok(([(CONTENT_TYPE, BYTES), (CACHE_CONTROL, IMMUTABLE)], bytes).into_response())
}
