//! One log: its tree is computed again and compared with what is stored, tile by tile.

use std::collections::HashMap;

use evidence::tree::{Hash, TILE_WIDTH, Tile, TileId, TileSet, TreeBuilder, TreeHead};
use projections::LogPosition;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{first, log_report};
use crate::bundle::{BadPosition, LogReport};
use crate::evidence_log::{self, StoredTile, StoredTree};

/// An entry as it was computed again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Of its fact; `None`: it is no fact.
    pub(super) position: Option<LogPosition>,
    /// `None`: it cannot be computed, and is what is stored.
    pub(super) hash: Option<Hash>,
}

/// A log whose tree is computed again.
pub(super) struct TreeCheck {
    pub(super) stored: StoredTree,
    origin: String,
    /// Signed heads, by increasing size.
    signed: std::iter::Peekable<std::vec::IntoIter<TreeHead>>,
    /// Size of the last signed head.
    signed_size: u64,
    builder: TreeBuilder,
    /// Entries that were not compared yet.
    entries: Vec<Entry>,
    /// Full tiles above level 0 that were not compared yet.
    above: Vec<Tile>,
    /// The first entry that is not what is stored.
    first_bad: Option<Found>,
    /// The first tile above level 0, or the right edge, that is not what is stored.
    bad_tile: Option<BadPosition>,
    /// The last head that was right, and the first that was not.
    heads: (u64, Option<TreeHead>),
    bad_contents: Option<Found>,
    facts: u64,
    erased: u64,
}

/// A bad entry, and where in the event log its fact is.
type Found = (BadPosition, Option<LogPosition>);

/// Result of the comparison of a log.
pub(super) struct Ended {
    pub(super) log: Option<LogReport>,
    pub(super) facts: u64,
    pub(super) erased: u64,
    pub(super) unsealed: u64,
    pub(super) problems: Vec<BadPosition>,
}

impl TreeCheck {
    pub(super) fn new(stored: StoredTree, origin: String, signed: Vec<TreeHead>) -> Self {
        Self {
            signed_size: signed.last().map_or(0, |head| head.size),
            signed: signed.into_iter().peekable(),
            stored,
            origin,
            builder: TreeBuilder::new(),
            entries: vec![],
            above: vec![],
            first_bad: None,
            bad_tile: None,
            heads: (0, None),
            bad_contents: None,
            facts: 0,
            erased: 0,
        }
    }

    pub(super) fn log_id(&self) -> Uuid {
        self.stored.log_id
    }

    /// Number of entries so far.
    pub(super) fn size(&self) -> u64 {
        self.builder.size() + self.entries.len() as u64
    }

    pub(super) fn head(&self) -> TreeHead {
        self.builder.head()
    }

    pub(super) fn push(&mut self, entry: Entry, bad_contents: Option<&str>) {
        if let Some(problem) = bad_contents {
            let index = self.size();
            first(&mut self.bad_contents, || {
                (BadPosition::at(self.stored.log_id, index, problem), entry.position)
            });
        }
        if entry.position.is_some() {
            self.facts += 1;
            self.erased += u64::from(entry.hash.is_none());
        }
        self.entries.push(entry);
    }

    /// Returns the full tiles of level 0 that can be compared.
    pub(super) fn full_tiles(&self) -> impl Iterator<Item = (Uuid, TileId)> {
        let first = self.builder.size() / TILE_WIDTH as u64;
        let count = (self.entries.len() / TILE_WIDTH) as u64;
        let log = self.stored.log_id;
        (first..first + count).filter_map(move |index| Some((log, TileId::new(0, index, TILE_WIDTH).ok()?)))
    }

    /// Returns the full tiles above level 0 that can be compared.
    pub(super) fn tiles_above(&self) -> impl Iterator<Item = (Uuid, TileId)> {
        self.above.iter().map(|tile| (self.stored.log_id, tile.id()))
    }

