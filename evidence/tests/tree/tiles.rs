//! Tiles of a growing tree.

use evidence::tree::{
    Hash, MissingTile, ProofPlan, RangeError, TREE_SIZE_MAX, Tile, TileError, TileId, TileSet, TreeBuilder,
    verify_consistency, verify_inclusion,
};
use proptest::prelude::*;

use super::{StoredTree, entry};

/// The example of C2SP tlog-tiles, section "Partial Tiles".
#[test]
fn a_tree_of_70_000_leaves_has_the_tiles_of_the_standard() {
    let tree = StoredTree::of_entries(70_000);
    let count = |level, full| {
        tree.tiles().filter(|tile| (tile.id().level(), tile.id().is_full()) == (level, full)).count()
    };
    assert_eq!([count(0, true), count(1, true), count(2, true)], [273, 1, 0]);
    let partial: Vec<TileId> = tree.builder.partial_tiles().iter().map(Tile::id).collect();
    let expected = [TileId::new(0, 273, 112), TileId::new(1, 1, 17), TileId::new(2, 0, 1)];
    assert_eq!(partial, expected.map(Result::unwrap));

    for tile in tree.tiles() {
        assert_eq!(TileId::in_tree(tile.id().level(), tile.id().index(), 70_000), Some(tile.id()));
        assert_eq!(Tile::from_bytes(tile.id(), &tile.to_bytes()), Ok(tile));
    }
}

#[test]
fn every_tile_becomes_full_once_and_after_those_below_it() {
    let tree = StoredTree::of_entries(256 * 256 + 1);
    let full: Vec<TileId> = tree.tiles().map(|tile| tile.id()).filter(|id| id.is_full()).collect();
    let mut expected: Vec<TileId> = (0..256).map(|index| TileId::new(0, index, 256).unwrap()).collect();
    expected.push(TileId::new(1, 0, 256).unwrap());
    assert_eq!(full, expected);
}

#[test]
fn proofs_cross_three_levels_of_tiles() {
    let tree = StoredTree::of_entries(70_000);
    for index in [0, 255, 256, 65_535, 65_536, 69_887, 69_888, 69_999] {
        let proof = tree.inclusion_proof(index);
        let leaf = Hash::of_leaf(&entry(index));
        assert_eq!(verify_inclusion(leaf, index, &proof, &tree.builder.head()), Ok(()), "leaf {index}");
    }
    for old in [1, 256, 65_535, 65_536, 65_537, 69_888, 69_999] {
        let old_head = StoredTree::of_entries(old).builder.head();
        let proof = tree.consistency_proof(old);
        assert_eq!(verify_consistency(&old_head, &tree.builder.head(), &proof), Ok(()), "from {old}");
    }
}

#[test]
fn a_wider_tile_serves_for_a_narrower_one() {
    let tree = StoredTree::of_entries(1000);
    let tiles: TileSet = tree.tiles().collect();
    let proof = ProofPlan::inclusion(2, 300).unwrap().hashes(&tiles).unwrap();
    let head = StoredTree::of_entries(300).builder.head();
    assert_eq!(verify_inclusion(Hash::of_leaf(&entry(2)), 2, &proof, &head), Ok(()));
}

#[test]
fn a_missing_tile_is_named() {
    let tree = StoredTree::of_entries(300);
    let plan = ProofPlan::inclusion(2, 300).unwrap();
    let of_level_0 = tree.tiles().filter(|tile| tile.id().level() == 0 && tile.id().index() == 0);
    let missing = plan.hashes(&of_level_0.collect()).unwrap_err();
    assert_eq!(missing, MissingTile(TileId::new(0, 1, 32).unwrap()));
    assert_eq!(missing.to_string(), "tile 1 of level 0 is missing, or has fewer than 32 hashes");
    assert!(TreeBuilder::resume(300, &TileSet::new()).is_err());
}

#[test]
fn tiles_that_no_tree_has_are_refused() {
    assert_eq!(TileId::new(8, 0, 1), Err(TileError::Level(8)));
    assert_eq!(TileId::new(0, 0, 0), Err(TileError::Width(0)));
    assert_eq!(TileId::new(0, 0, 257), Err(TileError::Width(257)));
    assert_eq!(TileId::new(1, u64::MAX, 256), Err(TileError::Index { level: 1, index: u64::MAX }));
    assert_eq!(TileId::in_tree(0, 1, 256), None);
    assert_eq!(TileId::in_tree(9, 0, 256), None);
    let id = TileId::new(0, 0, 2).unwrap();
    assert_eq!(Tile::from_bytes(id, &[0; 65]), Err(TileError::Bytes { expected: 64, found: 65 }));
    assert_eq!(Tile::new(0, 0, vec![]), Err(TileError::Width(0)));
}

#[test]
fn proofs_of_other_trees_are_refused() {
    assert_eq!(ProofPlan::inclusion(3, 3), Err(RangeError::Index { index: 3, size: 3 }));
    assert_eq!(ProofPlan::consistency(4, 3), Err(RangeError::Sizes { old: 4, new: 3 }));
    assert_eq!(ProofPlan::root(TREE_SIZE_MAX + 1), Err(RangeError::Size(TREE_SIZE_MAX + 1)));
}

#[test]
fn the_largest_tree_can_be_planned() {
    let last = ProofPlan::inclusion(TREE_SIZE_MAX - 1, TREE_SIZE_MAX).unwrap();
    assert!(last.tiles().len() <= 8 * 63);
    assert_eq!(ProofPlan::root(TREE_SIZE_MAX).unwrap().tiles().len(), 8);
    assert_eq!(TileId::partial_in_tree(TREE_SIZE_MAX).count(), 8);
}

proptest! {
    /// A tree is the same however its leaves are batched, and however often it is continued from its tiles.
    #[test]
    fn a_tree_continues_from_its_partial_tiles(batches in prop::collection::vec(0_u64..700, 1..5)) {
        let mut tree = StoredTree::default();
        for batch in batches {
            let size = tree.builder.size();
            tree.append((size..size + batch).map(|index| Hash::of_leaf(&entry(index))));
            let resumed = TreeBuilder::resume(tree.builder.size(), &tree.builder.partial_tiles().into_iter().collect());
            tree.builder = resumed.unwrap();
        }
        let expected = StoredTree::of_entries(tree.builder.size());
        prop_assert_eq!(tree.builder.head(), expected.builder.head());
        prop_assert!(tree.tiles().eq(expected.tiles()));
    }

    #[test]
    fn bytes_of_a_tile_never_panic(bytes: Vec<u8>, level: u8, index: u64, width in 0_usize..300) {
        if let Ok(id) = TileId::new(level, index, width) {
            let _ = Tile::from_bytes(id, &bytes);
        }
    }
}
