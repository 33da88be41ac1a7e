//! `GET /.well-known/hooksentry-log-keys`

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::WellKnown;
use crate::api::http::problem::Problem;
use crate::api::http::time::Timestamp;
use crate::evidence_log::{self, RecordedKey};

/// Public keys of the transparency logs.
#[derive(Serialize, ToSchema)]
pub(crate) struct LogKeyHistory {
    /// All keys that ever signed, oldest first.
    keys: Vec<LogKey>,
}

/// Public key of the transparency logs.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LogKey {
    /// The key as `<name>+<key id>+<base64>`: C2SP signed-note. The base64 is of a byte 1 and of an Ed25519 key.
    #[schema(examples("hooks.example.com+1b7c2a0e+AVqBd5Ew4D2OaYpF9N2tZkKJq2oMm3ZPqk2VtV1cM8aK"))]
    key: String,
    /// When the installation began to sign with it.
    since: Timestamp,
    /// When the installation began to sign without it; `null`: it still signs with it.
    retired_at: Option<Timestamp>,
}

/// List the public keys of the transparency logs
///
/// All keys that ever signed a checkpoint. The log of the installation has the name of the keys. The log of a tenant has
/// the name `<name>/log/<id>`, and the same keys under that name.
#[utoipa::path(get, path = "/.well-known/hooksentry-log-keys", tag = "Audit",
    responses((status = 200, body = LogKeyHistory, description = "The history of the keys.")))]
pub(crate) async fn handler(State(state): State<WellKnown>) -> Result<Json<LogKeyHistory>, Problem> {
    let keys = evidence_log::recorded_keys(&mut *state.pool.acquire().await?).await?;
    Ok(Json(LogKeyHistory { keys: keys.into_iter().map(LogKey::from).collect() }))
}

impl From<RecordedKey> for LogKey {
    fn from(key: RecordedKey) -> Self {
        Self { key: key.vkey, since: key.since.into(), retired_at: key.retired_at.map(Timestamp) }
    }
}
