//! Texts of leaves, salts and commitments.

use chrono::{DateTime, SecondsFormat};
use evidence::leaf::{
    CheckpointLeaf, ContinuationLeaf, EvidenceKey, FactLeaf, LeafError, NAME_BYTES_MAX, Salt, fact_hashes,
};
use evidence::tree::{Hash, TreeHead};
use proptest::prelude::*;

const STREAM_ID: &str = "0190c2de-6b1c-7000-8000-000000000001";

fn key() -> EvidenceKey {
    EvidenceKey::new(&[7; 32])
}

fn fact_leaf() -> FactLeaf<'static> {
    FactLeaf {
        stream_type: "WebhookEvent",
        stream_id: STREAM_ID,
        sequence: 3,
        fact_type: "DeliveryAttempted",
        fact_version: "1",
        recorded_micros: 1_795_271_520_125_000,
        metadata: r#"{"by": "worker"}"#,
        fact: "{ \"a\" : 1.50 }",
    }
}

/// The salts and commitments were computed with Python's `hmac`. Leaves that are in a tree can never change.
#[test]
fn the_leaf_of_a_fact_is_this_text() {
    let salt = key().fact_salt("WebhookEvent", STREAM_ID, 3).unwrap();
    let expected = "hooksentry.dev/fact/v1\n\
        stream WebhookEvent/0190c2de-6b1c-7000-8000-000000000001\n\
        sequence 3\n\
        type DeliveryAttempted 1\n\
        recorded 2026-11-21T14:32:00.125000Z\n\
        metadata 9QqWYyAf23NCE4DP4Cf5fCFYh5xdhsikxJI5FuT4ZGI=\n\
        fact     mGf48nIgJmnY9HYixiHU1fzx9lAPxo8W7uSkFGORQy0=\n";
    assert_eq!(fact_leaf().entry(&salt).unwrap(), expected);
}

#[test]
fn the_leaf_of_a_checkpoint_is_this_text() {
    let signed_checkpoint = "example.com/log\n1\nhash\n\n— example.com/log signature\n";
    let leaf = CheckpointLeaf { log_id: "t1", signed_checkpoint };
    let expected =
        "hooksentry.dev/checkpoint/v1\nlog t1\ncheckpoint 5i7uQp3gPJ210gwFFRN26kLkIyPWjPgO+1ZS/N/oNSY=\n";
    assert_eq!(leaf.entry(&key().checkpoint_salt(1)).unwrap(), expected);
}

#[test]
fn the_leaf_of_a_continuation_is_this_text() {
    let leaf = ContinuationLeaf { log_id: "t1", tree: TreeHead { size: 0, root: Hash::EMPTY_ROOT } };
    let expected = "hooksentry.dev/continuation/v1\nlog t1\nsize 0\n\
        root 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    assert_eq!(leaf.entry().unwrap(), expected);
    assert!(ContinuationLeaf { log_id: "t\n1", ..leaf }.entry().is_err());
}

