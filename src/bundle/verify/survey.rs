//! The first pass: the form of the archive, and what is small.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use evidence::checkpoint::SignedCheckpoint;
use evidence::leaf::CheckpointLeaf;
use evidence::note::{KeyName, VerifierKey};
use evidence::policy::Policy;
use evidence::proof::LogProof;
use evidence::timestamp;
use evidence::tree::{Hash, TILE_WIDTH, Tile, TileId, TileSet, TreeBuilder, TreeHead};
use uuid::Uuid;

use super::members::{self, Members};
use super::{Failure, Trust, Unreadable};
use crate::bundle::format::{FORMAT, LogPart, Manifest, Member, Selection};
use crate::bundle::report::BadPosition;

/// Most logs of a bundle: a tenant has one for each era.
const LOGS_MAX: usize = 1_000;
/// Most tiles that are kept in memory, 8 KiB each. They suffice for the proofs of a thousand million facts.
const TILES_MAX: usize = 16 * 1024;
/// Most proofs of single facts.
const PROOFS_MAX: usize = 10_000;

/// What is kept of a bundle.
pub(super) struct Survey {
    pub(super) manifest: Manifest,
    pub(super) proofs: HashMap<(Uuid, u64), Vec<u8>>,
    logs: HashMap<Uuid, LogFiles>,
}

#[derive(Default)]
struct LogFiles {
    checkpoint: Option<Vec<u8>>,
    installation: Option<Vec<u8>>,
    stamped: Option<Vec<u8>>,
    time_stamp: Option<Vec<u8>>,
    /// All tiles but the full ones of level 0.
    tiles: BTreeMap<TileId, Vec<u8>>,
}

/// A log whose head is verified: the keys have signed it, and the tiles lead to it.
pub(super) struct VerifiedLog {
    pub(super) id: Uuid,
    pub(super) origin: KeyName,
    pub(super) head: TreeHead,
    pub(super) indexes: Option<(u64, u64)>,
    /// Keys of the log, which have its name.
    pub(super) policy: Policy,
    pub(super) witnesses: Vec<String>,
    pub(super) has_time_stamp: bool,
    tiles: HashMap<(u8, u64), Tile>,
}

/// Reads the whole archive once.
pub(super) fn survey(file: &Path) -> Result<Survey, Unreadable> {
    let mut archive = members::open(file)?;
    let mut entries = Members::of(&mut archive)?;
    let mut once = HashSet::new();
    let mut manifest = None;
    let mut logs: HashMap<Uuid, LogFiles> = HashMap::new();
    let mut proofs = HashMap::new();
    let mut tiles = 0;
    while let Some((member, entry)) = entries.next()? {
        let twice = || Unreadable::Twice(member.to_string());
        if let Some(log) = member.log()
            && !logs.contains_key(&log)
            && logs.len() == LOGS_MAX
        {
            return Err(Unreadable::Count { what: "logs", max: LOGS_MAX });
        }
        let known = match member {
            // Their order is checked when they are compared with the facts.
            Member::Delivered(_) | Member::Received(_) => None,
            Member::Tile(_, id) if id.level() == 0 && id.is_full() => None,
            Member::Readme | Member::Script | Member::Policy | Member::Facts => {
                if !once.insert(member.to_string()) {
                    return Err(twice());
                }
                None
            }
            Member::Manifest => manifest.replace(members::read(entry)?),
            Member::Checkpoint(log) => logs.entry(log).or_default().checkpoint.replace(members::read(entry)?),
            Member::Installation(log) => {
                logs.entry(log).or_default().installation.replace(members::read(entry)?)
            }
            Member::Stamped(log) => logs.entry(log).or_default().stamped.replace(members::read(entry)?),
            Member::TimeStamp(log) => logs.entry(log).or_default().time_stamp.replace(members::read(entry)?),
            Member::Tile(log, id) => {
                tiles += 1;
                if tiles > TILES_MAX {
                    return Err(Unreadable::Count { what: "tiles above level 0", max: TILES_MAX });
                }
                logs.entry(log).or_default().tiles.insert(id, members::read(entry)?)
            }
            Member::Proof(log, index) => {
                if proofs.len() == PROOFS_MAX {
                    return Err(Unreadable::Count { what: "proofs", max: PROOFS_MAX });
                }
                proofs.insert((log, index), members::read(entry)?)
            }
        };
        if known.is_some() {
            return Err(twice());
        }
    }
    members::finish(archive)?;
    if !once.contains(&Member::Facts.to_string()) {
        return Err(Unreadable::Missing("facts.ndjson"));
    }
    let manifest = parse_manifest(&manifest.ok_or(Unreadable::Missing("manifest.json"))?)?;
    Ok(Survey { manifest, proofs, logs })
}

