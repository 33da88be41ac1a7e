//! Proofs, computed from tiles that the caller reads.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use thiserror::Error;

use super::tile::{LEVEL_BITS, hashes_of_level};
use super::{Hash, TILE_WIDTH, TREE_SIZE_MAX, Tile, TileId, join_subtrees, parents};

/// Tile that a proof needs and that was not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("tile {} of level {} is missing, or has fewer than {} hashes", .0.index(), .0.level(), .0.width())]
pub struct MissingTile(pub TileId);

/// Tiles that were read, with the hashes of all nodes that follow from each alone. A wider tile serves for a narrower
/// one with the same level and index.
#[derive(Clone, Debug, Default)]
pub struct TileSet(HashMap<(u8, u64), Rows>);

/// Hashes of a tile, then those of their parents, and so on up to the root of a full tile.
type Rows = Vec<Vec<Hash>>;

impl TileSet {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tile, unless a wider one is there. Computes at most 255 hashes.
    pub fn insert(&mut self, tile: Tile) {
        let (id, hashes) = tile.into_parts();
        let rows = self.0.entry((id.level(), id.index())).or_default();
        if rows.first().is_none_or(|known| known.len() < hashes.len()) {
            *rows = vec![hashes];
            while let Some(parents) = rows.last().map(|row| parents(row)).filter(|row| !row.is_empty()) {
                rows.push(parents);
            }
        }
    }

    /// Returns the hashes of a tile.
    ///
    /// # Errors
    ///
    /// The tile is not in the set, or not as wide.
    pub fn hashes(&self, id: TileId) -> Result<&[Hash], MissingTile> {
        let rows = self.0.get(&(id.level(), id.index()));
        rows.and_then(|rows| rows.first()?.get(..id.width())).ok_or(MissingTile(id))
    }

    fn subtree(&self, subtree: Subtree) -> Result<Hash, MissingTile> {
        let tile = subtree.tile();
        let rows = self.0.get(&(tile.level(), tile.index()));
        let row = rows.and_then(|rows| rows.get(usize::from(subtree.height % LEVEL_BITS)));
        row.and_then(|row| row.get(subtree.index_in_row())).copied().ok_or(MissingTile(tile))
    }
}

impl FromIterator<Tile> for TileSet {
    fn from_iter<T: IntoIterator<Item = Tile>>(tiles: T) -> Self {
        let mut set = Self::new();
        tiles.into_iter().for_each(|tile| set.insert(tile));
        set
    }
}

/// Subtree of 2^height leaves, the first of which is leaf `index * 2^height`.
#[derive(Clone, Copy)]
struct Subtree {
    height: u8,
    index: u64,
}

impl Subtree {
    /// Returns the largest subtrees of which the leaves in a range consist, from the left.
    fn of_range(leaves: Range<u64>) -> impl Iterator<Item = Self> {
        let mut start = leaves.start;
        std::iter::from_fn(move || {
            let rest = (leaves.end - start).checked_ilog2()?;
            // At most 63, the number of bits of a size.
            let height = rest.min(start.trailing_zeros()) as u8;
            let subtree = Self { height, index: start >> height };
            start += 1 << height;
            Some(subtree)
        })
    }

    /// Returns the narrowest tile from which the hash of this subtree follows.
    fn tile(self) -> TileId {
        let below = self.height % LEVEL_BITS;
        let index = self.index >> (LEVEL_BITS - below);
        let width = (self.index_in_row() + 1) << below;
        TileId::new(self.height / LEVEL_BITS, index, width).expect("a tile of a tree")
    }

    /// Returns the number of subtrees of the same height to the left of this one in its tile.
    fn index_in_row(self) -> usize {
        (self.index % (TILE_WIDTH as u64 >> (self.height % LEVEL_BITS))) as usize
    }
}

/// Reason why there is no such proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RangeError {
    #[error("leaf {index} is not in a tree of {size} leaves")]
    Index { index: u64, size: u64 },
    #[error("a tree of {new} leaves does not begin with one of {old}")]
    Sizes { old: u64, new: u64 },
    #[error("a tree has at most {TREE_SIZE_MAX} leaves, not {0}")]
    Size(u64),
}

