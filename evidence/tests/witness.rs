//! When a witness cosigns.

use evidence::HashLinesError;
use evidence::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use evidence::note::{CosignerKey, NoteError, VerifierKey, VerifyError};
use evidence::tree::{ConsistencyError, Hash, TreeHead};
use evidence::witness::{
    ADD_CHECKPOINT_BYTES_MAX, Accepted, AddCheckpoint, AddCheckpointError, AnswerError, Cosigned, Refusal,
    parse_size,
};
use proptest::prelude::*;

use crate::checkpoint::{log_key, witness_key};
use crate::tree::StoredTree;

fn signed(tree: TreeHead) -> SignedCheckpoint {
    let origin = "example.com/log".parse().unwrap();
    Checkpoint { origin, tree }.sign(&log_key("example.com/log", 1))
}

/// Request of a log that grew between two sizes.
fn request(old_size: u64, size: u64) -> AddCheckpoint {
    let tree = StoredTree::of_entries(size);
    let proof = tree.consistency_proof(old_size);
    AddCheckpoint { old_size, proof, checkpoint: signed(tree.builder.head()) }
}

fn head(size: u64) -> TreeHead {
    StoredTree::of_entries(size).builder.head()
}

fn decide(request: &AddCheckpoint, latest: Option<TreeHead>) -> Result<TreeHead, Refusal> {
    let logs = [log_key("example.com/log", 1).verifier().clone()];
    request.decide(&logs, latest, &witness_key(9), 7).map(|cosigned| cosigned.tree)
}

#[test]
fn a_log_that_grows_is_cosigned() {
    let mut latest = None;
    for (old, size) in [(0, 1), (1, 1), (1, 300), (300, 301), (301, 301), (301, 600)] {
        let request = request(old, size);
        let parsed = AddCheckpoint::parse(request.to_string().as_bytes()).unwrap();
        assert_eq!(parsed, request);
        latest = Some(decide(&parsed, latest).unwrap());
        assert_eq!(latest, Some(head(size)));
    }
}

#[test]
fn the_cosignature_is_of_this_time() {
    let request = request(0, 3);
    let logs = [log_key("example.com/log", 1).verifier().clone()];
    let Cosigned { cosignature, .. } = request.decide(&logs, None, &witness_key(9), 7).unwrap();
    let mut checkpoint = request.checkpoint;
    checkpoint.add(cosignature).unwrap();
    assert_eq!(checkpoint.note().verify([witness_key(9).verifier()]).unwrap()[0].timestamp, Some(7));
}

#[test]
fn refusals_have_the_statuses_of_the_standard() {
    let unknown = request(0, 3).decide(&[], None, &witness_key(9), 7).unwrap_err();
    assert_eq!((&unknown, unknown.status()), (&Refusal::UnknownLog, 404));

    let other_key: [VerifierKey; 1] = [log_key("example.com/log", 2).verifier().clone()];
    let unsigned = request(0, 3).decide(&other_key, None, &witness_key(9), 7).unwrap_err();
    assert_eq!((&unsigned, unsigned.status()), (&Refusal::Unsigned(VerifyError::NoKnownKey), 403));

    let larger = decide(&AddCheckpoint { old_size: 4, ..request(0, 3) }, None).unwrap_err();
    assert_eq!((&larger, larger.status()), (&Refusal::OldSize { old: 4, size: 3 }, 400));

    for (old, latest) in [(2, None), (2, Some(1)), (0, Some(1))] {
        let conflict = decide(&request(old, 3), latest.map(head)).unwrap_err();
        assert_eq!((&conflict, conflict.status()), (&Refusal::Conflict { size: latest.unwrap_or(0) }, 409));
    }
    assert_eq!(decide(&request(2, 2), Some(head(2))), Ok(head(2)));
}

#[test]
fn inconsistent_checkpoints_are_refused() {
    let root = Hash::of_leaf(b"another");
    let status = |request: AddCheckpoint, latest| decide(&request, latest).unwrap_err().status();
    assert_eq!(status(AddCheckpoint { proof: vec![], ..request(2, 3) }, Some(head(2))), 422);
    assert_eq!(status(AddCheckpoint { proof: vec![root], ..request(0, 3) }, None), 422);
    // Two histories: the witness has seen another tree of the old size.
    assert_eq!(status(request(2, 3), Some(TreeHead { size: 2, root })), 422);

    let two_of_one_size = AddCheckpoint { checkpoint: signed(TreeHead { size: 3, root }), ..request(3, 3) };
    assert_eq!(decide(&two_of_one_size, Some(head(3))), Err(Refusal::OtherRoot { size: 3 }));
    assert_eq!(status(two_of_one_size, Some(head(3))), 409);
    assert_eq!(status(AddCheckpoint { proof: vec![root], ..request(3, 3) }, Some(head(3))), 422);

    let empty = AddCheckpoint { checkpoint: signed(TreeHead { size: 0, root }), ..request(0, 3) };
    let expected = ConsistencyError::EmptyRoot { found: root };
    assert_eq!(decide(&empty, None), Err(Refusal::Inconsistent(expected)));
    let empty = AddCheckpoint { checkpoint: signed(head(0)), ..request(0, 3) };
    assert_eq!(decide(&empty, None), Ok(head(0)));
}

