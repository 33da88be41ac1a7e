//! Proofs of one entry.

use evidence::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use evidence::note::{NoteError, VerifyError};
use evidence::policy::{Distrust, Policy};
use evidence::proof::{LogProof, PROOF_BYTES_MAX, ProofError, ProofFailure};
use evidence::tree::InclusionError;
use proptest::prelude::*;

use crate::checkpoint::log_key;
use crate::tree::{StoredTree, entry};

const SIZE: u64 = 300;

fn signed(tree: &StoredTree) -> SignedCheckpoint {
    let origin = "example.com/log".parse().unwrap();
    Checkpoint { origin, tree: tree.builder.head() }.sign(&log_key("example.com/log", 1))
}

fn policy() -> Policy {
    Policy::without_witnesses(vec![log_key("example.com/log", 1).verifier().clone()])
}

fn proof(index: u64) -> LogProof {
    let tree = StoredTree::of_entries(SIZE);
    LogProof { extra: None, index, path: tree.inclusion_proof(index), checkpoint: signed(&tree) }
}

#[test]
fn a_proof_is_a_text_that_verifies() {
    let proof = proof(7);
    let text = proof.to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 7\n"));
    assert!(text.ends_with(&format!("\n\n{}", proof.checkpoint)));
    let parsed = LogProof::parse(text.as_bytes()).unwrap();
    assert_eq!(parsed, proof);
    assert_eq!(parsed.verify(&entry(7), &policy()).unwrap().log.len(), 1);
}

#[test]
fn extra_data_is_carried() {
    let with_extra = LogProof { extra: Some(b"salt".to_vec()), ..proof(7) };
    let text = with_extra.to_string();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra c2FsdA==\nindex 7\n"));
    assert_eq!(LogProof::parse(text.as_bytes()), Ok(with_extra));
}

#[test]
fn the_only_leaf_of_a_tree_has_an_empty_path() {
    let tree = StoredTree::of_entries(1);
    let proof = LogProof { extra: None, index: 0, path: vec![], checkpoint: signed(&tree) };
    let parsed = LogProof::parse(proof.to_string().as_bytes()).unwrap();
    assert!(parsed.verify(&entry(0), &policy()).is_ok());
}

#[test]
fn a_proof_proves_one_entry_of_one_log() {
    let policy = policy();
    let result = proof(7).verify(&entry(8), &policy);
    assert!(
        matches!(result, Err(ProofFailure::Inclusion(InclusionError::Root { index: 7, .. }))),
        "{result:?}"
    );
    let moved = LogProof { index: 8, ..proof(7) };
    assert!(moved.verify(&entry(7), &policy).is_err());
    let other = Policy::without_witnesses(vec![log_key("example.com/log", 2).verifier().clone()]);
    let distrust = proof(7).verify(&entry(7), &other).unwrap_err();
    assert_eq!(distrust, ProofFailure::Distrust(Distrust::Log(VerifyError::NoKnownKey)));
}

#[test]
fn malformed_proofs_are_refused_with_their_line() {
    let text = proof(7).to_string();
    let first_hash = text.lines().nth(2).unwrap();
    for (text, expected) in [
        (String::new(), ProofError::NoCheckpoint),
        (text.replace("@v1", "@v2"), ProofError::Header),
        (text.replace("index 7", "extra !\nindex 7"), ProofError::Extra),
        (text.replace("index 7", "extra  \nindex 7"), ProofError::Extra),
        (text.replace("index 7", "index 07"), ProofError::Index(2)),
        (text.replace("index 7", "extra \nindex -7"), ProofError::Index(3)),
        (text.replace("index 7\n", ""), ProofError::Index(2)),
        (text.replace(first_hash, "AAAA"), ProofError::Hashes(evidence::HashLinesError::Hash(3))),
        (
            text.replace(first_hash, &[first_hash; 56].join("\n")),
            ProofError::Hashes(evidence::HashLinesError::Count),
        ),
        (text.replace("\n300\n", "\n0300\n"), ProofError::Checkpoint(CheckpointError::Size)),
        (text.split('—').next().unwrap().to_owned(), ProofError::Checkpoint(NoteError::NoSignatures.into())),
        (" ".repeat(PROOF_BYTES_MAX + 1), ProofError::Length(PROOF_BYTES_MAX + 1)),
    ] {
        assert_eq!(LogProof::parse(text.as_bytes()), Err(expected), "{text:.300}");
    }
    assert_eq!(LogProof::parse(b"\xff\n\n"), Err(ProofError::NoCheckpoint));
}

proptest! {
    #[test]
    fn proofs_round_trip(index in 0..SIZE, extra: Option<Vec<u8>>) {
        let proof = LogProof { extra, ..proof(index) };
        let parsed = LogProof::parse(proof.to_string().as_bytes()).unwrap();
        prop_assert!(parsed.verify(&entry(index), &policy()).is_ok());
        prop_assert_eq!(parsed, proof);
    }

    /// What is accepted is written in the same way again.
    #[test]
    fn a_changed_byte_is_refused_or_kept(at: prop::sample::Index, byte: u8) {
        let mut bytes = proof(7).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(parsed) = LogProof::parse(&bytes) {
            prop_assert_eq!(parsed.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>) {
        let _ = LogProof::parse(&bytes);
    }
}