    /// Compares the full tiles of level 0 with those that are stored.
    pub(super) fn compare_full(&mut self, stored: &StoredTiles) {
        let tiles: Vec<_> = self.full_tiles().collect();
        for (log, id) in tiles {
            let entries: Vec<Entry> = self.entries.drain(..TILE_WIDTH).collect();
            let tile = stored.get(&(log, id.level(), id.index()));
            match tile.and_then(|tile| Some((hashes(&tile.hashes), tile.positions.as_deref()?))) {
                Some((hashes, positions)) => self.compare(&entries, &hashes, positions),
                // That of the installation has no positions.
                None => {
                    let hashes = tile.map(|tile| hashes(&tile.hashes));
                    if hashes.is_none() || entries.iter().any(|entry| entry.position.is_some()) {
                        let index = self.builder.size();
                        let log = self.stored.log_id;
                        let problem = "its tile is missing";
                        first(&mut self.first_bad, || (BadPosition::at(log, index, problem), None));
                    }
                    self.compare(&entries, &hashes.unwrap_or_default(), &[]);
                }
            }
        }
    }

    /// Compares entries, and appends them to the tree.
    fn compare(&mut self, entries: &[Entry], stored: &[Hash], positions: &[u8]) {
        let log = self.stored.log_id;
        let has_positions = !positions.is_empty();
        let positions = evidence_log::decode_positions(positions).unwrap_or_default();
        // The first entry of a log that continues another one is no fact.
        let others = entries.iter().take_while(|entry| entry.position.is_none()).count();
        for (number, entry) in entries.iter().enumerate() {
            let index = self.builder.size();
            let position = number.checked_sub(others).and_then(|number| positions.get(number));
            let hash = stored.get(number).copied();
            let (problem, position) = match (entry.position, position) {
                (Some(here), Some(there)) if here > *there => {
                    (Some("the fact of this entry was removed"), Some(*there))
                }
                (Some(here), Some(there)) if here < *there => (Some("a fact was inserted here"), Some(here)),
                (Some(here), None) if has_positions => {
                    (Some("a fact was inserted here, or the positions of the tile were altered"), Some(here))
                }
                (here, _) if entry.hash.is_some() && hash.is_some() && entry.hash != hash => {
                    (Some("the entry is not the one that was logged"), here)
                }
                _ => (None, None),
            };
            if let Some(problem) = problem {
                first(&mut self.first_bad, || (BadPosition::at(log, index, problem), position));
            }
            self.append(entry.hash.or(hash).unwrap_or(Hash::EMPTY_ROOT));
        }
        if let Some(there) = positions.get(entries.len() - others) {
            let index = self.builder.size();
            let problem = "the fact of this entry was removed";
            first(&mut self.first_bad, || (BadPosition::at(log, index, problem), Some(*there)));
        }
    }

    fn append(&mut self, hash: Hash) {
        self.above.extend(self.builder.append([hash]).into_iter().filter(|tile| tile.id().level() > 0));
        while let Some(head) = self.signed.next_if(|head| head.size <= self.builder.size()) {
            match self.heads.1 {
                Some(_) => {}
                None if self.builder.head() == head => self.heads.0 = head.size,
                None => self.heads.1 = Some(head),
            }
        }
    }

    /// Compares full tiles above level 0 with those that are stored.
    pub(super) fn compare_above(&mut self, stored: &StoredTiles) {
        for tile in std::mem::take(&mut self.above) {
            let id = tile.id();
            let (log, found) =
                (self.stored.log_id, stored.get(&(self.stored.log_id, id.level(), id.index())));
            let problem = match found {
                None => "is missing",
                Some(found) if found.hashes != tile.to_bytes() => "is not that of the entries below it",
                Some(_) => continue,
            };
            let problem = format!("tile {} of level {} {problem}", id.index(), id.level());
            first(&mut self.bad_tile, || BadPosition::in_log(log, problem));
        }
    }

