//! `GET /api/v1/audit/log/proof`

use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::leaf::CheckpointLeaf;
use projections::TenantScope;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::access::authentication::Caller;
use crate::api::http::problem::Problem;
use crate::api::v1::audit::Audit;
use crate::api::v1::audit::log::tile::nothing_sealed;
use crate::evidence_log;

/// Proof that the log of the installation has a checkpoint of the tenant's log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckpointProof {
    /// The last signed checkpoint of the tenant's log that the log of the installation has, as far as that is shown.
    checkpoint: String,
    /// Base64 of the secret with which the entry commits to the checkpoint.
    salt: String,
    /// Entry of the installation's log.
    entry: String,
    /// Proof that the installation's log has the entry: C2SP tlog-proof.
    proof: String,
}

/// Prove that the installation has logged the checkpoint
///
/// The log of the installation has one entry for each checkpoint of each tenant, and its checkpoint is public: see
/// `/.well-known/hooksentry-log/checkpoint`. So no party can be shown another history than the others. If the installation
/// requires witnesses, the proof is that of the last checkpoint that enough of them have cosigned, and has their
/// cosignatures.
#[utoipa::path(get, path = "/api/v1/audit/log/proof", tag = "Audit",
    responses((status = 200, body = CheckpointProof, description = "The checkpoint and its proof."),
        (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(audit): State<Audit>,
    caller: Caller,
) -> Result<Json<CheckpointProof>, Problem> {
    let tree = audit.tree(&caller).await?;
    let key = audit.evidence_key(caller.tenant_id, &tree).await?;
    // The log of the installation belongs to no tenant, so it is not read in the scope of one.
    let published = evidence_log::published_sizes(&mut *audit.pool().acquire().await?).await?;
    let mut scope = TenantScope::begin(audit.pool(), caller.tenant_id).await?;
    let checkpoint = evidence_log::last_provable_checkpoint(scope.connection(), &tree, &published).await?;
    scope.end().await?;
    let checkpoint = checkpoint.ok_or_else(nothing_sealed)?;
    let (log_id, index) = checkpoint.installation.ok_or_else(nothing_sealed)?;
    let mut connection = audit.pool().acquire().await?;
    let proof = evidence_log::prove_published(&mut connection, log_id, index).await?;
    let salt = key.checkpoint_salt(checkpoint.size);
    let log_id = tree.log_id().to_string();
    let leaf = CheckpointLeaf { log_id: &log_id, signed_checkpoint: &checkpoint.note };
    Ok(Json(CheckpointProof {
        salt: STANDARD.encode(salt.as_bytes()),
        entry: leaf.entry(&salt).map_err(Problem::internal)?,
        proof: proof.ok_or_else(nothing_sealed)?.to_string(),
        checkpoint: checkpoint.note,
    }))
}
