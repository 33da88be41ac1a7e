//! The passes over facts, full tiles of level 0 and payloads, which have one order.

use std::io::{BufReader, Read};
use std::path::Path;

use chrono::{DateTime, Utc};
use evidence::leaf::Salt;
use evidence::proof::LogProof;
use evidence::tree::{Hash, TILE_WIDTH, TileId, TreeHead};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tar::Entry;
use uuid::Uuid;

use super::members::{self, Decoded, Members};
use super::survey::{Survey, VerifiedLog};
use super::{Failure, Unreadable, entries};
use crate::bundle::format::{Line, Member, Selection, ShownFact, ShownPayload};
use crate::bundle::report::{BadPosition, LogReport, Report};
use crate::evidence_log::contents::{self, Contents};

/// Checks all facts of a bundle.
pub(super) fn check(
    file: &Path,
    survey: &Survey,
    logs: Vec<VerifiedLog>,
    report: &mut Report,
) -> Result<(), Failure> {
    let (mut tiles, mut payloads) = (members::open(file)?, members::open(file)?);
    let mut lines = members::open(file)?;
    let facts = Members::of(&mut lines)?.find(|member| member == Member::Facts)?;
    let (_, facts) = facts.ok_or(Unreadable::Missing("facts.ndjson"))?;
    let mut facts = BufReader::with_capacity(1 << 16, facts);
    let mut checker = Checker {
        survey,
        logs,
        log: 0,
        tiles: Members::of(&mut tiles)?,
        payloads: Members::of(&mut payloads)?,
        tile: None,
        seen: Seen::default(),
        proofs: 0,
        version: 0,
        report,
    };
    let mut number = 0;
    while let Some(line) = entries::read_line(&mut facts).map_err(Unreadable::archive)? {
        number += 1;
        let bad = |problem| BadPosition::in_file(format_args!("{}, line {number}", Member::Facts), problem);
        checker.line(line.map_err(bad)?)?;
    }
    checker.finish(number)
}

struct Checker<'c> {
    survey: &'c Survey,
    logs: Vec<VerifiedLog>,
    /// Number of the current log.
    log: usize,
    tiles: Members<'c>,
    payloads: Members<'c>,
    /// Index and hashes of the current tile of level 0.
    tile: Option<(u64, Vec<Hash>)>,
    /// What was seen of the current log.
    seen: Seen,
    /// Number of proofs of single facts that were verified.
    proofs: usize,
    /// Version of the event's stream, in the bundle of an event.
    version: u64,
    report: &'c mut Report,
}

/// Entries of a log that were seen.
#[derive(Clone, Copy, Default)]
struct Seen {
    first: Option<(u64, DateTime<Utc>)>,
    last: Option<(u64, DateTime<Utc>)>,
    entries: u64,
}

