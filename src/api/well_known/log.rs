//! `GET /.well-known/hooksentry-log/checkpoint` and `/tile/<level>/<index>[.p/<width>]`

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::WellKnown;
use crate::api::http::path::Segments;
use crate::api::http::problem::Problem;
use crate::api::v1::audit::log::tile::{self, nothing_sealed};
use crate::evidence_log;

/// Get the signed checkpoint of the installation's log
///
/// The number of checkpoints that all tenants have, and the hash that determines all of them, signed: C2SP
/// tlog-checkpoint. If the installation requires witnesses, it is the last one that enough of them have cosigned, with
/// their cosignatures.
#[utoipa::path(get, path = "/.well-known/hooksentry-log/checkpoint", tag = "Audit",
    responses((status = 200, body = String, content_type = "text/plain",
        description = "The last checkpoint."), (status = 404)))]
pub(crate) async fn checkpoint(State(state): State<WellKnown>) -> Result<impl IntoResponse, Problem> {
    let mut connection = state.pool.acquire().await?;
    let checkpoint = evidence_log::published_checkpoint(&mut connection, None).await?;
    let checkpoint = checkpoint.ok_or_else(nothing_sealed)?;
    Ok(([(CONTENT_TYPE, tile::TEXT)], checkpoint.note))
}

/// Get a tile of the installation's log
///
/// `tile` is `<level>/<index>`, and `.p/<width>` follows for a tile that is not full: C2SP tlog-tiles. The entries are not
/// public.
#[utoipa::path(get, path = "/.well-known/hooksentry-log/tile/{tile}", tag = "Audit",
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream",
        description = "The hashes of the tile."), (status = 404)))]
pub(crate) async fn tile(State(state): State<WellKnown>, segments: Segments) -> Result<Response, Problem> {
    let [path] = segments.into_array()?;
    let Some(id) = tile::hashes(tile::resource(&path)?) else { return tile::answer(None) };
    let mut connection = state.pool.acquire().await?;
    let tree = evidence_log::latest_installation_tree(&mut connection).await?.ok_or_else(nothing_sealed)?;
    tile::answer(evidence_log::tile(&mut connection, &tree, id).await?)
}
