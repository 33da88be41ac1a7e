//! Transparency logs as they are stored, damaged or not, for a verifier that compares them with the event log.

use evidence::tree::TileId;
use futures::stream::BoxStream;
use projections::{BigInt, LogPosition};
use sqlx::PgConnection;
use uuid::Uuid;

use super::TreeOwner;
use super::positions::{self, DamagedPositions};

/// Row of a tree.
#[derive(Clone, Debug)]
pub(crate) struct StoredTree {
    pub(crate) log_id: Uuid,
    pub(crate) owner: TreeOwner,
    pub(crate) continues: Option<Uuid>,
    pub(crate) size: u64,
    pub(crate) sealed_size: u64,
    pub(crate) edge: Vec<u8>,
    pub(crate) positions: Vec<u8>,
}

/// Decodes stored positions.
pub(crate) fn decode_positions(bytes: &[u8]) -> Result<Vec<LogPosition>, DamagedPositions> {
    positions::decode(bytes)
}

/// Returns the rows of all trees, or of those of a tenant: first those of tenants, oldest first, then those of the
/// installation.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_trees.stored", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn stored_trees(
    connection: &mut PgConnection,
    tenant: Option<Uuid>,
) -> Result<Vec<StoredTree>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT
            log_id, tenant_id, era, continues, data_key, size AS "size: BigInt", edge, positions,
            sealed_size AS "sealed_size: BigInt"
        FROM evidence_trees
        WHERE $1::uuid IS NULL OR tenant_id = $1
        ORDER BY tenant_id NULLS LAST, era
        "#,
        tenant,
    )
    .fetch_all(connection)
    .await?;
    let trees = rows.into_iter().map(|row| StoredTree {
        log_id: row.log_id,
        owner: match row.tenant_id {
            None => TreeOwner::Installation { era: row.era },
            Some(id) => TreeOwner::Tenant { id, data_key: row.data_key.unwrap_or_default() },
        },
        continues: row.continues,
        size: row.size.0,
        sealed_size: row.sealed_size.0,
        edge: row.edge,
        positions: row.positions,
    });
    Ok(trees.collect())
}

/// Row of a full tile.
#[derive(Clone, Debug)]
pub(crate) struct StoredTile {
    pub(crate) log_id: Uuid,
    pub(crate) level: i16,
    pub(crate) index: i64,
    pub(crate) hashes: Vec<u8>,
    /// `None` above level 0 and for the installation.
    pub(crate) positions: Option<Vec<u8>>,
}

/// Returns full tiles of logs. Those that are missing are left out.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.evidence_tiles.stored", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn stored_tiles(
    connection: &mut PgConnection,
    wanted: &[(Uuid, TileId)],
) -> Result<Vec<StoredTile>, sqlx::Error> {
    sqlx::query_as!(
        StoredTile,
        r#"
        SELECT log_id AS "log_id!", level AS "level!", index AS "index!", hashes, positions
        FROM unnest($1::uuid[], $2::smallint[], $3::bigint[]) AS wanted (log_id, level, index)
        JOIN evidence_tiles USING (log_id, level, index)
        "#,
        &wanted.iter().map(|(log_id, _)| *log_id).collect::<Vec<_>>(),
        &wanted.iter().map(|(_, id)| i16::from(id.level())).collect::<Vec<_>>(),
        &wanted.iter().map(|(_, id)| BigInt(id.index())).collect::<Vec<_>>() as &[BigInt],
    )
    .fetch_all(connection)
    .await
}

/// Row of a signed checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct LoggedCheckpoint {
    pub(crate) log_id: Uuid,
    /// `None`: of the installation.
    pub(crate) tenant_id: Option<Uuid>,
    pub(crate) size: i64,
    pub(crate) note: String,
    /// Log of the installation, and index of the entry there that commits to the note.
    pub(crate) installation_log_id: Option<Uuid>,
    pub(crate) installation_index: Option<i64>,
}

/// Returns all signed checkpoints, or those of a tenant: in the order of the log of the installation, which is that in which
/// they were signed, and then those of the installation.
#[tracing::instrument(name = "db.evidence_checkpoints.stored", level = "debug", skip_all)]
pub(crate) fn stored_checkpoints(
    connection: &mut PgConnection,
    tenant: Option<Uuid>,
) -> BoxStream<'_, Result<LoggedCheckpoint, sqlx::Error>> {
    sqlx::query_as!(
        LoggedCheckpoint,
        "
        SELECT log_id, tenant_id, size, note, installation_log_id, installation_index
        FROM evidence_checkpoints
        WHERE $1::uuid IS NULL OR tenant_id = $1
        ORDER BY installation_log_id, installation_index, log_id, size
        ",
        tenant,
    )
    .fetch(connection)
}
