//! Full tiles, written once.

use projections::{BigInt, LogPosition, TransactionId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::positions;
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
