//! Merkle trees of RFC 6962, section 2.1, with SHA-256, in the tiles of C2SP tlog-tiles v0.1.0.
//!
//! The verification follows RFC 9162, sections 2.1.3.2 and 2.1.4.2, step by step; `ct-merkle` verifies the same
//! proofs in the tests. We have our own, because it is 60 lines that an auditor can compare with the RFC, and because
//! its errors say what is wrong with a proof.

mod builder;
mod paths;
mod proofs;
mod tile;
mod verify;

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::sha256::{self, State};

pub use builder::TreeBuilder;
pub use paths::{LogResource, PathError};
pub use proofs::{MissingTile, ProofPlan, RangeError, TileSet};
pub use tile::{TILE_WIDTH, Tile, TileError, TileId};
pub use verify::{ConsistencyError, InclusionError, verify_consistency, verify_inclusion};

/// Maximum number of leaves of a tree: the largest number that PostgreSQL's `bigint` has.
pub const TREE_SIZE_MAX: u64 = i64::MAX as u64;

/// Maximum number of hashes in a proof: the height of the largest tree.
pub const PROOF_HASHES_MAX: usize = 63;

/// SHA-256 hash of a leaf or of an inner node. Its text form is base64, as in checkpoints and proofs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    pub const BYTES: usize = 32;
    /// First byte of what the hash of a leaf is the hash of (RFC 6962, section 2.1).
    pub(crate) const LEAF_PREFIX: u8 = 0;
    const NODE_PREFIX: u8 = 1;

    /// Root of the tree without leaves: SHA-256 of no bytes (RFC 6962, section 2.1).
    pub const EMPTY_ROOT: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// Returns the hash of the leaf that an entry becomes: SHA-256(0x00 || entry).
    #[must_use]
    pub fn of_leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update([Self::LEAF_PREFIX]).chain_update(entry).finalize().into())
    }

    /// Returns the hash of an inner node: SHA-256(0x01 || left || right).
    #[must_use]
    pub fn of_node(left: &Self, right: &Self) -> Self {
        let [hash] = Self::of_nodes([&[*left, *right]]);
        hash
    }

    /// Returns the hashes of inner nodes. Those of several take less time together.
    fn of_nodes<const N: usize>(nodes: [&[Self; 2]; N]) -> [Self; N] {
        let texts = nodes.map(|[left, right]| {
            let mut text = [Self::NODE_PREFIX; 1 + 2 * Self::BYTES];
            text[1..=Self::BYTES].copy_from_slice(&left.0);
            text[1 + Self::BYTES..].copy_from_slice(&right.0);
            text
        });
        sha256::digest([State::INITIAL; N], texts.each_ref().map(<[u8; _]>::as_slice)).map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

/// Text that is not the base64 of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a hash must be the base64 of 32 bytes")]
pub struct HashError;

impl FromStr for Hash {
    type Err = HashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; Self::BYTES];
        match STANDARD.decode_slice(text, &mut bytes) {
            Ok(Self::BYTES) => Ok(Self(bytes)),
            _ => Err(HashError),
        }
    }
}

/// Number of leaves of a tree and the hash of its root. It determines all leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// At most [`TREE_SIZE_MAX`].
    pub size: u64,
    pub root: Hash,
}

/// Returns the hashes of the nodes above these, pair by pair. A hash without a partner has no parent yet.
fn parents(hashes: &[Hash]) -> Vec<Hash> {
    let (pairs, last) = hashes.as_chunks().0.as_chunks();
    let mut parents = Vec::with_capacity(hashes.len() / 2);
    parents.extend(pairs.iter().flat_map(|[first, second]| Hash::of_nodes([first, second])));
    parents.extend(last.iter().flat_map(|node| Hash::of_nodes([node])));
    parents
}

/// Returns the hash of a node from those of the nodes below it, which are a power of two.
fn perfect_root(hashes: &[Hash]) -> Hash {
    debug_assert!(hashes.len().is_power_of_two());
    if let [hash] = hashes {
        return *hash;
    }
    let mut row = parents(hashes);
    while row.len() > 1 {
        row = parents(&row);
    }
    row[0]
}

/// Returns the hash of adjacent perfect subtrees, each smaller than the one to its left, or `None` if there are none.
fn join_subtrees(subtrees: impl DoubleEndedIterator<Item = Hash>) -> Option<Hash> {
    subtrees.rev().reduce(|right, left| Hash::of_node(&left, &right))
}
