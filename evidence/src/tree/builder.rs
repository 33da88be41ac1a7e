//! Growing a tree and producing its tiles.

use super::proofs::{MissingTile, TileSet};
use super::tile::{LEVEL_BITS, LEVEL_MAX};
use super::{Hash, TILE_WIDTH, TREE_SIZE_MAX, Tile, TileId, TreeHead, join_subtrees, perfect_root};

/// Tree that grows at its right edge and keeps only that: the partial tile of each level, 64 KiB at most.
#[derive(Clone, Debug, Default)]
pub struct TreeBuilder {
    size: u64,
    /// Hashes of the partial tile of each level, at most 255.
    edge: Vec<Vec<Hash>>,
}

impl TreeBuilder {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues a tree of `size` leaves from its partial tiles, which are those of [`TileId::partial_in_tree`].
    ///
    /// # Errors
    ///
    /// A partial tile that is not in the set.
    pub fn resume(size: u64, tiles: &TileSet) -> Result<Self, MissingTile> {
        let mut edge = vec![];
        for id in TileId::partial_in_tree(size) {
            edge.resize(usize::from(id.level()), vec![]);
            edge.push(tiles.hashes(id)?.to_vec());
        }
        Ok(Self { size, edge })
    }

    /// Appends leaves and returns the tiles that became full, of all levels, each after the tiles below it. Full tiles
    /// never change.
    ///
    /// # Panics
    ///
    /// If the tree would have more than [`TREE_SIZE_MAX`] leaves.
    pub fn append(&mut self, leaf_hashes: impl IntoIterator<Item = Hash>) -> Vec<Tile> {
        let mut full = vec![];
        for hash in leaf_hashes {
            assert!(self.size < TREE_SIZE_MAX, "a tree has at most {TREE_SIZE_MAX} leaves");
            self.size += 1;
            self.push(0, hash, &mut full);
        }
        full
    }

    fn push(&mut self, level: u8, hash: Hash, full: &mut Vec<Tile>) {
        let depth = usize::from(level);
        if self.edge.len() == depth {
            self.edge.push(Vec::with_capacity(TILE_WIDTH));
        }
        self.edge[depth].push(hash);
        if self.edge[depth].len() < TILE_WIDTH {
            return;
        }
        let hashes = std::mem::replace(&mut self.edge[depth], Vec::with_capacity(TILE_WIDTH));
        let root = perfect_root(&hashes);
        // The tile ends where the tree ends.
        let index = (self.size >> (LEVEL_BITS * level) >> LEVEL_BITS) - 1;
        full.push(Tile::new(level, index, hashes).expect("a tile of this tree"));
        if level < LEVEL_MAX {
            self.push(level + 1, root, full);
        }
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns size and root of the tree. Costs at most 255 hashes a level.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        let mut subtrees = vec![];
        for mut hashes in self.edge.iter().rev().map(Vec::as_slice) {
            while !hashes.is_empty() {
                let (subtree, rest) = hashes.split_at(1 << hashes.len().ilog2());
                subtrees.push(perfect_root(subtree));
                hashes = rest;
            }
        }
        TreeHead { size: self.size, root: join_subtrees(subtrees.into_iter()).unwrap_or(Hash::EMPTY_ROOT) }
    }

    /// Returns the partial tiles of the tree as it is now, at most one of each level.
    #[must_use]
    pub fn partial_tiles(&self) -> Vec<Tile> {
        TileId::partial_in_tree(self.size)
            .map(|id| {
                let hashes = self.edge[usize::from(id.level())].clone();
                Tile::new(id.level(), id.index(), hashes).expect("a tile of this tree")
            })
            .collect()
    }
}
