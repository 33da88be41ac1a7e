//! Proofs that must not verify, and what the errors say.

use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use evidence::tree::{
    ConsistencyError, Hash, InclusionError, TreeBuilder, TreeHead, verify_consistency, verify_inclusion,
};
use proptest::prelude::*;
use sha2::Sha256;

use super::{StoredTree, entry};

/// A change of a proof.
fn altered(mut proof: Vec<Hash>, at: usize, change: u8) -> Vec<Hash> {
    let at = at % (proof.len() + 1);
    match change {
        0 if at < proof.len() => proof[at] = Hash::of_leaf(proof[at].as_bytes()),
        1 if at < proof.len() => drop(proof.remove(at)),
        2 if (1..proof.len()).contains(&at) && proof[at] != proof[at - 1] => proof.swap(at, at - 1),
        _ => proof.insert(at, Hash::EMPTY_ROOT),
    }
    proof
}

fn head(size: u64) -> TreeHead {
    StoredTree::of_entries(size).builder.head()
}

#[test]
fn errors_name_the_leaf() {
    let tree = StoredTree::of_entries(3);
    let head = tree.builder.head();
    let proof = tree.inclusion_proof(2);
    let leaf = Hash::of_leaf(&entry(2));
    assert_eq!(verify_inclusion(leaf, 2, &proof, &head), Ok(()));
    assert_eq!(verify_inclusion(leaf, 3, &proof, &head), Err(InclusionError::Index { index: 3, size: 3 }));
    let length = |hashes| Err(InclusionError::Length { index: 2, size: 3, hashes });
    assert_eq!(verify_inclusion(leaf, 2, &[], &head), length(0));
    assert_eq!(verify_inclusion(leaf, 2, &[proof[0], proof[0]], &head), length(2));
    let other = Hash::of_leaf(&entry(1));
    let wrong = verify_inclusion(other, 2, &proof, &head);
    assert!(matches!(wrong, Err(InclusionError::Root { index: 2, .. })), "{wrong:?}");
    let empty = TreeBuilder::new().head();
    assert_eq!(verify_inclusion(leaf, 0, &[], &empty), Err(InclusionError::Index { index: 0, size: 0 }));
}

#[test]
fn errors_name_the_sizes() {
    let (old, new) = (head(6), head(8));
    let proof = StoredTree::of_entries(8).consistency_proof(6);
    assert_eq!(verify_consistency(&new, &old, &[]), Err(ConsistencyError::Sizes { old: 8, new: 6 }));
    let length = Err(ConsistencyError::Length { old: 6, new: 8, hashes: 0 });
    assert_eq!(verify_consistency(&old, &new, &[]), length);

    // The right roots with a size that is too large.
    let longer = verify_consistency(&old, &TreeHead { size: 16, ..new }, &proof);
    assert_eq!(longer, Err(ConsistencyError::Length { old: 6, new: 16, hashes: 3 }));

    let root = Hash::of_leaf(b"another");
    let result = verify_consistency(&TreeHead { root, ..old }, &new, &proof);
    assert!(matches!(result, Err(ConsistencyError::OldRoot { old: 6, new: 8, .. })), "{result:?}");
    let result = verify_consistency(&old, &TreeHead { root, ..new }, &proof);
    assert!(matches!(result, Err(ConsistencyError::NewRoot { old: 6, new: 8, .. })), "{result:?}");
    let result = verify_consistency(&new, &TreeHead { root, ..new }, &[]);
    assert!(matches!(result, Err(ConsistencyError::NewRoot { old: 8, new: 8, .. })), "{result:?}");

    let empty = TreeBuilder::new().head();
    assert_eq!(verify_consistency(&empty, &new, &[]), Ok(()));
    let length = Err(ConsistencyError::Length { old: 0, new: 8, hashes: 1 });
    assert_eq!(verify_consistency(&empty, &new, &[root]), length);
    let rootless = Err(ConsistencyError::EmptyRoot { found: root });
    assert_eq!(verify_consistency(&TreeHead { root, ..empty }, &new, &[]), rootless);
    assert_eq!(verify_consistency(&empty, &TreeHead { root, ..empty }, &[]), rootless);
}

