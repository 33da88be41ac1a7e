//! Leaves of the trees: what is logged about a fact, and about a checkpoint of a tenant's tree.
//!
//! A leaf is a text of constant form with LF line ends. It has commitments in place of contents, so a published leaf
//! discloses neither metadata nor fact. A recipient of a fact receives its salt as well, and can compute the leaf.
//!
//! ```text
//! hooksentry.dev/fact/v1
//! stream WebhookEvent/0190c2de-6b1c-7000-8000-000000000001
//! sequence 3
//! type DeliveryAttempted 1
//! recorded 2026-11-21T14:32:00.125000Z
//! metadata <base64 of HMAC-SHA256(salt, stored text)>
//! fact     <base64 of HMAC-SHA256(salt, stored text)>
//! ```
//!
//! The texts are hashed as they are stored: no JSON is parsed and none is made canonical.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Datelike, Timelike};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use thiserror::Error;

use crate::tree::TreeHead;

/// Maximum length of a name in a leaf, in bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// Reason why a leaf cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LeafError {
    #[error("the {part} must have 1 to {NAME_BYTES_MAX} bytes, and has {bytes}")]
    Length { part: &'static str, bytes: usize },
    #[error("the {part} must consist of visible ASCII characters other than `/`, unlike its byte {index}")]
    Character { part: &'static str, index: usize },
    #[error("the sequence must be at least 1")]
    Sequence,
    #[error("the time {micros} µs is not in the years 1970 to 9999")]
    Time { micros: i64 },
}

/// Checks a name that a leaf contains. It can end neither its line nor its part of the line.
fn check_name(part: &'static str, name: &str) -> Result<(), LeafError> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err(LeafError::Length { part, bytes: name.len() });
    }
    match name.bytes().position(|byte| !byte.is_ascii_graphic() || byte == b'/') {
        Some(index) => Err(LeafError::Character { part, index }),
        None => Ok(()),
    }
}

/// HMAC-SHA256 of some bytes under a [`Salt`] (RFC 2104). Its text form is base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment([u8; 32]);

impl Commitment {
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

/// Secret that makes a commitment reveal nothing about the bytes, however few bytes are possible.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; 32]);

impl Salt {
    /// Returns a salt of 32 random bytes, or one that was stored or exported.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the commitment to bytes, such as those of a payload.
    #[must_use]
    pub fn commit(&self, bytes: &[u8]) -> Commitment {
        commit(mac(&self.0), bytes)
    }

