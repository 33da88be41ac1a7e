//! Transparency log: everything about the proof of HookSentry's history that is computation.
//!
//! Every fact of the event log becomes a leaf of a Merkle tree, and the heads of the tree are signed. A third party
//! that has a signed head can check that a fact is in the log ([`tree::verify_inclusion`]) and that a later head only
//! appends to an earlier one ([`tree::verify_consistency`]), with tools that this project did not write: all formats
//! are those of Certificate Transparency and of Go's checksum database.
//!
//! | Module | What | Source of the format |
//! |---|---|---|
//! | [`leaf`] | Text of a leaf, its salts and commitments | HookSentry |
//! | [`tree`] | Merkle tree: hashes, tiles, proofs | RFC 6962, RFC 9162, C2SP tlog-tiles v0.1.0 |
//! | [`entries`] | Entries of a tile in one file | C2SP tlog-tiles v0.1.0 |
//! | [`note`] | Signed texts and their keys | C2SP signed-note v1.0.0, Go's `sumdb/note` |
//! | [`checkpoint`] | Signed tree heads, and the cosignatures of witnesses | C2SP tlog-checkpoint v1.0.0, tlog-cosignature v1.0.1 |
//! | [`policy`] | Which logs and which witnesses are trusted | C2SP tlog-policy |
//! | [`proof`] | Proof of one entry in one file | C2SP tlog-proof |
//! | [`witness`] | When a witness cosigns | C2SP tlog-witness v1.0.0 |
//! | [`timestamp`] | Requests for time stamps, and what is checked of the answers | RFC 3161 |
//!
//! # Vocabulary
//!
//! | Word | Meaning |
//! |---|---|
//! | entry | Bytes that are logged. Its **leaf hash** is the hash of the leaf of the tree that it becomes. |
//! | commitment | HMAC of bytes under a **salt**: reveals nothing without the salt, and fits no other bytes. |
//! | tree head | Number of leaves of a tree and the hash of its root. |
//! | note | Text with the signatures of one or more keys. |
//! | checkpoint | Signed tree head, with the **origin**, the name of the log. |
//! | cosignature | Statement of a **witness** that the tree of a checkpoint only grew, and when it saw it. |
//! | policy | Rule that says which signatures make a checkpoint trusted. |
//! | tile | 256 consecutive hashes of one level of the tree, the unit of storage. A **partial tile** has fewer. |
//!
//! This crate does no I/O, reads no clock and draws no random numbers. What reads tiles asks a
//! [`ProofPlan`](tree::ProofPlan) which ones it needs. Errors name what is wrong and where.

mod decimal;
mod hash_lines;
mod sha256;

pub mod checkpoint;
pub mod entries;
pub mod leaf;
pub mod note;
pub mod policy;
pub mod proof;
pub mod timestamp;
pub mod tree;
pub mod witness;

pub use hash_lines::HashLinesError;
