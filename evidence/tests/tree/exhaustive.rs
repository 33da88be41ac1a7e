//! Every index of every tree of 1 to 600 leaves, and every pair of sizes, against `ct-merkle`. 600 leaves are two full
//! tiles and a partial one, so that proofs cross tiles and levels at every kind of right edge.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use evidence::tree::{
    Hash, ProofPlan, TileId, TileSet, TreeBuilder, TreeHead, verify_consistency, verify_inclusion,
};
use sha2::Sha256;

use super::{StoredTree, entry};

const SIZE_MAX: u64 = 600;

type OtherTree = MemoryBackedTree<Sha256, [u8; 8]>;

/// Runs a check for the trees of all sizes, built by both implementations.
fn for_each_size(mut check: impl FnMut(TreeHead, &TileSet, &OtherTree)) {
    let mut tree = StoredTree::default();
    let mut other = OtherTree::new();
    for size in 1..=SIZE_MAX {
        tree.append([Hash::of_leaf(&entry(size - 1))]);
        other.push(entry(size - 1));
        let head = tree.builder.head();
        assert_eq!(head.size, size);
        assert_eq!(head.root.as_bytes()[..], other.root().as_bytes()[..], "root of {size} leaves");
        check(head, &tree.tiles().collect(), &other);
    }
}

fn bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(Hash::as_bytes).copied().collect()
}

/// Returns the hashes of a plan, which must ask only for tiles of the tree.
fn proof(plan: &ProofPlan, tiles: &TileSet, size: u64) -> Vec<Hash> {
    for tile in plan.tiles() {
        assert_eq!(TileId::in_tree(tile.level(), tile.index(), size), Some(tile));
    }
    plan.hashes(tiles).expect("all tiles are there")
}

#[test]
fn every_leaf_of_every_tree_has_an_inclusion_proof() {
    for_each_size(|head, tiles, other| {
        for index in 0..head.size {
            let plan = ProofPlan::inclusion(index, head.size).unwrap();
            let proof = proof(&plan, tiles, head.size);
            let expected = other.prove_inclusion(usize::try_from(index).unwrap());
            assert_eq!(bytes(&proof), expected.as_bytes(), "leaf {index} of {}", head.size);
            let leaf = Hash::of_leaf(&entry(index));
            assert_eq!(verify_inclusion(leaf, index, &proof, &head), Ok(()));
        }
    });
}

#[test]
fn every_pair_of_trees_has_a_consistency_proof() {
    let mut heads = vec![TreeBuilder::new().head()];
    for_each_size(|head, tiles, other| {
        heads.push(head);
        for old in &heads {
            let plan = ProofPlan::consistency(old.size, head.size).unwrap();
            let proof = proof(&plan, tiles, head.size);
            if old.size > 0 {
                let expected = other.prove_consistency(usize::try_from(head.size - old.size).unwrap());
                assert_eq!(bytes(&proof), expected.as_bytes(), "{} to {}", old.size, head.size);
            }
            assert_eq!(verify_consistency(old, &head, &proof), Ok(()));
        }
    });
}

#[test]
fn the_root_follows_from_the_tiles() {
    for_each_size(|head, tiles, _| {
        let plan = ProofPlan::root(head.size).unwrap();
        assert_eq!(proof(&plan, tiles, head.size), [head.root]);
    });
}
