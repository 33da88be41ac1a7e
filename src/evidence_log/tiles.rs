//! Full tiles, written once.

use evidence::tree::{TILE_WIDTH, Tile, TileId};
use projections::{BigInt, LogPosition, TransactionId};
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use super::positions;
use super::reading::ReadFailure;
use super::trees::{FullTile, Tree};

/// Inserts the tiles of trees that became full, and forgets them in the trees.
///
/// # Errors
/// When the database fails, or has one of the tiles.
#[tracing::instrument(name = "db.evidence_tiles.insert", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn insert_tiles(
    connection: &mut PgConnection,
    trees: impl Iterator<Item = &mut Tree>,
) -> Result<(), sqlx::Error> {
    let tiles: Vec<(Uuid, Option<Uuid>, FullTile)> = trees
        .flat_map(|tree| {
            let (log_id, tenant_id) = (tree.log_id(), tree.owner().tenant_id());
            tree.take_full().into_iter().map(move |full| (log_id, tenant_id, full))
        })
        .collect();
    if tiles.is_empty() {
        return Ok(());
    }
    let positions = |positions: &[LogPosition]| (!positions.is_empty()).then(|| positions::encode(positions));
    let first = |full: &FullTile| full.positions.first().copied();
    sqlx::query!(
        r#"
        INSERT INTO evidence_tiles
            (log_id, tenant_id, level, index, hashes, positions, first_transaction_id, first_position)
        SELECT *
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::smallint[], $4::bigint[], $5::bytea[], $6::bytea[], $7::xid8[], $8::bigint[]
        )
        "#,
        &tiles.iter().map(|(log_id, ..)| *log_id).collect::<Vec<_>>(),
        &tiles.iter().map(|(_, tenant_id, _)| *tenant_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &tiles.iter().map(|(.., full)| i16::from(full.tile.id().level())).collect::<Vec<_>>(),
        &tiles.iter().map(|(.., full)| BigInt(full.tile.id().index())).collect::<Vec<_>>() as &[BigInt],
        &tiles.iter().map(|(.., full)| full.tile.to_bytes()).collect::<Vec<_>>(),
        &tiles.iter().map(|(.., full)| positions(&full.positions)).collect::<Vec<_>>() as &[Option<Vec<u8>>],
        &tiles.iter().map(|(.., full)| first(full).map(|first| first.transaction_id)).collect::<Vec<_>>()
            as &[Option<TransactionId>],
        &tiles.iter().map(|(.., full)| first(full).map(|first| first.position)).collect::<Vec<_>>()
            as &[Option<i64>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

struct Row {
    level: i16,
    index: BigInt,
    hashes: Vec<u8>,
}

/// A row that is not a tile.
#[derive(Debug, Error)]
#[error("a stored tile of the log {0} is damaged")]
struct DamagedTile(Uuid);

/// Returns full tiles of a tree. Those that are missing are left out.
///
/// # Errors
/// When the database fails, or a row is damaged.
#[tracing::instrument(name = "db.evidence_tiles.read", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn read(
    connection: &mut PgConnection,
    tree: &Tree,
    ids: &[TileId],
) -> Result<Vec<Tile>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT level AS "level!", index AS "index!: _", hashes
        FROM unnest($2::smallint[], $3::bigint[]) AS wanted (level, index)
        JOIN evidence_tiles USING (level, index)
        WHERE log_id = $1
        "#,
        tree.log_id(),
        &ids.iter().map(|id| i16::from(id.level())).collect::<Vec<_>>(),
        &ids.iter().map(|id| BigInt(id.index())).collect::<Vec<_>>() as &[BigInt],
    )
    .fetch_all(connection)
    .await?;
    let damaged = || sqlx::Error::Decode(Box::new(DamagedTile(tree.log_id())));
    let tile = |row: Row| {
        let level = u8::try_from(row.level).map_err(|_| damaged())?;
        let id = TileId::new(level, row.index.0, TILE_WIDTH).map_err(|_| damaged())?;
        Tile::from_bytes(id, &row.hashes).map_err(|_| damaged())
    };
    rows.into_iter().map(tile).collect()
}

/// Returns the positions of the facts in a full tile of level 0.
///
/// # Errors
/// When the database fails, or has no such tile.
#[tracing::instrument(name = "db.evidence_tiles.positions", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn positions(
    connection: &mut PgConnection,
    tree: &Tree,
    index: u64,
) -> Result<Vec<LogPosition>, ReadFailure> {
    let positions = sqlx::query_scalar!(
        r#"
        SELECT positions AS "positions!"
        FROM evidence_tiles
        WHERE log_id = $1 AND level = 0 AND index = $2 AND positions IS NOT NULL
        "#,
        tree.log_id(),
        BigInt(index) as BigInt,
    )
    .fetch_one(connection)
    .await?;
    Ok(positions::decode(&positions)?)
}

/// Returns the full tile of a tenant whose facts begin at a position or last before it: its log, its index, and the
/// positions of its facts.
///
/// # Errors
/// When the database fails, or the positions are damaged.
#[tracing::instrument(name = "db.evidence_tiles.covering", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn covering(
    connection: &mut PgConnection,
    tenant: Uuid,
    position: LogPosition,
) -> Result<Option<(Uuid, u64, Vec<LogPosition>)>, ReadFailure> {
    let row = sqlx::query!(
        r#"
        SELECT log_id, index AS "index: BigInt", positions AS "positions!"
        FROM evidence_tiles
        WHERE tenant_id = $1
          AND (first_transaction_id, first_position) <= ($2, $3)
          AND first_position IS NOT NULL
        ORDER BY first_transaction_id DESC, first_position DESC
        LIMIT 1
        "#,
        tenant,
        position.transaction_id as TransactionId,
        position.position,
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| Ok((row.log_id, row.index.0, positions::decode(&row.positions)?))).transpose()
}
