//! Signed checkpoints, and the logs of the installation, whose entries commit to them.

use std::collections::HashMap;

use evidence::checkpoint::SignedCheckpoint;
use evidence::leaf::{CheckpointLeaf, ContinuationLeaf};
use evidence::note::VerifierKey;
use evidence::tree::{Hash, TreeHead};
use futures::TryStreamExt;
use sqlx::PgConnection;
use uuid::Uuid;

use super::tenants::compare_full;
use super::tree::{Ended, Entry, TreeCheck};
use super::{Keys, first};
use crate::bundle::BadPosition;
use crate::evidence_log::{self, LoggedCheckpoint, StoredTree};

/// Number of entries of the installation's log that are compared at once.
const ENTRIES_AT_ONCE: usize = 8_192;
/// Most missing entries in a row after which the comparison continues.
const GAP_MAX: u64 = 100_000;

/// All checkpoints that were ever signed.
pub(super) struct Checkpoints {
    trusted: Vec<VerifierKey>,
    /// Heads with a valid signature, by log and increasing size.
    heads: HashMap<Uuid, Vec<TreeHead>>,
    /// Entries of each log of the installation: index, and hash of the leaf.
    entries: HashMap<Uuid, Vec<(u64, Option<Hash>)>>,
    /// The log of the installation that was compared last, and its head.
    before: Option<(Uuid, TreeHead)>,
    pub(super) problems: Vec<BadPosition>,
}

impl Checkpoints {
    /// Reads all checkpoints, and verifies the signature of each.
    pub(super) async fn read(
        connection: &mut PgConnection,
        trusted: &[VerifierKey],
        trees: &[StoredTree],
        keys: &Keys,
        tenant: Option<Uuid>,
    ) -> Result<Self, sqlx::Error> {
        let mut read = Self {
            trusted: trusted.to_vec(),
            heads: HashMap::new(),
            entries: HashMap::new(),
            before: None,
            problems: vec![],
        };
        let trees: HashMap<Uuid, &StoredTree> = trees.iter().map(|tree| (tree.log_id, tree)).collect();
        let mut bad: HashMap<Uuid, Option<BadPosition>> = HashMap::new();
        let mut rows = evidence_log::stored_checkpoints(connection, tenant);
        while let Some(row) = rows.try_next().await? {
            match read.head(&row, trees.get(&row.log_id).copied()) {
                Ok(head) => read.heads.entry(row.log_id).or_default().push(head),
                Err(problem) => first(bad.entry(row.log_id).or_default(), || {
                    let problem = format!("the stored checkpoint of {} entries: {problem}", row.size);
                    BadPosition::in_log(row.log_id, problem)
                }),
            }
            if let (Some(log), Some(index)) = (row.installation_log_id, row.installation_index) {
                let index = u64::try_from(index).unwrap_or_default();
                read.entries.entry(log).or_default().push((index, leaf_hash(&row, keys)));
            }
        }
        drop(rows);
        read.problems.extend(bad.into_values().flatten());
        for tree in trees.values() {
            let last =
                read.heads.get(&tree.log_id).and_then(|heads| heads.last()).map_or(0, |head| head.size);
            if last < tree.sealed_size {
                let problem = format!("the signed checkpoint of {} entries is missing", tree.sealed_size);
                read.problems.push(BadPosition::in_log(tree.log_id, problem));
            }
        }
        Ok(read)
    }

    /// Verifies a checkpoint.
    fn head(&self, row: &LoggedCheckpoint, tree: Option<&StoredTree>) -> Result<TreeHead, String> {
        let tree = tree.ok_or("the tree of its log is missing")?;
        let signed = SignedCheckpoint::parse(row.note.as_bytes()).map_err(|error| error.to_string())?;
        let checkpoint = signed.checkpoint();
        let origin = self.origin(tree)?;
        if checkpoint.origin.as_str() != origin {
            return Err(format!("it is of {}", checkpoint.origin));
        }
        let keys: Vec<_> = self.trusted.iter().map(|key| key.with_name(checkpoint.origin.clone())).collect();
        signed.verify_log(&keys).map_err(|error| error.to_string())?;
        if i64::try_from(checkpoint.tree.size) != Ok(row.size) {
            return Err(format!("it has {} entries", checkpoint.tree.size));
        }
        Ok(checkpoint.tree)
    }

    fn origin(&self, tree: &StoredTree) -> Result<String, String> {
        let name = self.trusted.first().map(VerifierKey::name).ok_or("no key is given")?;
        let origin = evidence_log::origin(name, tree.owner, tree.log_id);
        origin.map(|origin| origin.to_string()).map_err(|error| error.to_string())
    }

    /// Returns the comparison of a log with its checkpoints.
    pub(super) fn check_of(&mut self, tree: StoredTree) -> TreeCheck {
        let origin = self.origin(&tree).unwrap_or_default();
        let heads = self.heads.remove(&tree.log_id).unwrap_or_default();
        TreeCheck::new(tree, origin, heads)
    }

    /// Compares a log of the installation with the checkpoints to which its entries commit. Logs of earlier eras come
    /// first.
    pub(super) async fn check_installation(
        &mut self,
        connection: &mut PgConnection,
        tree: StoredTree,
    ) -> Result<Ended, sqlx::Error> {
        let log = tree.log_id;
        let mut missing = None;
        let mut check = self.check_of(tree);
        if let Some((before, tree)) =
            self.before.filter(|(before, _)| check.stored.continues == Some(*before))
        {
            let leaf = ContinuationLeaf { log_id: &before.to_string(), tree };
            let hash = leaf.entry().ok().map(|entry| Hash::of_leaf(entry.as_bytes()));
            check.push(Entry { position: None, hash }, None);
        }
        for (number, (index, hash)) in self.entries.remove(&log).unwrap_or_default().into_iter().enumerate() {
            if index != check.size() {
                let at = index.min(check.size());
                first(&mut missing, || {
                    BadPosition::at(log, at, "the checkpoint to which this entry commits is missing")
                });
            }
            if index.saturating_sub(check.size()) > GAP_MAX {
                break;
            }
            while check.size() < index {
                check.push(Entry { position: None, hash: None }, None);
            }
            check.push(Entry { position: None, hash }, None);
            if number % ENTRIES_AT_ONCE == ENTRIES_AT_ONCE - 1 {
                compare_full(connection, &mut [&mut check]).await?;
            }
        }
        compare_full(connection, &mut [&mut check]).await?;
        check.compare_edge();
        self.before = Some((log, check.head()));
        let mut ended = check.finish(connection).await?;
        ended.problems.splice(0..0, missing);
        // Its entries are no facts.
        ended.unsealed = 0;
        Ok(ended)
    }
}

/// Returns the hash of the leaf that commits to a checkpoint; `None` if the key of its tenant was deleted.
fn leaf_hash(row: &LoggedCheckpoint, keys: &Keys) -> Option<Hash> {
    let key = keys.get(&row.tenant_id?)?.as_ref()?;
    let salt = key.checkpoint_salt(u64::try_from(row.size).unwrap_or_default());
    let leaf = CheckpointLeaf { log_id: &row.log_id.to_string(), signed_checkpoint: &row.note };
    Some(leaf.entry(&salt).map_or(Hash::EMPTY_ROOT, |entry| Hash::of_leaf(entry.as_bytes())))
}