    /// Compares what remains with the stored right edge. All full tiles were compared.
    pub(super) fn compare_edge(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        let log = self.stored.log_id;
        let mut edge = TileSet::new();
        let mut bytes = self.stored.edge.as_slice();
        let mut first_level = vec![];
        for id in TileId::partial_in_tree(self.stored.size) {
            let (tile, rest) = bytes.split_at(bytes.len().min(id.width() * Hash::BYTES));
            bytes = rest;
            if id.level() == 0 {
                first_level = hashes(tile);
            }
            if let Ok(tile) = Tile::from_bytes(id, tile) {
                edge.insert(tile);
            }
        }
        let is_longer = !bytes.is_empty();
        let positions = self.stored.positions.clone();
        self.compare(&entries, &first_level, &positions);
        let size = self.builder.size();
        if size < self.stored.size {
            let missing = self.stored.size - size;
            let problem = format!("the last {missing} entries of the log are missing");
            first(&mut self.first_bad, || (BadPosition::at(log, size, problem), None));
        }
        let same =
            TreeBuilder::resume(self.stored.size, &edge).is_ok_and(|tree| tree.head() == self.builder.head());
        if !same || is_longer {
            first(&mut self.bad_tile, || {
                BadPosition::in_log(log, "the right edge is not that of the entries")
            });
        }
        let known = evidence_log::decode_positions(&positions).map(|known| known.len());
        let facts = entries.iter().filter(|entry| entry.position.is_some()).count();
        if known != Ok(facts) {
            first(&mut self.bad_tile, || {
                BadPosition::in_log(log, "the positions of the right edge were altered")
            });
        }
    }

    /// Ends the comparison, and names the fact at the first bad position.
    pub(super) async fn finish(mut self, connection: &mut PgConnection) -> Result<Ended, sqlx::Error> {
        let (log, head) = (self.stored.log_id, self.builder.head());
        let mut problems = vec![];
        let bad_head = self.heads.1;
        match (self.first_bad.take(), bad_head) {
            (Some((bad, position)), _) if bad.index >= Some(self.signed_size) => {
                let problem = format!("{}; no signed checkpoint covers it", bad.problem);
                problems.push((BadPosition { problem, ..bad }, position));
            }
            (Some((bad, position)), None) if self.signed.peek().is_none() => {
                let problem =
                    "the tile or the right edge was altered: the facts lead to the signed checkpoints";
                problems.push((BadPosition { problem: problem.to_owned(), ..bad }, position));
            }
            (Some(found), bad_head)
                if bad_head.is_none_or(|bad_head| found.0.index < Some(bad_head.size)) =>
            {
                problems.push(found);
            }
            (_, Some(bad_head)) => {
                let problem = format!(
                    "here or up to entry {}, a fact is not the one that the signed checkpoint of {} entries covers",
                    bad_head.size - 1,
                    bad_head.size
                );
                problems.push((BadPosition::at(log, self.heads.0, problem), None));
            }
            (_, None) => {}
        }
        if problems.is_empty()
            && let Some(lost) = self.signed.peek()
        {
            let problem = format!("the log ends here, and a checkpoint of {} entries is signed", lost.size);
            problems.push((BadPosition::at(log, head.size, problem), None));
        }
        if problems.is_empty() {
            problems.extend(self.bad_tile.map(|bad| (bad, None)));
        }
        problems.extend(self.bad_contents);
        let mut named = vec![];
        for (problem, position) in problems {
            let fact = match position {
                Some(position) => evidence_log::name_of(connection, position).await?,
                None => None,
            };
            named.push(match fact {
                Some((stream, sequence)) => problem.of_fact(&stream, sequence),
                None => problem,
            });
        }
        Ok(Ended {
            log: Some(log_report(self.origin, &head, head.size)),
            facts: self.facts,
            erased: self.erased,
            unsealed: head.size.saturating_sub(self.signed_size),
            problems: named,
        })
    }
}

/// Full tiles as they are stored, by log, level and index.
pub(super) type StoredTiles = HashMap<(Uuid, u8, u64), StoredTile>;

/// Reads full tiles.
pub(super) async fn read_tiles(
    connection: &mut PgConnection,
    wanted: &[(Uuid, TileId)],
) -> Result<StoredTiles, sqlx::Error> {
    if wanted.is_empty() {
        return Ok(StoredTiles::new());
    }
    let tiles = evidence_log::stored_tiles(connection, wanted).await?;
    let key = |tile: &StoredTile| {
        Some((tile.log_id, u8::try_from(tile.level).ok()?, u64::try_from(tile.index).ok()?))
    };
    Ok(tiles.into_iter().filter_map(|tile| Some((key(&tile)?, tile))).collect())
}

fn hashes(bytes: &[u8]) -> Vec<Hash> {
    bytes.as_chunks().0.iter().copied().map(Hash::from_bytes).collect()
}