#[test]
fn an_answer_is_accepted_if_it_has_a_cosignature_of_the_key() {
    let request = request(2, 3);
    let line = |key: &CosignerKey, checkpoint: &SignedCheckpoint| {
        format!("{}\n", key.cosign(checkpoint.checkpoint(), 7))
    };
    let (ours, others) = (witness_key(9), witness_key(8));
    let accept = |answer: &str| request.accept(answer.as_bytes(), ours.verifier());
    let own = line(&ours, &request.checkpoint);
    let expected = Accepted { cosignature: own.trim_end().parse().unwrap(), timestamp: 7 };
    assert_eq!(accept(&own), Ok(expected.clone()));
    // A witness that replaces its key answers with the signatures of both.
    assert_eq!(accept(&(line(&others, &request.checkpoint) + &own)), Ok(expected));

    let (name, key_id) = (ours.verifier().name().clone(), ours.verifier().id());
    let other = AnswerError::OtherKey { name: name.clone(), key_id };
    assert_eq!(accept(&line(&others, &request.checkpoint)), Err(other));
    let invalid = AnswerError::Invalid(VerifyError::Invalid { name, key_id });
    assert_eq!(accept(&line(&ours, &signed(head(4)))), Err(invalid));
    for (answer, problem) in [("", NoteError::NoSignatures), (own.trim_end(), NoteError::UnfinishedLine)] {
        assert_eq!(accept(answer), Err(AnswerError::Signatures(problem)), "{answer}");
    }
    let not_text = AnswerError::Signatures(NoteError::Utf8(0));
    assert_eq!(request.accept(b"\xff\n", ours.verifier()), Err(not_text));
}

#[test]
fn the_size_in_an_answer_is_a_number_in_a_line() {
    assert_eq!(parse_size(b"0\n"), Some(0));
    assert_eq!(parse_size(b"9223372036854775807\n"), Some(i64::MAX as u64));
    for body in ["", "\n", "3", "3\n\n", " 3\n", "03\n", "-3\n", "9223372036854775808\n", "x\n", "3\r\n"] {
        assert_eq!(parse_size(body.as_bytes()), None, "{body:?}");
    }
}

#[test]
fn malformed_requests_are_refused_with_their_line() {
    let text = request(2, 3).to_string();
    let hash = text.lines().nth(1).unwrap();
    for (text, expected) in [
        (String::new(), AddCheckpointError::NoCheckpoint),
        (text.replace("old 2", "old 02"), AddCheckpointError::OldSize),
        (text.replace("old 2", "2"), AddCheckpointError::OldSize),
        (text.replace(hash, "x"), AddCheckpointError::Hashes(HashLinesError::Hash(2))),
        (text.replace(hash, &[hash; 64].join("\n")), AddCheckpointError::Hashes(HashLinesError::Count)),
        (text.replace("\n3\n", "\n3\n\n"), AddCheckpointError::Checkpoint(CheckpointError::Lines)),
        (text.trim_end().to_owned(), AddCheckpointError::Checkpoint(NoteError::UnfinishedLine.into())),
        ("\n".repeat(ADD_CHECKPOINT_BYTES_MAX + 1), AddCheckpointError::Length(ADD_CHECKPOINT_BYTES_MAX + 1)),
    ] {
        assert_eq!(AddCheckpoint::parse(text.as_bytes()), Err(expected), "{text:.300}");
    }
}

proptest! {
    /// Of all requests, only those from the latest size are accepted, and the tree never shrinks.
    #[test]
    fn a_witness_only_moves_forward(sizes in prop::collection::vec((0_u64..40, 0_u64..40), 1..20)) {
        let mut latest: Option<TreeHead> = None;
        for (old, size) in sizes {
            let size_before = latest.map_or(0, |tree| tree.size);
            match decide(&request(old.min(size), size), latest) {
                Ok(tree) => {
                    prop_assert_eq!(old.min(size), size_before);
                    prop_assert!(tree.size >= size_before);
                    latest = Some(tree);
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal, Refusal::Conflict { size: size_before });
                    prop_assert_ne!(old.min(size), size_before);
                }
            }
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_kept(at: prop::sample::Index, byte: u8) {
        let mut bytes = request(2, 7).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(parsed) = AddCheckpoint::parse(&bytes) {
            prop_assert_eq!(parsed.to_string().into_bytes(), bytes);
        }
    }

    #[test]
    fn bytes_never_panic(bytes: Vec<u8>) {
        let _ = AddCheckpoint::parse(&bytes);
        let _ = (parse_size(&bytes), request(2, 3).accept(&bytes, witness_key(9).verifier()));
    }
}