    /// Returns the commitments to two texts, for which the salt is hashed once.
    fn commit_both(&self, texts: [&str; 2]) -> [Commitment; 2] {
        let mac = mac(&self.0);
        texts.map(|text| commit(mac.clone(), text.as_bytes()))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

fn commit(mut mac: Hmac<Sha256>, bytes: &[u8]) -> Commitment {
    mac.update(bytes);
    Commitment(mac.finalize().into_bytes().into())
}

fn mac(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

/// Secret of a tenant from which the salts of its leaves follow. Without it, no leaf can be linked to a fact.
#[derive(Clone)]
pub struct EvidenceKey(Hmac<Sha256>);

impl EvidenceKey {
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(mac(key))
    }

    /// Returns the salt of a fact: HMAC-SHA256 of `<stream type>/<stream id>/<sequence>`.
    ///
    /// # Errors
    ///
    /// A name that a leaf cannot contain, or a sequence of 0.
    pub fn fact_salt(&self, stream_type: &str, stream_id: &str, sequence: u64) -> Result<Salt, LeafError> {
        check_name("stream type", stream_type)?;
        check_name("stream id", stream_id)?;
        if sequence == 0 {
            return Err(LeafError::Sequence);
        }
        Ok(self.salt(&format!("{stream_type}/{stream_id}/{sequence}")))
    }

    /// Returns the salt of the leaf of this tenant's checkpoint of a size: HMAC-SHA256 of `checkpoint/<size>`. The
    /// name of a fact has two slashes, so no fact has the same salt.
    #[must_use]
    pub fn checkpoint_salt(&self, size: u64) -> Salt {
        self.salt(&format!("checkpoint/{size}"))
    }

    fn salt(&self, name: &str) -> Salt {
        let mut mac = self.0.clone();
        mac.update(name.as_bytes());
        Salt(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for EvidenceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EvidenceKey(..)")
    }
}

/// What the leaf of a fact is made of. Every field is exactly what the log stores.
#[derive(Clone, Copy, Debug)]
pub struct FactLeaf<'a> {
    pub stream_type: &'a str,
    pub stream_id: &'a str,
    /// From 1.
    pub sequence: u64,
    pub fact_type: &'a str,
    pub fact_version: &'a str,
    /// Time at which the log recorded the fact, in microseconds since 1970, by the clock of the database.
    pub recorded_micros: i64,
    pub metadata: &'a str,
    pub fact: &'a str,
}

impl FactLeaf<'_> {
    /// Returns the entry of the tenant's tree: the text in the description of this module.
    ///
    /// # Errors
    ///
    /// A name with a character that could break a line, a sequence of 0, or a time outside the years 1970 to 9999.
    pub fn entry(&self, salt: &Salt) -> Result<String, LeafError> {
        check_name("stream type", self.stream_type)?;
        check_name("stream id", self.stream_id)?;
        check_name("fact type", self.fact_type)?;
        check_name("fact version", self.fact_version)?;
        if self.sequence == 0 {
            return Err(LeafError::Sequence);
        }
        let [metadata, fact] = salt.commit_both([self.metadata, self.fact]);
        Ok(format!(
            "hooksentry.dev/fact/v1\nstream {}/{}\nsequence {}\ntype {} {}\nrecorded {}\nmetadata {metadata}\nfact     {fact}\n",
            self.stream_type,
            self.stream_id,
            self.sequence,
            self.fact_type,
            self.fact_version,
            timestamp(self.recorded_micros)?,
        ))
    }
}

/// Returns a time as RFC 3339 writes it, in UTC and with six decimals.
fn timestamp(micros: i64) -> Result<String, LeafError> {
    let time = DateTime::from_timestamp_micros(micros)
        .filter(|time| (1970..=9999).contains(&time.year()))
        .ok_or(LeafError::Time { micros })?;
    Ok(format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        time.year(),
        time.month(),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.timestamp_subsec_micros()
    ))
}

/// What the installation's tree logs about a checkpoint of a tenant's tree. Witnesses of that tree learn neither the
/// tenant's facts nor how many there are.
///
/// ```text
/// hooksentry.dev/checkpoint/v1
/// log <id of the tenant's log>
/// checkpoint <base64 of HMAC-SHA256(salt, signed checkpoint)>
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CheckpointLeaf<'a> {
    pub log_id: &'a str,
    /// The signed note, with the signatures of the log and no others.
    pub signed_checkpoint: &'a str,
}

impl CheckpointLeaf<'_> {
    /// Returns the entry of the installation's tree.
    ///
    /// # Errors
    ///
    /// A log id with a character that could break the line.
    pub fn entry(&self, salt: &Salt) -> Result<String, LeafError> {
        check_name("log id", self.log_id)?;
        let commitment = salt.commit(self.signed_checkpoint.as_bytes());
        Ok(format!("hooksentry.dev/checkpoint/v1\nlog {}\ncheckpoint {commitment}\n", self.log_id))
    }
}

/// First entry of a tree that continues another one, which ended. The entry has the last head of the other tree, so
/// the new tree determines both.
///
/// ```text
/// hooksentry.dev/continuation/v1
/// log <id of the log that ended>
/// size <number of its leaves>
/// root <base64 of its root hash>
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ContinuationLeaf<'a> {
    pub log_id: &'a str,
    /// Last head of the log that ended.
    pub tree: TreeHead,
}

impl ContinuationLeaf<'_> {
    /// Returns the entry of the tree that continues the other one.
    ///
    /// # Errors
    ///
    /// A log id with a character that could break the line.
    pub fn entry(&self) -> Result<String, LeafError> {
        check_name("log id", self.log_id)?;
        let TreeHead { size, root } = self.tree;
        Ok(format!("hooksentry.dev/continuation/v1\nlog {}\nsize {size}\nroot {root}\n", self.log_id))
    }
}