proptest! {
    #[test]
    fn an_altered_inclusion_proof_does_not_verify(size in 1_u64..700, index: u64, at: usize, change in 0_u8..4) {
        let index = index % size;
        let tree = StoredTree::of_entries(size);
        let proof = altered(tree.inclusion_proof(index), at, change);
        let leaf = Hash::of_leaf(&entry(index));
        prop_assert!(verify_inclusion(leaf, index, &proof, &tree.builder.head()).is_err());
    }

    #[test]
    fn an_inclusion_proof_verifies_at_no_other_index(size in 2_u64..700, index: u64, other: u64) {
        let (index, other) = (index % size, other % size);
        let tree = StoredTree::of_entries(size);
        let verified = verify_inclusion(
            Hash::of_leaf(&entry(index)), other, &tree.inclusion_proof(index), &tree.builder.head(),
        );
        prop_assert_eq!(verified.is_ok(), index == other);
    }

    #[test]
    fn an_altered_consistency_proof_does_not_verify(new in 1_u64..700, old: u64, at: usize, change in 0_u8..4) {
        let old = old % (new + 1);
        let tree = StoredTree::of_entries(new);
        let proof = altered(tree.consistency_proof(old), at, change);
        prop_assert!(verify_consistency(&head(old), &tree.builder.head(), &proof).is_err());
    }

    /// The other implementation accepts and refuses the same proofs, whichever index and size they claim.
    #[test]
    fn another_implementation_agrees(
        size in 1_u64..50, index in 0_u64..50, claimed_size in 1_u64..60, claimed_index in 0_u64..60
    ) {
        let tree = StoredTree::of_entries(size);
        let proof = tree.inclusion_proof(index % size);
        let root = tree.builder.head().root;
        let ours = verify_inclusion(
            Hash::of_leaf(&entry(index % size)), claimed_index, &proof, &TreeHead { size: claimed_size, root },
        );
        let bytes = proof.iter().flat_map(Hash::as_bytes).copied().collect();
        let other = InclusionProof::<Sha256>::try_from_bytes(bytes).unwrap();
        let other = RootHash::new((*root.as_bytes()).into(), claimed_size)
            .verify_inclusion(&entry(index % size), claimed_index, &other);
        prop_assert_eq!(ours.is_ok(), other.is_ok());
    }

    /// The same for consistency proofs, whichever sizes they claim.
    #[test]
    fn another_implementation_agrees_on_consistency(
        old in 1_u64..50, added in 0_u64..20, claimed_old in 1_u64..50, claimed_added in 0_u64..20
    ) {
        let tree = StoredTree::of_entries(old + added);
        let proof = tree.consistency_proof(old);
        let (old_root, new_root) = (head(old).root, tree.builder.head().root);
        let claimed_new = claimed_old + claimed_added;
        let ours = verify_consistency(
            &TreeHead { size: claimed_old, root: old_root },
            &TreeHead { size: claimed_new, root: new_root },
            &proof,
        );
        let bytes = proof.iter().flat_map(Hash::as_bytes).copied().collect();
        let other = ConsistencyProof::<Sha256>::try_from_bytes(bytes).unwrap();
        let root = |root: Hash, size| RootHash::<Sha256>::new((*root.as_bytes()).into(), size);
        let other = root(new_root, claimed_new).verify_consistency(&root(old_root, claimed_old), &other);
        prop_assert_eq!(ours.is_ok(), other.is_ok());
    }

    #[test]
    fn sizes_and_indices_never_panic(
        index: u64, old: u64, size: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70)
    ) {
        let proof: Vec<Hash> = hashes.into_iter().map(Hash::from_bytes).collect();
        let tree = TreeHead { size, root: Hash::EMPTY_ROOT };
        prop_assert!(verify_inclusion(Hash::EMPTY_ROOT, index, &proof, &tree).is_err());
        let old_tree = TreeHead { size: old, root: Hash::EMPTY_ROOT };
        let _ = verify_consistency(&old_tree, &tree, &proof);
    }
}