/// Test case 2 of RFC 4231. HMAC pads keys with zeros, so its key is the same as this longer one.
#[test]
fn a_commitment_is_an_hmac() {
    let mut key = [0; 32];
    key[..4].copy_from_slice(b"Jefe");
    let commitment = Salt::from_bytes(key).commit(b"what do ya want for nothing?");
    assert_eq!(commitment.to_string(), "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
}

#[test]
fn a_name_that_could_break_its_line_is_refused() {
    let salt = Salt::from_bytes([0; 32]);
    let with = |change: fn(&mut FactLeaf<'static>)| {
        let mut leaf = fact_leaf();
        change(&mut leaf);
        leaf.entry(&salt)
    };
    let character = |part, index| Err(LeafError::Character { part, index });
    assert_eq!(with(|leaf| leaf.stream_type = "Web\nsequence 4"), character("stream type", 3));
    assert_eq!(with(|leaf| leaf.stream_id = "a/b"), character("stream id", 1));
    assert_eq!(with(|leaf| leaf.fact_type = "A B"), character("fact type", 1));
    assert_eq!(with(|leaf| leaf.fact_version = "é"), character("fact version", 0));
    assert_eq!(
        with(|leaf| leaf.fact_version = ""),
        Err(LeafError::Length { part: "fact version", bytes: 0 })
    );
    assert_eq!(with(|leaf| leaf.sequence = 0), Err(LeafError::Sequence));
    assert_eq!(with(|leaf| leaf.recorded_micros = -1), Err(LeafError::Time { micros: -1 }));
    assert_eq!(with(|leaf| leaf.recorded_micros = i64::MAX), Err(LeafError::Time { micros: i64::MAX }));

    let long = "a".repeat(NAME_BYTES_MAX + 1);
    let leaf = CheckpointLeaf { log_id: &long, signed_checkpoint: "" };
    assert_eq!(leaf.entry(&salt), Err(LeafError::Length { part: "log id", bytes: NAME_BYTES_MAX + 1 }));
    assert_eq!(
        key().fact_salt("A", "b\n", 1).unwrap_err(),
        LeafError::Character { part: "stream id", index: 1 }
    );
}

#[test]
fn a_leaf_has_the_same_length_for_a_large_fact() {
    let leaf = FactLeaf { fact: &"x".repeat(10_000_000), ..fact_leaf() };
    let small = fact_leaf().entry(&Salt::from_bytes([1; 32])).unwrap();
    assert_eq!(leaf.entry(&Salt::from_bytes([1; 32])).unwrap().len(), small.len());
}

#[test]
fn secrets_are_not_printed() {
    assert_eq!(format!("{:?} {:?}", key(), Salt::from_bytes([7; 32])), "EvidenceKey(..) Salt(..)");
}

/// What a leaf is made of.
#[derive(Clone, Debug)]
struct Fact {
    names: [String; 4],
    sequence: u64,
    recorded_micros: i64,
    texts: [String; 2],
}

impl Fact {
    fn leaf(&self) -> FactLeaf<'_> {
        let [stream_type, stream_id, fact_type, fact_version] = self.names.each_ref().map(String::as_str);
        let [metadata, fact] = self.texts.each_ref().map(String::as_str);
        FactLeaf {
            stream_type,
            stream_id,
            sequence: self.sequence,
            fact_type,
            fact_version,
            recorded_micros: self.recorded_micros,
            metadata,
            fact,
        }
    }

    fn salt(&self) -> Result<Salt, LeafError> {
        key().fact_salt(&self.names[0], &self.names[1], self.sequence)
    }
}

/// Facts that can have a leaf, of all lengths.
fn facts() -> impl Strategy<Value = Fact> {
    let name = || "[!-.0-~]{1,128}";
    let names = [name(), name(), name(), name()];
    // 10000-01-01T00:00:00Z.
    let micros = 0..253_402_300_800_000_000_i64;
    (names, 1_u64.., micros, [".{0,300}", ".{0,300}"]).prop_map(
        |(names, sequence, recorded_micros, texts)| Fact { names, sequence, recorded_micros, texts },
    )
}

proptest! {
    #[test]
    fn an_entry_has_the_form_in_the_description(fact in facts()) {
        let salt = fact.salt().unwrap();
        let [stream_type, stream_id, fact_type, fact_version] = &fact.names;
        let [metadata, text] = fact.texts.each_ref().map(|text| salt.commit(text.as_bytes()));
        let recorded = DateTime::from_timestamp_micros(fact.recorded_micros).unwrap();
        let expected = format!(
            "hooksentry.dev/fact/v1\nstream {stream_type}/{stream_id}\nsequence {}\ntype {fact_type} {fact_version}\n\
             recorded {}\nmetadata {metadata}\nfact     {text}\n",
            fact.sequence,
            recorded.to_rfc3339_opts(SecondsFormat::Micros, true),
        );
        prop_assert_eq!(fact.leaf().entry(&salt).unwrap(), expected);
    }

    /// Some of the facts cannot have a leaf. The others have theirs.
    #[test]
    fn facts_together_have_the_hashes_of_each(
        facts in proptest::collection::vec((facts(), proptest::bool::weighted(0.2)), 0..9)
    ) {
        let facts: Vec<Fact> = facts
            .into_iter()
            .map(|(fact, is_bad)| Fact { sequence: if is_bad { 0 } else { fact.sequence }, ..fact })
            .collect();
        let hash_of = |fact: &Fact| {
            let entry = fact.salt().and_then(|salt| fact.leaf().entry(&salt))?;
            Ok(Hash::of_leaf(entry.as_bytes()))
        };
        let expected: Vec<Result<Hash, LeafError>> = facts.iter().map(hash_of).collect();
        let key = key();
        prop_assert_eq!(fact_hashes(facts.iter().map(|fact| (&key, fact.leaf()))), expected);
    }
}