impl Checker<'_> {
    fn line(&mut self, line: Line) -> Result<(), Failure> {
        let Line { log, index, fact, continues } = line;
        let bad = |problem: &str| BadPosition::at(log, index, problem);
        while self.logs.get(self.log).is_some_and(|current| current.id != log) {
            self.finish_log()?;
        }
        let Some(current) = self.logs.get(self.log) else {
            return Err(bad("the log of this line is not the one whose turn it is").into());
        };
        let expected = match (self.seen.last, current.indexes) {
            (Some((last, _)), Some(_)) => last + 1,
            (None, Some((first, _))) => first,
            (last, None) => index.max(last.map_or(0, |(last, _)| last + 1)),
        };
        if index != expected {
            return Err(BadPosition::at(log, expected, format_args!("entry {index} follows instead")).into());
        }
        if index >= current.head.size {
            return Err(bad("the checkpoint does not cover this entry").into());
        }
        let recorded = match (fact, continues) {
            (Some(fact), None) => self.fact(log, index, &fact).map_err(|failure| match failure {
                Failure::Bad(position) if position.stream.is_none() => {
                    position.of_fact(&fact.stream, fact.sequence).into()
                }
                failure => failure,
            })?,
            (None, Some(ended)) => {
                let (entry, tree) = entries::of_continuation(&ended).map_err(|problem| bad(&problem))?;
                self.entry(log, index, &entry)?;
                self.continues(log, ended.log, tree)?;
                DateTime::UNIX_EPOCH
            }
            _ => return Err(bad("the line must have either `fact` or `continues`").into()),
        };
        self.seen.first.get_or_insert((index, recorded));
        self.seen.last = Some((index, recorded));
        self.seen.entries += 1;
        Ok(())
    }

    /// Checks a fact. Returns when it was recorded.
    fn fact(&mut self, log: Uuid, index: u64, fact: &ShownFact) -> Result<DateTime<Utc>, Failure> {
        let bad = |problem: &str| BadPosition::at(log, index, problem);
        let (entry, recorded) = entries::of_fact(fact).map_err(|problem| bad(&problem))?;
        self.entry(log, index, &entry)?;
        let tenant = serde_json::from_str::<serde_json::Value>(&fact.metadata).ok();
        let tenant = tenant.as_ref().and_then(|metadata| metadata["tenantId"].as_str());
        if tenant.is_some_and(|tenant| tenant != self.survey.manifest.tenant.to_string()) {
            return Err(bad("the fact belongs to another tenant than manifest.json says").into());
        }
        if let Selection::Event(event) = self.survey.manifest.selection {
            self.version += 1;
            if fact.stream != format!("WebhookEvent/{event}") || fact.sequence != self.version {
                let problem = format!("version {} of the event is missing before this fact", self.version);
                return Err(bad(&problem).into());
            }
            self.proof(log, index, &entry)?;
        }
        self.contents(log, index, fact)?;
        self.report.facts += 1;
        Ok(recorded)
    }

    /// Checks that the log has an entry at an index.
    fn entry(&mut self, log: Uuid, index: u64, entry: &str) -> Result<(), Failure> {
        let (number, at) = (index / TILE_WIDTH as u64, (index % TILE_WIDTH as u64) as usize);
        if self.tile.as_ref().is_none_or(|(known, _)| *known != number) {
            self.tile = Some((number, self.read_tile(number)?));
        }
        let hash = self.tile.as_ref().and_then(|(_, hashes)| hashes.get(at));
        if hash != Some(&Hash::of_leaf(entry.as_bytes())) {
            return Err(BadPosition::at(log, index, "this is not what the log has here").into());
        }
        Ok(())
    }

    fn read_tile(&mut self, number: u64) -> Result<Vec<Hash>, Failure> {
        let current = &self.logs[self.log];
        let id = TileId::in_tree(0, number, current.head.size).filter(|id| id.is_full());
        let Some(id) = id else {
            let tile = current.partial_tile(number).map(|tile| tile.hashes().to_vec());
            return Ok(tile.unwrap_or_default());
        };
        let wanted = Member::Tile(current.id, id);
        match self.tiles.find(is_full_tile)? {
            Some((member, entry)) if member == wanted => Ok(current.full_tile(id, &members::read(entry)?)?),
            Some((other, _)) => {
                Err(BadPosition::in_file(other, format_args!("it comes where {wanted} must be")).into())
            }
            None => Err(BadPosition::in_file(wanted, "the file is missing").into()),
        }
    }

    /// Checks the proof of a single fact, for programs that read no tiles.
    fn proof(&mut self, log: Uuid, index: u64, entry: &str) -> Result<(), BadPosition> {
        let bad = |problem: &dyn std::fmt::Display| BadPosition::in_file(Member::Proof(log, index), problem);
        let bytes = self.survey.proofs.get(&(log, index)).ok_or_else(|| bad(&"the file is missing"))?;
        let proof = LogProof::parse(bytes).map_err(|error| bad(&error))?;
        if proof.index != index {
            return Err(bad(&format_args!("the proof is for entry {}", proof.index)));
        }
        let policy = &self.logs[self.log].policy;
        proof.verify(entry.as_bytes(), policy).map_err(|failure| bad(&failure))?;
        self.proofs += 1;
        Ok(())
    }

    /// Checks what the fact commits to, as far as it is still stored.
    fn contents(&mut self, log: Uuid, index: u64, fact: &ShownFact) -> Result<(), Failure> {
        let bad = |problem: &str| BadPosition::at(log, index, problem);
        let committed =
            contents::of_fact(&fact.fact_type, &fact.text).map_err(|error| bad(&error.to_string()))?;
        match (committed, &fact.payload, &fact.response) {
            (Some(Contents::Payload { delivered, received }), Some(shown), None) => {
                let event = fact.stream.split_once('/').and_then(|(_, id)| id.parse().ok());
                let event = event.ok_or_else(|| bad("the stream has no id"))?;
                self.payload(Member::Delivered(event), shown, delivered.as_deref())?;
                if shown.received {
                    self.payload(Member::Received(event), shown, received.as_deref())?;
                } else if received.is_some() {
                    return Err(bad("the payload that was received is missing").into());
                }
                self.report.payloads.verified += 1;
            }
            (Some(Contents::Response { commitment, .. }), None, Some(shown)) => {
                if hex::encode(shown.salt.0.commit(shown.text.as_bytes()).as_bytes()) != commitment {
                    return Err(bad("the response is not what the fact commits to").into());
                }
                self.report.responses.verified += 1;
            }
            (Some(Contents::Payload { .. }), None, None) => self.report.payloads.not_stored += 1,
            (Some(Contents::Response { .. }), None, None) => self.report.responses.not_stored += 1,
            // Email addresses are not exported.
            (None | Some(Contents::Email { .. }), None, None) => {}
            _ => {
                return Err(bad("the fact does not commit to the payload or response that is with it").into());
            }
        }
        Ok(())
    }

    /// Checks the next payload of the archive.
    fn payload(
        &mut self,
        wanted: Member,
        shown: &ShownPayload,
        commitment: Option<&str>,
    ) -> Result<(), Failure> {
        match self.payloads.find(is_payload)? {
            Some((member, entry)) if member == wanted => {
                if commitment != Some(hmac_of(&shown.salt.0, entry)?.as_str()) {
                    return Err(BadPosition::in_file(wanted, "this is not what the fact commits to").into());
                }
                Ok(())
            }
            Some((other, _)) => {
                Err(BadPosition::in_file(other, format_args!("it comes where {wanted} must be")).into())
            }
            None => Err(BadPosition::in_file(wanted, "the file is missing").into()),
        }
    }

    /// Checks that a log continues the one before it in the bundle where that ends.
    fn continues(&self, log: Uuid, ended: Uuid, tree: TreeHead) -> Result<(), BadPosition> {
        let before = self.log.checked_sub(1).map(|number| &self.logs[number]);
        match before.filter(|before| before.id == ended) {
            Some(before) if before.head == tree => Ok(()),
            Some(before) => Err(BadPosition::at(
                log,
                0,
                format_args!(
                    "the log {ended} ended with {} entries and the root {}, but its checkpoint has {} and {}",
                    tree.size, tree.root, before.head.size, before.head.root
                ),
            )),
            None => Ok(()),
        }
    }

    /// Ends the current log: all entries that the manifest claims must have been there.
    fn finish_log(&mut self) -> Result<(), Failure> {
        let Seen { first, last, entries } = std::mem::take(&mut self.seen);
        let current = &self.logs[self.log];
        self.tile = None;
        let last_index = last.map(|(index, _)| index);
        if let Some((_, claimed)) = current.indexes {
            if last_index != Some(claimed) {
                let missing = last_index.map_or(claimed, |index| index + 1);
                return Err(BadPosition::at(current.id, missing, "the entry is missing").into());
            }
            self.check_range(first, last)?;
        }
        let current = &self.logs[self.log];
        self.report.logs.push(LogReport {
            origin: current.origin.to_string(),
            size: current.head.size,
            root: current.head.root.to_string(),
            entries,
            complete: current.indexes,
            witnesses: current.witnesses.clone(),
            has_time_stamp: current.has_time_stamp,
        });
        self.log += 1;
        Ok(())
    }

    /// Checks that a range of all facts of a time lacks none at its ends.
    fn check_range(
        &self,
        first: Option<(u64, DateTime<Utc>)>,
        last: Option<(u64, DateTime<Utc>)>,
    ) -> Result<(), BadPosition> {
        let Selection::Recorded { from, to } = self.survey.manifest.selection else { return Ok(()) };
        let current = &self.logs[self.log];
        let bad = |index, problem: &str| BadPosition::at(current.id, index, problem);
        if let Some((index, recorded)) = first.filter(|(index, _)| *index > 0)
            && (self.log > 0 || from.is_none_or(|from| recorded >= from))
        {
            return Err(bad(index - 1, "the entry before the first one is missing"));
        }
        if let Some((index, recorded)) = last.filter(|(index, _)| index + 1 < current.head.size)
            && (self.log + 1 < self.logs.len() || to.is_none_or(|to| recorded < to))
        {
            return Err(bad(index + 1, "the entry after the last one is missing"));
        }
        Ok(())
    }

    /// Ends the bundle: it has nothing that belongs to no fact.
    fn finish(mut self, lines: u64) -> Result<(), Failure> {
        while self.log < self.logs.len() {
            self.finish_log()?;
        }
        if lines != self.survey.manifest.lines {
            let problem =
                format!("there are {lines} lines, and manifest.json says {}", self.survey.manifest.lines);
            return Err(BadPosition::in_file(Member::Facts, problem).into());
        }
        for (members, wanted) in
            [(&mut self.tiles, is_full_tile as fn(Member) -> bool), (&mut self.payloads, is_payload)]
        {
            if let Some((member, _)) = members.find(wanted)? {
                return Err(BadPosition::in_file(member, "no fact belongs to the file").into());
            }
        }
        if self.proofs != self.survey.proofs.len() {
            return Err(BadPosition::in_file("proofs/", "a proof belongs to no fact").into());
        }
        Ok(())
    }
}

fn is_full_tile(member: Member) -> bool {
    matches!(member, Member::Tile(_, id) if id.level() == 0 && id.is_full())
}

fn is_payload(member: Member) -> bool {
    matches!(member, Member::Delivered(_) | Member::Received(_))
}

/// Returns the HMAC-SHA256 of a member in lower-case hex. It is read piece by piece.
fn hmac_of(salt: &Salt, mut entry: Entry<'_, Decoded>) -> Result<String, Unreadable> {
    let mut mac = Hmac::<Sha256>::new_from_slice(salt.as_bytes()).expect("HMAC takes keys of any length");
    let mut piece = vec![0; 1 << 16];
    loop {
        match entry.read(&mut piece).map_err(Unreadable::archive)? {
            0 => return Ok(hex::encode(mac.finalize().into_bytes())),
            bytes => mac.update(&piece[..bytes]),
        }
    }
}
