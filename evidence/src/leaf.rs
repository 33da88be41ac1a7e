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
use chrono::{DateTime, Datelike, Timelike, Utc};
use thiserror::Error;

use crate::decimal;
use crate::sha256::{self, Digest, MacKey, State};
use crate::tree::{Hash, TreeHead};

/// Maximum length of a name in a leaf, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// Length that few entries of facts exceed.
const ENTRY_BYTES_USUAL: usize = 320;

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
    let is_valid = |byte: u8| byte.is_ascii_graphic() & (byte != b'/');
    // Without an early end, so that many bytes are checked at once.
    if name.bytes().fold(true, |valid, byte| valid & is_valid(byte)) {
        return Ok(());
    }
    let index = name.bytes().position(|byte| !is_valid(byte)).unwrap_or_default();
    Err(LeafError::Character { part, index })
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
        let [code] = MacKey::authenticate([&MacKey::new(&self.0)], [bytes]);
        Commitment(code)
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(..)")
    }
}

/// Secret of a tenant from which the salts of its leaves follow. Without it, no leaf can be linked to a fact.
#[derive(Clone)]
pub struct EvidenceKey(MacKey);

impl EvidenceKey {
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(MacKey::new(key))
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
        let mut name = vec![];
        push_fact_name(&mut name, stream_type, stream_id, sequence);
        Ok(self.salt(&name))
    }

    /// Returns the salt of the leaf of this tenant's checkpoint of a size: HMAC-SHA256 of `checkpoint/<size>`. The
    /// name of a fact has two slashes, so no fact has the same salt.
    #[must_use]
    pub fn checkpoint_salt(&self, size: u64) -> Salt {
        self.salt(format!("checkpoint/{size}").as_bytes())
    }

    fn salt(&self, name: &[u8]) -> Salt {
        let [salt] = MacKey::authenticate([&self.0], [name]);
        Salt(salt)
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
        let recorded = self.check()?;
        let key = MacKey::new(&salt.0);
        let texts = [self.metadata, self.fact].map(str::as_bytes);
        let [metadata, fact] = MacKey::authenticate([&key, &key], texts);
        let mut entry = Vec::with_capacity(ENTRY_BYTES_USUAL);
        self.push_entry(&mut entry, recorded, &metadata, &fact);
        Ok(String::from_utf8(entry).expect("an entry is ASCII"))
    }

    /// Checks what an entry contains, and returns the time.
    fn check(&self) -> Result<DateTime<Utc>, LeafError> {
        check_name("stream type", self.stream_type)?;
        check_name("stream id", self.stream_id)?;
        check_name("fact type", self.fact_type)?;
        check_name("fact version", self.fact_version)?;
        if self.sequence == 0 {
            return Err(LeafError::Sequence);
        }
        let micros = self.recorded_micros;
        DateTime::from_timestamp_micros(micros)
            .filter(|time| (1970..=9999).contains(&time.year()))
            .ok_or(LeafError::Time { micros })
    }

    fn push_entry(&self, text: &mut Vec<u8>, recorded: DateTime<Utc>, metadata: &Digest, fact: &Digest) {
        text.extend_from_slice(b"hooksentry.dev/fact/v1\nstream ");
        text.extend_from_slice(self.stream_type.as_bytes());
        text.push(b'/');
        text.extend_from_slice(self.stream_id.as_bytes());
        text.extend_from_slice(b"\nsequence ");
        decimal::push(text, self.sequence);
        text.extend_from_slice(b"\ntype ");
        text.extend_from_slice(self.fact_type.as_bytes());
        text.push(b' ');
        text.extend_from_slice(self.fact_version.as_bytes());
        text.extend_from_slice(b"\nrecorded ");
        push_time(text, recorded);
        text.extend_from_slice(b"\nmetadata ");
        push_base64(text, metadata);
        text.extend_from_slice(b"\nfact     ");
        push_base64(text, fact);
        text.push(b'\n');
    }
}

