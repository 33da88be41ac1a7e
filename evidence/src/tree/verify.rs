//! Verification of proofs. The comments number the steps as the RFC does.

use thiserror::Error;

use super::{Hash, TreeHead};

/// Reason why an inclusion proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InclusionError {
    #[error("leaf {index} is not in a tree of {size} leaves")]
    Index { index: u64, size: u64 },
    #[error("the proof of leaf {index} in a tree of {size} leaves must not have {hashes} hashes")]
    Length { index: u64, size: u64, hashes: usize },
    #[error("leaf {index} leads to the root {found} instead of {expected}")]
    Root { index: u64, expected: Hash, found: Hash },
}

/// Verifies that a leaf is at an index of a tree (RFC 9162, section 2.1.3.2).
///
/// # Errors
///
/// The proof does not fit the index and the size, or leads to another root.
pub fn verify_inclusion(
    leaf_hash: Hash,
    index: u64,
    proof: &[Hash],
    tree: &TreeHead,
) -> Result<(), InclusionError> {
    let size = tree.size;
    let length = InclusionError::Length { index, size, hashes: proof.len() };
    // 1.
    if index >= size {
        return Err(InclusionError::Index { index, size });
    }
    // 2. and 3.
    let (mut f, mut s) = (index, size - 1);
    let mut root = leaf_hash;
    // 4.
    for sibling in proof {
        if s == 0 {
            return Err(length);
        }
        if f & 1 == 1 || f == s {
            root = Hash::of_node(sibling, &root);
            skip_right_edge(&mut f, &mut s);
        } else {
            root = Hash::of_node(&root, sibling);
        }
        (f, s) = (f >> 1, s >> 1);
    }
    // 5.
    if s != 0 {
        return Err(length);
    }
    if root != tree.root {
        return Err(InclusionError::Root { index, expected: tree.root, found: root });
    }
    Ok(())
}

/// Step b.ii: ascends from a node without right sibling to the first that is a right child, or to the left edge.
fn skip_right_edge(f: &mut u64, s: &mut u64) {
    while *f & 1 == 0 && *f != 0 {
        (*f, *s) = (*f >> 1, *s >> 1);
    }
}

/// Reason why a consistency proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConsistencyError {
    #[error("a tree of {new} leaves cannot follow one of {old}")]
    Sizes { old: u64, new: u64 },
    #[error("the tree without leaves has the root {}, not {found}", Hash::EMPTY_ROOT)]
    EmptyRoot { found: Hash },
    #[error("the proof from {old} to {new} leaves must not have {hashes} hashes")]
    Length { old: u64, new: u64, hashes: usize },
    #[error("the proof from {old} to {new} leaves leads to the old root {found} instead of {expected}")]
    OldRoot { old: u64, new: u64, expected: Hash, found: Hash },
    #[error("the proof from {old} to {new} leaves leads to the new root {found} instead of {expected}")]
    NewRoot { old: u64, new: u64, expected: Hash, found: Hash },
}

/// Verifies that one tree begins with the leaves of another (RFC 9162, section 2.1.4.2).
///
/// The RFC leaves out two cases, whose proofs are empty: two trees of the same size must have the same root, and every
/// tree begins with the empty one.
///
/// # Errors
///
/// The proof does not fit the sizes, or leads to other roots.
pub fn verify_consistency(
    old_tree: &TreeHead,
    new_tree: &TreeHead,
    proof: &[Hash],
) -> Result<(), ConsistencyError> {
    let (old, new) = (old_tree.size, new_tree.size);
    if old > new {
        return Err(ConsistencyError::Sizes { old, new });
    }
    for tree in [old_tree, new_tree] {
        if tree.size == 0 && tree.root != Hash::EMPTY_ROOT {
            return Err(ConsistencyError::EmptyRoot { found: tree.root });
        }
    }
    let length = ConsistencyError::Length { old, new, hashes: proof.len() };
    let (old_root, new_root) = if old == 0 || old == new {
        if !proof.is_empty() {
            return Err(length);
        }
        (old_tree.root, if old == new { old_tree.root } else { new_tree.root })
    } else {
        roots_of_consistency_proof(old_tree, new, proof).ok_or(length)?
    };
    if old_root != old_tree.root {
        return Err(ConsistencyError::OldRoot { old, new, expected: old_tree.root, found: old_root });
    }
    if new_root != new_tree.root {
        return Err(ConsistencyError::NewRoot { old, new, expected: new_tree.root, found: new_root });
    }
    Ok(())
}

/// Returns the old and the new root to which a proof leads, or `None` if its length does not fit the sizes.
fn roots_of_consistency_proof(old_tree: &TreeHead, new: u64, proof: &[Hash]) -> Option<(Hash, Hash)> {
    // 1. and 2.
    let mut path = proof.iter();
    if path.len() == 0 {
        return None;
    }
    let first = if old_tree.size.is_power_of_two() { old_tree.root } else { *path.next()? };
    // 3. and 4.
    let (mut f, mut s) = (old_tree.size - 1, new - 1);
    let ones = f.trailing_ones();
    (f, s) = (f >> ones, s >> ones);
    // 5.
    let (mut old_root, mut new_root) = (first, first);
    // 6.
    for hash in path {
        if s == 0 {
            return None;
        }
        if f & 1 == 1 || f == s {
            old_root = Hash::of_node(hash, &old_root);
            new_root = Hash::of_node(hash, &new_root);
            skip_right_edge(&mut f, &mut s);
        } else {
            new_root = Hash::of_node(&new_root, hash);
        }
        (f, s) = (f >> 1, s >> 1);
    }
    // 7.
    (s == 0).then_some((old_root, new_root))
}