/// What to read in order to compute the root of a tree or a proof in it.
///
/// ```
/// # use evidence::tree::{Hash, ProofPlan, TileSet, TreeBuilder, verify_inclusion};
/// let leaves: Vec<Hash> = (0_u16..300).map(|leaf| Hash::of_leaf(&leaf.to_be_bytes())).collect();
/// let mut tree = TreeBuilder::new();
/// let mut stored = tree.append(leaves.iter().copied());
/// stored.extend(tree.partial_tiles());
///
/// let plan = ProofPlan::inclusion(7, 300)?;
/// let tiles: TileSet = stored.into_iter().filter(|tile| plan.tiles().contains(&tile.id())).collect();
/// let proof = plan.hashes(&tiles)?;
/// verify_inclusion(leaves[7], 7, &proof, &tree.head())?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofPlan {
    size: u64,
    /// The leaves below each hash of the proof.
    ranges: Vec<Range<u64>>,
}

impl ProofPlan {
    /// Plans the Merkle audit path of a leaf, from the leaf's sibling upwards (RFC 6962, section 2.1.1).
    ///
    /// # Errors
    ///
    /// The tree is too large, or has no such leaf.
    pub fn inclusion(index: u64, size: u64) -> Result<Self, RangeError> {
        if index >= size {
            return Err(RangeError::Index { index, size });
        }
        Self::new(size, |ranges| {
            let mut subtree = 0..size;
            while subtree.end - subtree.start > 1 {
                let (left, right) = split(&subtree);
                let (inner, sibling) = if index < left.end { (left, right) } else { (right, left) };
                ranges.push(sibling);
                subtree = inner;
            }
        })
    }

    /// Plans the Merkle consistency proof between two sizes of a tree (RFC 6962, section 2.1.2). From an empty tree to
    /// any other, and from a tree to itself, it is empty.
    ///
    /// # Errors
    ///
    /// A tree is too large, or the old one larger than the new one.
    pub fn consistency(old: u64, new: u64) -> Result<Self, RangeError> {
        if old > new {
            return Err(RangeError::Sizes { old, new });
        }
        Self::new(new, |ranges| {
            if old == 0 {
                return;
            }
            let mut subtree = 0..new;
            while subtree.end > old {
                let (left, right) = split(&subtree);
                let (inner, sibling) = if old <= left.end { (left, right) } else { (right, left) };
                ranges.push(sibling);
                subtree = inner;
            }
            // The verifier knows the whole old tree, and no other subtree that ends where it ends.
            if subtree.start > 0 {
                ranges.push(subtree);
            }
        })
    }

    /// Plans the root of a tree. [`Self::hashes`] returns it as the only hash.
    ///
    /// # Errors
    ///
    /// The tree is too large.
    pub fn root(size: u64) -> Result<Self, RangeError> {
        Self::new(size, |ranges| ranges.push(0..size))
    }

    /// Collects ranges from the root downwards.
    fn new(size: u64, collect: impl FnOnce(&mut Vec<Range<u64>>)) -> Result<Self, RangeError> {
        if size > TREE_SIZE_MAX {
            return Err(RangeError::Size(size));
        }
        let mut ranges = vec![];
        collect(&mut ranges);
        ranges.reverse();
        Ok(Self { size, ranges })
    }

    /// Returns the tiles to read, as they are in the tree of the plan. A wider tile with the same level and index, such
    /// as the full one, serves as well.
    #[must_use]
    pub fn tiles(&self) -> BTreeSet<TileId> {
        let subtrees = self.ranges.iter().cloned().flat_map(Subtree::of_range);
        subtrees
            .map(|subtree| {
                let tile = subtree.tile();
                let width = hashes_of_level(self.size, tile.level()) - (tile.index() << LEVEL_BITS);
                let width = width.min(TILE_WIDTH as u64) as usize;
                TileId::new(tile.level(), tile.index(), width).expect("a tile of this tree")
            })
            .collect()
    }

    /// Computes the hashes of the proof.
    ///
    /// # Errors
    ///
    /// The first tile that is missing. With all of [`Self::tiles`] none is.
    pub fn hashes(&self, tiles: &TileSet) -> Result<Vec<Hash>, MissingTile> {
        let hash = |range: &Range<u64>| {
            let subtrees = Subtree::of_range(range.clone()).map(|subtree| tiles.subtree(subtree));
            let subtrees: Vec<Hash> = subtrees.collect::<Result<_, _>>()?;
            Ok(join_subtrees(subtrees.into_iter()).unwrap_or(Hash::EMPTY_ROOT))
        };
        self.ranges.iter().map(hash).collect()
    }
}

/// Splits a subtree of several leaves: the left part is as large as a power of two that is smaller can be.
fn split(leaves: &Range<u64>) -> (Range<u64>, Range<u64>) {
    let middle = leaves.start + (1 << (leaves.end - leaves.start - 1).ilog2());
    (leaves.start..middle, middle..leaves.end)
}