/// Returns the hash of the leaf of each fact: of its [`FactLeaf::entry`], with the [`EvidenceKey::fact_salt`] of the key of
/// its tenant. Two facts are hashed together, which takes less time than one after the other.
pub fn fact_hashes<'a>(
    facts: impl IntoIterator<Item = (&'a EvidenceKey, FactLeaf<'a>)>,
) -> Vec<Result<Hash, LeafError>> {
    let mut facts = facts.into_iter();
    let mut hashes = Vec::with_capacity(facts.size_hint().0);
    let mut texts = [vec![], vec![]];
    while let Some(first) = facts.next() {
        let Some(second) = facts.next() else {
            hashes.push(hash_fact(first));
            break;
        };
        match hash_facts([first, second], &mut texts) {
            Ok(both) => hashes.extend(both.map(Ok)),
            // One of them cannot have a leaf.
            Err(_) => hashes.extend([first, second].map(hash_fact)),
        }
    }
    hashes
}

fn hash_fact(fact: (&EvidenceKey, FactLeaf<'_>)) -> Result<Hash, LeafError> {
    hash_facts([fact], &mut [vec![]]).map(|[hash]| hash)
}

/// Returns the hashes of the leaves of facts. `texts` are buffers.
fn hash_facts<const N: usize>(
    facts: [(&EvidenceKey, FactLeaf<'_>); N],
    texts: &mut [Vec<u8>; N],
) -> Result<[Hash; N], LeafError> {
    let mut recorded = [DateTime::UNIX_EPOCH; N];
    for ((recorded, text), (_, leaf)) in recorded.iter_mut().zip(texts.iter_mut()).zip(&facts) {
        *recorded = leaf.check()?;
        text.clear();
        push_fact_name(text, leaf.stream_type, leaf.stream_id, leaf.sequence);
    }
    let salts = MacKey::authenticate(facts.map(|(key, _)| &key.0), texts.each_ref().map(Vec::as_slice));
    let keys = salts.each_ref().map(MacKey::new);
    let metadata = MacKey::authenticate(keys.each_ref(), facts.map(|(_, leaf)| leaf.metadata.as_bytes()));
    let fact = MacKey::authenticate(keys.each_ref(), facts.map(|(_, leaf)| leaf.fact.as_bytes()));
    for (number, text) in texts.iter_mut().enumerate() {
        text.clear();
        text.push(Hash::LEAF_PREFIX);
        facts[number].1.push_entry(text, recorded[number], &metadata[number], &fact[number]);
    }
    let hashes = sha256::digest([State::INITIAL; N], texts.each_ref().map(Vec::as_slice));
    Ok(hashes.map(Hash::from_bytes))
}

/// Appends the name of a fact, from which its salt follows.
fn push_fact_name(text: &mut Vec<u8>, stream_type: &str, stream_id: &str, sequence: u64) {
    text.extend_from_slice(stream_type.as_bytes());
    text.push(b'/');
    text.extend_from_slice(stream_id.as_bytes());
    text.push(b'/');
    decimal::push(text, sequence);
}

/// Appends a time as RFC 3339 writes it, in UTC and with six decimals.
fn push_time(text: &mut Vec<u8>, time: DateTime<Utc>) {
    let mut written = *b"0000-00-00T00:00:00.000000Z";
    decimal::overwrite(&mut written[..4], time.year().unsigned_abs());
    decimal::overwrite(&mut written[5..7], time.month());
    decimal::overwrite(&mut written[8..10], time.day());
    decimal::overwrite(&mut written[11..13], time.hour());
    decimal::overwrite(&mut written[14..16], time.minute());
    decimal::overwrite(&mut written[17..19], time.second());
    decimal::overwrite(&mut written[20..26], time.timestamp_subsec_micros());
    text.extend_from_slice(&written);
}

fn push_base64(text: &mut Vec<u8>, digest: &Digest) {
    let mut base64 = [0; 44];
    STANDARD.encode_slice(digest, &mut base64).expect("base64 of 32 bytes has 44 characters");
    text.extend_from_slice(&base64);
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
