//! What readers of a log get: tiles, entries and proofs.

use std::collections::HashMap;

use evidence::checkpoint::SignedCheckpoint;
use evidence::entries;
use evidence::leaf::{ContinuationLeaf, EvidenceKey, LeafError};
use evidence::proof::LogProof;
use evidence::tree::{Hash, MissingTile, ProofPlan, RangeError, TILE_WIDTH, Tile, TileId, TileSet, TreeHead};
use projections::LogPosition;
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use super::checkpoints::StoredCheckpoint;
use super::positions::DamagedPositions;
use super::{FactRow, Tree};
use super::{checkpoints, facts, tiles, trees};

/// Reason why a part of a log cannot be read: what was stored is no longer there, or was altered.
#[derive(Debug, Error)]
pub(crate) enum ReadFailure {
    #[error("database error")]
    Database(#[from] sqlx::Error),
    #[error("the event log lacks the fact of entry {index} of the log {log_id}, at {position:?}")]
    MissingFact { log_id: Uuid, index: u64, position: LogPosition },
    #[error("the log that the log {0} continues is missing")]
    MissingLog(Uuid),
    #[error(transparent)]
    MissingTile(#[from] MissingTile),
    #[error(transparent)]
    Range(#[from] RangeError),
    #[error(transparent)]
    Positions(#[from] DamagedPositions),
    #[error("the stored checkpoint of size {size} of the log {log_id} is damaged")]
    Checkpoint { log_id: Uuid, size: u64 },
    #[error("a fact cannot have a leaf")]
    Fact(#[from] LeafError),
    #[error("an entry is too long")]
    Entries(#[from] entries::EntriesError),
}

/// Returns the hashes of a tile in their stored form; `None` if the tree has no such tile.
///
/// # Errors
/// See [`ReadFailure`].
pub(crate) async fn tile(
    connection: &mut PgConnection,
    tree: &Tree,
    id: TileId,
) -> Result<Option<Vec<u8>>, ReadFailure> {
    if !has_tile(tree, id) {
        return Ok(None);
    }
    let hashes = read_tiles(connection, tree, [id]).await?.hashes(id)?.to_vec();
    Ok(Tile::new(id.level(), id.index(), hashes).ok().map(|tile| tile.to_bytes()))
}

fn has_tile(tree: &Tree, id: TileId) -> bool {
    TileId::in_tree(id.level(), id.index(), tree.size()).is_some_and(|known| known.width() >= id.width())
}

/// Returns the tiles of a tree with these coordinates: the partial ones of its edge, and full ones as they are stored.
async fn read_tiles(
    connection: &mut PgConnection,
    tree: &Tree,
    wanted: impl IntoIterator<Item = TileId>,
) -> Result<TileSet, sqlx::Error> {
    let is_full =
        |id: &TileId| TileId::in_tree(id.level(), id.index(), tree.size()).is_some_and(TileId::is_full);
    let full: Vec<TileId> = wanted.into_iter().filter(is_full).collect();
    let mut tiles: TileSet = tree.partial_tiles().into_iter().collect();
    if !full.is_empty() {
        tiles::read(connection, tree, &full).await?.into_iter().for_each(|tile| tiles.insert(tile));
    }
    Ok(tiles)
}

/// Returns the entries of a tile of level 0, computed from the facts; `None` if the tree has no such tile.
///
/// # Errors
/// See [`ReadFailure`].
pub(crate) async fn tile_entries(
    connection: &mut PgConnection,
    tree: &Tree,
    id: TileId,
    key: &EvidenceKey,
) -> Result<Option<Vec<u8>>, ReadFailure> {
    if !has_tile(tree, id) {
        return Ok(None);
    }
    let mut entries = vec![];
    for entry in logged_entries(connection, tree, id.index()).await? {
        entries.push(match entry {
            LoggedEntry::Continuation { log_id, tree } => {
                ContinuationLeaf { log_id: &log_id.to_string(), tree }.entry()?
            }
            LoggedEntry::Fact(fact) => fact.entry(&fact.salt(key)?)?,
        });
    }
    entries.truncate(id.width());
    Ok(Some(entries::encode(entries.iter().map(String::as_bytes))?))
}

/// What an entry of a tenant's log is for.
#[derive(Debug)]
pub(crate) enum LoggedEntry {
    Fact(Box<FactRow>),
    /// The first entry of a log that continues another one: the log that ended, and its last head.
    Continuation {
        log_id: Uuid,
        tree: TreeHead,
    },
}

/// Returns what the entries of a tile of level 0 are for, in their order. The tree must have the tile.
///
/// # Errors
/// See [`ReadFailure`].
pub(crate) async fn logged_entries(
    connection: &mut PgConnection,
    tree: &Tree,
    tile: u64,
) -> Result<Vec<LoggedEntry>, ReadFailure> {
    let in_tree = TileId::in_tree(0, tile, tree.size());
    let positions = match in_tree.is_some_and(TileId::is_full) {
        true => tiles::positions(connection, tree, tile).await?,
        false => tree.positions().to_vec(),
    };
    let mut found: HashMap<LogPosition, FactRow> = facts::at(connection, tree, &positions)
        .await?
        .into_iter()
        .map(|fact| (fact.log_position(), fact))
        .collect();
    let mut entries = vec![];
    if tile == 0 {
        entries.extend(continuation(connection, tree).await?);
    }
    let first = tile * TILE_WIDTH as u64;
    for position in positions {
        let index = first + entries.len() as u64;
        let missing = ReadFailure::MissingFact { log_id: tree.log_id(), index, position };
        entries.push(LoggedEntry::Fact(Box::new(found.remove(&position).ok_or(missing)?)));
    }
    Ok(entries)
}

/// Returns the first entry of a log that continues another one; `None` if it continues none.
async fn continuation(
    connection: &mut PgConnection,
    tree: &Tree,
) -> Result<Option<LoggedEntry>, ReadFailure> {
    let Some(log_id) = tree.continues() else { return Ok(None) };
    let ended = trees::tree(connection, log_id).await?.ok_or(ReadFailure::MissingLog(log_id))?;
    Ok(Some(LoggedEntry::Continuation { log_id, tree: ended.head() }))
}

/// Returns the index of the entry of a fact among the logs of its tenant, and which of these logs has it; `None` if the
/// fact has no leaf yet.
///
/// # Errors
/// See [`ReadFailure`].
pub(crate) async fn find_fact<'t>(
    connection: &mut PgConnection,
    trees: &'t [Tree],
    position: LogPosition,
) -> Result<Option<(&'t Tree, u64)>, ReadFailure> {
    for tree in trees {
        if let Some(index) = tree.positions().iter().position(|known| *known == position) {
            let first = tree.size() - tree.positions().len() as u64;
            return Ok(Some((tree, first + index as u64)));
        }
    }
    let Some(tenant) = trees.first().and_then(|tree| tree.owner().tenant_id()) else { return Ok(None) };
    let Some((log_id, tile, positions)) = tiles::covering(connection, tenant, position).await? else {
        return Ok(None);
    };
    let tree = trees.iter().find(|tree| tree.log_id() == log_id);
    let index = positions.iter().position(|known| *known == position);
    // The first tile of a log that continues another one has one entry that is no fact.
    let others = TILE_WIDTH - positions.len();
    Ok(tree.zip(index).map(|(tree, index)| (tree, tile * TILE_WIDTH as u64 + (others + index) as u64)))
}

/// Returns the last signed checkpoint of a log whose entries the tree has; `None` if nothing of it is signed.
///
/// # Errors
/// See [`ReadFailure`].
pub(crate) async fn last_checkpoint(
    connection: &mut PgConnection,
    tree: &Tree,
) -> Result<Option<StoredCheckpoint>, ReadFailure> {
    Ok(checkpoints::last(connection, tree.log_id(), tree.size()).await?)
}

/// Returns the proof that an entry is in a log, up to its last signed checkpoint; `None` if that does not cover it.
///
/// # Errors
/// See [`ReadFailure`].
pub(crate) async fn prove(
    connection: &mut PgConnection,
    tree: &Tree,
    index: u64,
) -> Result<Option<LogProof>, ReadFailure> {
    let Some(checkpoint) = last_checkpoint(connection, tree).await? else { return Ok(None) };
    prove_in(connection, tree, &checkpoint, index).await
}

/// Returns the proof that an entry is in a log, up to a checkpoint of it; `None` if that does not cover it.
///
/// # Errors
/// See [`ReadFailure`].
pub(crate) async fn prove_in(
    connection: &mut PgConnection,
    tree: &Tree,
    checkpoint: &StoredCheckpoint,
    index: u64,
) -> Result<Option<LogProof>, ReadFailure> {
    let Ok(plan) = ProofPlan::inclusion(index, checkpoint.size) else { return Ok(None) };
    let damaged = || ReadFailure::Checkpoint { log_id: tree.log_id(), size: checkpoint.size };
    let signed = SignedCheckpoint::parse(checkpoint.note.as_bytes()).map_err(|_| damaged())?;
    let tiles = read_tiles(connection, tree, plan.tiles()).await?;
    Ok(Some(LogProof { extra: None, index, path: plan.hashes(&tiles)?, checkpoint: signed }))
}

/// Returns the proof that a log of `size` entries begins with the entries of the log of `old` entries.
///
/// # Errors
/// See [`ReadFailure`]. The tree must have `size` entries, and `old` must not be greater.
pub(crate) async fn prove_consistency(
    connection: &mut PgConnection,
    tree: &Tree,
    old: u64,
    size: u64,
) -> Result<Vec<Hash>, ReadFailure> {
    let plan = ProofPlan::consistency(old, size)?;
    let tiles = read_tiles(connection, tree, plan.tiles()).await?;
    Ok(plan.hashes(&tiles)?)
}
