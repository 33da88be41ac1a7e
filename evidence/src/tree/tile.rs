//! Tiles: the unit in which the hashes of a tree are stored and read.

use thiserror::Error;

use super::{Hash, TREE_SIZE_MAX, perfect_root};

/// Number of hashes of a full tile.
pub const TILE_WIDTH: usize = 256;
/// Number of bits by which an index shrinks from one level of tiles to the next.
pub(super) const LEVEL_BITS: u8 = 8;
/// Highest level that a tree of [`TREE_SIZE_MAX`] leaves has. The format allows 63.
pub(super) const LEVEL_MAX: u8 = 7;

/// Reason why a tile is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TileError {
    #[error("a tile has level 0 to {LEVEL_MAX}, not {0}")]
    Level(u8),
    #[error("a tile has 1 to {TILE_WIDTH} hashes or entries, not {0}")]
    Width(usize),
    #[error("no tree of at most {TREE_SIZE_MAX} leaves has tile {index} of level {level}")]
    Index { level: u8, index: u64 },
    #[error("the tile has {found} bytes instead of {expected}")]
    Bytes { expected: usize, found: usize },
}

/// Coordinates of a tile.
///
/// Hash `i` of tile `index` of a level is the root of the subtree of 256^level leaves that begins at leaf
/// `(index * 256 + i) * 256^level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    level: u8,
    index: u64,
    width: u16,
}

impl TileId {
    /// Returns the coordinates of a tile of `width` hashes; 256 is a full tile.
    ///
    /// # Errors
    ///
    /// Coordinates that no tree of at most [`TREE_SIZE_MAX`] leaves has.
    pub fn new(level: u8, index: u64, width: usize) -> Result<Self, TileError> {
        if level > LEVEL_MAX {
            return Err(TileError::Level(level));
        }
        if !(1..=TILE_WIDTH).contains(&width) {
            return Err(TileError::Width(width));
        }
        let hashes = index.checked_mul(TILE_WIDTH as u64).and_then(|first| first.checked_add(width as u64));
        if hashes.is_none_or(|hashes| hashes > hashes_of_level(TREE_SIZE_MAX, level)) {
            return Err(TileError::Index { level, index });
        }
        Ok(Self { level, index, width: u16::try_from(width).expect("at most 256") })
    }

    /// Returns the tile as it is in a tree of `size` leaves: full, or partial if it is the last of its level. `None`
    /// if the tree has no such tile.
    #[must_use]
    pub fn in_tree(level: u8, index: u64, size: u64) -> Option<Self> {
        if level > LEVEL_MAX {
            return None;
        }
        let first = index.checked_mul(TILE_WIDTH as u64)?;
        let width = hashes_of_level(size, level).checked_sub(first)?.min(TILE_WIDTH as u64);
        Self::new(level, index, usize::try_from(width).ok()?).ok()
    }

    /// Returns the partial tiles of a tree of `size` leaves, at most one of each level, from level 0.
    pub fn partial_in_tree(size: u64) -> impl Iterator<Item = Self> {
        (0..=LEVEL_MAX)
            .filter_map(move |level| Self::in_tree(level, hashes_of_level(size, level) >> LEVEL_BITS, size))
    }

    #[must_use]
    pub fn level(self) -> u8 {
        self.level
    }

    #[must_use]
    pub fn index(self) -> u64 {
        self.index
    }

    /// Number of hashes, 1 to 256.
    #[must_use]
    pub fn width(self) -> usize {
        usize::from(self.width)
    }

    #[must_use]
    pub fn is_full(self) -> bool {
        self.width() == TILE_WIDTH
    }
}

/// Returns the number of hashes that a level of tiles has in a tree of `size` leaves.
pub(super) fn hashes_of_level(size: u64, level: u8) -> u64 {
    size >> (LEVEL_BITS * level)
}

/// Consecutive hashes of one level of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    id: TileId,
    hashes: Vec<Hash>,
}

impl Tile {
    /// Returns a tile whose width is the number of the hashes.
    ///
    /// # Errors
    ///
    /// As [`TileId::new`].
    pub fn new(level: u8, index: u64, hashes: Vec<Hash>) -> Result<Self, TileError> {
        Ok(Self { id: TileId::new(level, index, hashes.len())?, hashes })
    }

    /// Reads a tile from its stored form.
    ///
    /// # Errors
    ///
    /// Another number of bytes than the width demands.
    pub fn from_bytes(id: TileId, bytes: &[u8]) -> Result<Self, TileError> {
        let (chunks, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
        if chunks.len() != id.width() || !rest.is_empty() {
            return Err(TileError::Bytes { expected: id.width() * Hash::BYTES, found: bytes.len() });
        }
        Ok(Self { id, hashes: chunks.iter().copied().map(Hash::from_bytes).collect() })
    }

    /// Returns the stored form: the hashes, one after another.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.hashes.iter().flat_map(Hash::as_bytes).copied().collect()
    }

    #[must_use]
    pub fn id(&self) -> TileId {
        self.id
    }

    #[must_use]
    pub fn hashes(&self) -> &[Hash] {
        &self.hashes
    }

    /// Returns the hash of the node above a full tile, which the tile above it has. `None`: the tile is partial.
    #[must_use]
    pub fn root(&self) -> Option<Hash> {
        self.id.is_full().then(|| perfect_root(&self.hashes))
    }

    pub(super) fn into_parts(self) -> (TileId, Vec<Hash>) {
        (self.id, self.hashes)
    }
}