fn parse_manifest(bytes: &[u8]) -> Result<Manifest, Unreadable> {
    let manifest: Manifest =
        serde_json::from_slice(bytes).map_err(|error| Unreadable::Manifest(error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(Unreadable::Manifest(format!("the format is {:?} instead of {FORMAT}", manifest.format)));
    }
    let ids: HashSet<Uuid> = manifest.logs.iter().map(|part| part.id).collect();
    if ids.len() != manifest.logs.len() || ids.is_empty() {
        return Err(Unreadable::Manifest("a log is missing or there twice".to_owned()));
    }
    Ok(manifest)
}

impl Survey {
    /// Says what the bundle claims to be.
    pub(super) fn subject(&self) -> String {
        let Manifest { tenant, selection, made_by, made_at, .. } = &self.manifest;
        let what = match selection {
            Selection::Event(id) => format!("webhook event {id}"),
            Selection::Destination(id) => format!("destination {id} and its webhook events"),
            Selection::Recorded { from, to } => {
                let from = from.map_or_else(|| "the first fact".to_owned(), |from| from.to_rfc3339());
                let to = to.map_or_else(|| "the checkpoint".to_owned(), |to| to.to_rfc3339());
                format!("all facts from {from} to {to}")
            }
        };
        format!("bundle of tenant {tenant}: {what}; made by {made_by} at {}", made_at.to_rfc3339())
    }

    /// Verifies the heads of all logs.
    pub(super) fn trees(&self, trust: &Trust) -> Result<Vec<VerifiedLog>, Failure> {
        let unclaimed = self.logs.keys().find(|id| self.manifest.logs.iter().all(|part| part.id != **id));
        if let Some(id) = unclaimed {
            return Err(BadPosition::in_log(*id, "manifest.json does not have this log").into());
        }
        let none = LogFiles::default();
        let verified = |part: &LogPart| {
            self.logs.get(&part.id).unwrap_or(&none).verify(part, trust).map_err(Failure::from)
        };
        self.manifest.logs.iter().map(verified).collect()
    }
}

impl LogFiles {
    fn verify(&self, part: &LogPart, trust: &Trust) -> Result<VerifiedLog, BadPosition> {
        let log = part.id;
        let file = Member::Checkpoint(log);
        let bad = |problem: &dyn std::fmt::Display| BadPosition::in_file(file, problem);
        let note = self.checkpoint.as_deref().ok_or_else(|| bad(&"the file is missing"))?;
        let signed = SignedCheckpoint::parse(note).map_err(|error| bad(&error))?;
        let checkpoint = signed.checkpoint();
        let (origin, head) = (checkpoint.origin.clone(), checkpoint.tree);
        let name = trust.keys.first().map(|key| key.name().to_string()).unwrap_or_default();
        if origin.as_str() != format!("{name}/log/{log}") {
            return Err(bad(&format_args!("the checkpoint is of {origin} and not of {name}/log/{log}")));
        }
        let policy = Policy::without_witnesses(under_name(&trust.keys, &origin));
        policy.check(&signed).map_err(|distrust| bad(&distrust))?;
        let witnesses = self.verify_installation(part, trust, note, &name)?;
        let tiles = self.verify_tiles(log, head)?;
        let has_time_stamp = self.time_stamp.is_some();
        Ok(VerifiedLog {
            id: log,
            origin,
            head,
            indexes: part.indexes,
            policy,
            witnesses,
            has_time_stamp,
            tiles,
        })
    }

    /// Verifies that the log of the installation has the checkpoint. Returns the witnesses of that log.
    fn verify_installation(
        &self,
        part: &LogPart,
        trust: &Trust,
        note: &[u8],
        name: &str,
    ) -> Result<Vec<String>, BadPosition> {
        let file = Member::Installation(part.id);
        let bad = |problem: &dyn std::fmt::Display| BadPosition::in_file(file, problem);
        let proof = self.installation.as_deref().ok_or_else(|| bad(&"the file is missing"))?;
        let proof = LogProof::parse(proof).map_err(|error| bad(&error))?;
        let origin = &proof.checkpoint.checkpoint().origin;
        let era = origin.as_str().strip_prefix(name).and_then(|rest| rest.strip_prefix("/era/"));
        if origin.as_str() != name && era.is_none_or(|era| era.parse::<u16>().is_err()) {
            return Err(bad(&format_args!("the checkpoint is of {origin}, which is not the log of {name}")));
        }
        let mut policy = trust.policy.clone().unwrap_or_default();
        under_name(&trust.keys, origin).into_iter().for_each(|key| policy.add_log(key));
        let note = std::str::from_utf8(note).map_err(|error| bad(&error))?;
        let leaf = CheckpointLeaf { log_id: &part.id.to_string(), signed_checkpoint: note };
        let entry = leaf.entry(&part.checkpoint_salt.0).map_err(|error| bad(&error))?;
        let trusted = proof.verify(entry.as_bytes(), &policy).map_err(|failure| bad(&failure))?;
        self.verify_stamped(part.id, &proof.checkpoint)?;
        Ok(trusted.witnesses.iter().map(|witness| witness.key.to_string()).collect())
    }

    /// Verifies that the time stamp, if there is one, is of this checkpoint. Who has signed it, and when, is for the
    /// recipient to verify.
    fn verify_stamped(&self, log: Uuid, checkpoint: &SignedCheckpoint) -> Result<(), BadPosition> {
        let (stamped, time_stamp) = match (&self.stamped, &self.time_stamp) {
            (None, None) => return Ok(()),
            (Some(stamped), Some(time_stamp)) => (stamped, time_stamp),
            (None, Some(_)) => return Err(BadPosition::in_file(Member::Stamped(log), "the file is missing")),
            (Some(_), None) => {
                return Err(BadPosition::in_file(Member::TimeStamp(log), "the file is missing"));
            }
        };
        let is_same = SignedCheckpoint::parse(stamped)
            .is_ok_and(|stamped| stamped.checkpoint() == checkpoint.checkpoint());
        if !is_same {
            let problem = "it is not the checkpoint in installation.tlog-proof";
            return Err(BadPosition::in_file(Member::Stamped(log), problem));
        }
        timestamp::check_imprint(time_stamp, stamped)
            .map_err(|problem| BadPosition::in_file(Member::TimeStamp(log), problem))
    }

    /// Verifies all tiles that are kept: those of the right edge lead to the root, and each other one has its hash in the
    /// tile above it.
    fn verify_tiles(&self, log: Uuid, head: TreeHead) -> Result<HashMap<(u8, u64), Tile>, BadPosition> {
        let mut tiles = HashMap::new();
        for (id, bytes) in &self.tiles {
            let bad = |problem: &dyn std::fmt::Display| BadPosition::in_file(Member::Tile(log, *id), problem);
            if TileId::in_tree(id.level(), id.index(), head.size) != Some(*id) {
                return Err(bad(&format_args!("the tree of {} entries has no such tile", head.size)));
            }
            let tile = Tile::from_bytes(*id, bytes).map_err(|error| bad(&error))?;
            tiles.insert((id.level(), id.index()), tile);
        }
        let edge: TileSet = tiles.values().filter(|tile| !tile.id().is_full()).cloned().collect();
        let tree = TreeBuilder::resume(head.size, &edge)
            .map_err(|missing| BadPosition::in_file(Member::Tile(log, missing.0), "the file is missing"))?;
        if tree.head() != head {
            let problem = format!(
                "the tiles of the right edge lead to the root {}, and {} is signed",
                tree.head().root,
                head.root
            );
            return Err(BadPosition::in_log(log, problem));
        }
        // From the top, so that the first bad one is named and not those below it.
        let mut full: Vec<&Tile> = tiles.values().filter(|tile| tile.id().is_full()).collect();
        full.sort_by_key(|tile| (std::cmp::Reverse(tile.id().level()), tile.id().index()));
        for tile in full {
            check_parent(log, &tiles, tile)?;
        }
        Ok(tiles)
    }
}

/// Returns the keys under the name of a log.
fn under_name(keys: &[VerifierKey], origin: &KeyName) -> Vec<VerifierKey> {
    keys.iter().map(|key| key.with_name(origin.clone())).collect()
}

/// Checks that the tile above a full one has its hash.
fn check_parent(log: Uuid, tiles: &HashMap<(u8, u64), Tile>, tile: &Tile) -> Result<(), BadPosition> {
    let (id, width) = (tile.id(), TILE_WIDTH as u64);
    let parent = tiles.get(&(id.level() + 1, id.index() / width));
    let file = Member::Tile(log, id);
    let parent = parent.ok_or_else(|| BadPosition::in_file(file, "the tile above it is missing"))?;
    let hash = usize::try_from(id.index() % width).ok().and_then(|at| parent.hashes().get(at).copied());
    if hash.is_none() || hash != tile.root() {
        return Err(BadPosition::in_file(file, "the tile above it has another hash for it"));
    }
    Ok(())
}

impl VerifiedLog {
    /// Returns the partial tile of level 0, if it is the one with this index.
    pub(super) fn partial_tile(&self, index: u64) -> Option<&Tile> {
        self.tiles.get(&(0, index))
    }

    /// Returns the hashes of a full tile of level 0, compared with the tile above it.
    pub(super) fn full_tile(&self, id: TileId, bytes: &[u8]) -> Result<Vec<Hash>, BadPosition> {
        let tile = Tile::from_bytes(id, bytes)
            .map_err(|error| BadPosition::in_file(Member::Tile(self.id, id), error))?;
        check_parent(self.id, &self.tiles, &tile)?;
        Ok(tile.hashes().to_vec())
    }
}
