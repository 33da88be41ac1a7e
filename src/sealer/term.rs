//! One term as leader: appends facts to trees, and signs the trees that have grown.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use aggregates::ids::TenantId;
use evidence::checkpoint::Checkpoint;
use evidence::leaf::{self, CheckpointLeaf, ContinuationLeaf, EvidenceKey, LeafError};
use evidence::note::KeyNameError;
use evidence::tree::Hash;
use projections::LogPosition;
use projections::checkpoints::{self, CheckpointFailure};
use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use super::key_source::KeySource;
use super::{ROLE, health};
use crate::database;
use crate::event_store::held_back::HeldBack;
use crate::event_store::log_reader::LogPage;
use crate::event_store::{self, LogOriginFailure};
use crate::evidence_log::{self, FactPage, FactRow, KeyNameChanged, NewCheckpoint, Tree, TreeOwner};
use crate::identifiers;
use crate::leadership::{Leadership, LeadershipFailure, LeadershipStatus};
use crate::secrets::log_keys::LogKeys;
use crate::secrets::vault::{Vault, VaultFailure};

/// Most facts that become leaves in one transaction. Higher: more memory, and longer transactions. Lower: the trees of
/// their tenants, up to 9 KiB each, are written for fewer facts.
const PAGE_FACTS_MAX: usize = 8_000;
/// Facts that are read at once. Higher: they and what is made of them push what deliveries need out of the processor's
/// cache. Lower: a statement for fewer facts.
const READ_FACTS_MAX: usize = 1_000;
/// Most heads that are signed in one transaction.
const PAGE_TREES_MAX: i64 = 256;
/// Most trees that are kept in memory, about 10 KiB each. Others are read again when they grow.
const TREES_KEPT_MAX: usize = 2_000;
/// Hashing and signing that a task does before it lets others run: about 200 µs.
const LEAVES_AT_ONCE: usize = 64;
const SIGNATURES_AT_ONCE: usize = 4;
/// Interval of measurements.
const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// A term as leader. It has a connection of its own, so that it never waits for one of the pool while it has a
/// transaction.
#[derive(Debug)]
pub struct Term {
    leadership: Leadership,
    connection: PgConnection,
    vault: Vault,
    keys: KeySource,
    /// Public halves of the keys that were recorded last.
    recorded: Vec<String>,
    era: i16,
    /// Position of the last fact that has a leaf.
    position: LogPosition,
    /// Trees of tenants, as they are stored.
    trees: HashMap<Uuid, Tree>,
    /// Whether checkpoints are shown only when witnesses have cosigned them.
    requires_witnesses: bool,
    /// Notified when the installation's log was signed.
    signed: watch::Sender<()>,
    held_back: HeldBack,
    measured_at: Option<Instant>,
}

/// A tree that grows, and the key from which the salts of its entries follow.
struct Growing {
    tree: Tree,
    key: EvidenceKey,
}

/// Result of appending a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    pub facts: usize,
    /// Whether there may be more facts to append at once.
    pub more: bool,
}

/// Why a term as leader ended.
#[derive(Debug, Error)]
pub enum TermEnded {
    #[error("database error")]
    Database(#[from] sqlx::Error),
    #[error("the log must not be continued")]
    LogOrigin(#[from] LogOriginFailure),
    #[error("the lead is lost")]
    Leadership(#[from] LeadershipFailure),
    /// Another process writes the trees.
    #[error("the position cannot be moved")]
    Checkpoint(#[from] CheckpointFailure),
    #[error("the evidence key of the tenant {tenant} cannot be used")]
    EvidenceKey { tenant: Uuid, source: VaultFailure },
    /// The program appends no such fact.
    #[error("the fact at {position:?} cannot have a leaf")]
    Fact { position: LogPosition, source: LeafError },
    #[error("an entry cannot be written")]
    Entry(#[from] LeafError),
    #[error("the name of a log is invalid")]
    Name(#[from] KeyNameError),
}

impl Term {
    /// Waits for the lead, takes over the position, and continues the trees of earlier eras.
    pub(super) async fn begin(
        pool: &PgPool,
        vault: Vault,
        keys: KeySource,
        requires_witnesses: bool,
        status: &LeadershipStatus,
    ) -> Result<Self, TermEnded> {
        let leadership = Leadership::acquire(pool, ROLE, status).await?;
        let begun = async {
            let mut connection = database::open(&pool.connect_options()).await?;
            database::plan_once(&mut connection).await?;
            event_store::require_own_log(&mut connection).await?;
            let position = checkpoints::take_over(&mut connection, ROLE, leadership.epoch()).await?;
            let era = event_store::current_era(&mut connection).await?;
            Ok::<_, TermEnded>((connection, position, era))
        };
        let (connection, position, era) = database::in_time(database::SHORT, begun).await?;
        let mut term = Self {
            leadership,
            connection,
            vault,
            keys,
            recorded: vec![],
            era,
            position,
            trees: HashMap::new(),
            requires_witnesses,
            signed: watch::Sender::new(()),
            held_back: HeldBack::new(ROLE),
            measured_at: None,
        };
        while database::in_time(database::LONG, term.continue_trees()).await? > 0 {}
        Ok(term)
    }

    pub(super) fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Returns notifications of signatures of the installation's log.
    pub(super) fn signed(&self) -> watch::Receiver<()> {
        self.signed.subscribe()
    }

    /// Begins trees that continue some of those of earlier eras. Returns their number.
    async fn continue_trees(&mut self) -> Result<usize, TermEnded> {
        let ended = evidence_log::ended_trees(&mut self.connection, self.era, PAGE_TREES_MAX).await?;
        let mut begun = Vec::with_capacity(ended.len());
        for tree in &ended {
            let leaf = ContinuationLeaf { log_id: &tree.log_id().to_string(), tree: tree.head() };
            let owner = match tree.owner() {
                TreeOwner::Installation { .. } => TreeOwner::Installation { era: self.era },
                tenant @ TreeOwner::Tenant { .. } => tenant,
            };
            let hash = Hash::of_leaf(leaf.entry()?.as_bytes());
            begun.push(Tree::continuing(tree, identifiers::new_id(), owner, self.era, hash));
        }
        if begun.is_empty() {
            return Ok(0);
        }
        let epoch = self.leadership.epoch();
        let mut transaction = begin(&mut self.connection).await?;
        checkpoints::keep(&mut transaction, &[ROLE], epoch).await?;
        evidence_log::write_trees(&mut transaction, &begun.iter().collect::<Vec<_>>()).await?;
        transaction.commit().await?;
        tracing::info!(
            logs = begun.len(),
            era = self.era,
            "transparency logs of an earlier era are continued"
        );
        Ok(begun.len())
    }

    /// Appends the leaves of the next facts.
    ///
    /// # Errors
    /// When the database fails, another process has taken the lead, or a fact cannot have a leaf.
    pub async fn append(&mut self) -> Result<Appended, TermEnded> {
        let (mut trees, mut last, mut facts) = (HashMap::new(), self.position, 0);
        let more = loop {
            let page = self.read_after(last).await?;
            let rows = page.facts()?;
            let Some(end) = rows.last() else { break false };
            last = end.log_position();
            self.take_trees(&mut trees, &rows).await?;
            append_leaves(&mut trees, &rows).await?;
            facts += rows.len();
            if rows.len() < READ_FACTS_MAX || facts >= PAGE_FACTS_MAX {
                break rows.len() == READ_FACTS_MAX;
            }
        };
        if facts == 0 {
            return Ok(Appended { facts, more });
        }

        let epoch = self.leadership.epoch();
        let mut transaction = begin(&mut self.connection).await?;
        // First, so that a leader that was replaced fails here and not at what the other one has written.
        checkpoints::advance(&mut transaction, ROLE, epoch, last).await?;
        evidence_log::insert_tiles(&mut transaction, trees.values_mut().map(|growing| &mut growing.tree))
            .await?;
        let written: Vec<&Tree> = trees.values().map(|growing| &growing.tree).collect();
        evidence_log::write_trees(&mut transaction, &written).await?;
        transaction.commit().await?;

        self.position = last;
        self.trees.extend(trees.into_iter().map(|(tenant, growing)| (tenant, growing.tree)));
        metrics::counter!("hooksentry_sealed_facts_total").increment(facts as u64);
        Ok(Appended { facts, more })
    }

    async fn read_after(&mut self, position: LogPosition) -> Result<FactPage, TermEnded> {
        let elsewhere = self.held_back.elsewhere();
        let read =
            evidence_log::read_settled(&mut self.connection, position, READ_FACTS_MAX, elsewhere).await?;
        self.held_back.after(&LogPage { rows: vec![], held_back: read.held_back });
        self.held_back.look(&mut self.connection).await?;
        Ok(read.page)
    }

    /// Adds the trees of the tenants of these facts to `trees`: takes them out of those that are kept, reads the others, and
    /// begins those that do not exist.
    async fn take_trees(
        &mut self,
        trees: &mut HashMap<Uuid, Growing>,
        facts: &[FactRow<&str>],
    ) -> Result<(), TermEnded> {
        if self.trees.len() > TREES_KEPT_MAX {
            self.trees.clear();
        }
        let mut missing = vec![];
        for tenant in facts.iter().map(|fact| fact.tenant_id) {
            if trees.contains_key(&tenant) || missing.contains(&tenant) {
                continue;
            }
            match self.trees.remove(&tenant) {
                Some(tree) => drop(trees.insert(tenant, self.growing(tree).await?)),
                None => missing.push(tenant),
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        for tree in evidence_log::trees_of_tenants(&mut self.connection, &missing, self.era).await? {
            if let Some(tenant) = tree.owner().tenant_id() {
                trees.insert(tenant, self.growing(tree).await?);
            }
        }
        for tenant in missing {
            if let Entry::Vacant(place) = trees.entry(tenant) {
                let (data_key, key) = self.evidence_key(tenant, None).await?;
                let owner = TreeOwner::Tenant { id: tenant, data_key };
                place.insert(Growing { tree: Tree::new(identifiers::new_id(), owner, self.era), key });
            }
        }
        Ok(())
    }

    async fn growing(&self, tree: Tree) -> Result<Growing, TermEnded> {
        Ok(Growing { key: self.key_of(&tree).await?, tree })
    }

    /// Returns the evidence key of a tenant, and the data key that it follows from.
    async fn evidence_key(
        &self,
        tenant: Uuid,
        data_key: Option<Uuid>,
    ) -> Result<(Uuid, EvidenceKey), TermEnded> {
        let found = self.vault.evidence_key(TenantId(tenant), data_key).await;
        found.map_err(|source| TermEnded::EvidenceKey { tenant, source })
    }

    /// Returns the evidence key of a tree; a random one that is not kept, if the tenant's was deleted.
    async fn key_of(&self, tree: &Tree) -> Result<EvidenceKey, TermEnded> {
        let TreeOwner::Tenant { id, data_key } = tree.owner() else { return Ok(random_key()) };
        match self.evidence_key(id, Some(data_key)).await {
            Ok((_, key)) => Ok(key),
            Err(TermEnded::EvidenceKey { source: VaultFailure::UnknownDataKey { .. }, .. }) => {
                Ok(random_key())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Signs the heads of the trees that have grown since they were signed. Returns their number. Without a key it signs
    /// nothing.
    ///
    /// # Errors
    /// When the database fails, or another process has taken the lead.
    pub async fn seal(&mut self) -> Result<usize, TermEnded> {
        let Some(keys) = self.signing_keys().await? else { return Ok(0) };
        let (mut after, mut signed) = (Uuid::nil(), 0);
        loop {
            let page = async {
                let trees = evidence_log::unsigned_trees(&mut self.connection, after, PAGE_TREES_MAX).await?;
                if !trees.is_empty() {
                    self.sign(&keys, &trees).await?;
                }
                Ok::<_, TermEnded>(trees)
            };
            let trees = database::in_time(database::LONG, page).await?;
            let Some(last) = trees.last() else { return Ok(signed) };
            after = last.log_id();
            signed += trees.len();
            metrics::counter!("hooksentry_checkpoints_signed_total").increment(trees.len() as u64);
            let entries = trees.iter().map(Tree::unsigned_entries).sum();
            metrics::counter!("hooksentry_signed_entries_total").increment(entries);
        }
    }

    /// Reads the signing keys, and records them if they have changed.
    async fn signing_keys(&mut self) -> Result<Option<LogKeys>, TermEnded> {
        let Some(keys) = self.keys.read().await else { return Ok(None) };
        let vkeys: Vec<String> = keys.verifiers().map(ToString::to_string).collect();
        if self.recorded != vkeys {
            let epoch = self.leadership.epoch();
            let recorded = async {
                let mut transaction = begin(&mut self.connection).await?;
                checkpoints::keep(&mut transaction, &[ROLE], epoch).await?;
                if let Err(failure) = evidence_log::record_keys(&mut transaction, &keys).await {
                    return match failure {
                        KeyNameChanged::Database(error) => Err(error.into()),
                        changed @ KeyNameChanged::Name { .. } => Ok(Some(changed)),
                    };
                }
                transaction.commit().await?;
                Ok::<_, TermEnded>(None)
            };
            if let Some(changed) = database::in_time(database::SHORT, recorded).await? {
                self.keys.refuse(changed.to_string());
                return Ok(None);
            }
            self.recorded = vkeys;
        }
        self.keys.accept();
        Ok(Some(keys))
    }

    /// Signs heads of trees of tenants, appends them to the installation's tree, and signs the head of that.
    async fn sign(&mut self, keys: &LogKeys, trees: &[Tree]) -> Result<(), TermEnded> {
        let known = evidence_log::installation_tree(&mut self.connection, self.era).await?;
        let mut installation = known.unwrap_or_else(|| {
            Tree::new(identifiers::new_id(), TreeOwner::Installation { era: self.era }, self.era)
        });
        let mut signed = Vec::with_capacity(trees.len() + 1);
        for (number, tree) in trees.iter().enumerate() {
            if number % SIGNATURES_AT_ONCE == SIGNATURES_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let mut checkpoint = sign_head(keys, tree)?;
            let salt = self.key_of(tree).await?.checkpoint_salt(tree.size());
            let log_id = tree.log_id().to_string();
            let leaf = CheckpointLeaf { log_id: &log_id, signed_checkpoint: &checkpoint.note };
            checkpoint.entry = Some((installation.log_id(), installation.size()));
            installation.append(Hash::of_leaf(leaf.entry(&salt)?.as_bytes()), None);
            signed.push(checkpoint);
        }
        signed.push(sign_head(keys, &installation)?);

        let epoch = self.leadership.epoch();
        let mut transaction = begin(&mut self.connection).await?;
        checkpoints::keep(&mut transaction, &[ROLE], epoch).await?;
        evidence_log::insert_tiles(&mut transaction, std::iter::once(&mut installation)).await?;
        evidence_log::write_trees(&mut transaction, &[&installation]).await?;
        let log_id = installation.log_id();
        evidence_log::restrict_publication(&mut transaction, log_id, self.requires_witnesses).await?;
        evidence_log::insert_checkpoints(&mut transaction, &signed).await?;
        transaction.commit().await?;
        self.signed.send_replace(());
        Ok(())
    }

    /// Sets the metrics, once in [`MEASURE_INTERVAL`].
    pub(super) async fn measure(&mut self) -> Result<(), TermEnded> {
        if self.measured_at.is_none_or(|at| at.elapsed() >= MEASURE_INTERVAL) {
            database::in_time(database::SHORT, health::measure(&mut self.connection)).await?;
            self.measured_at = Some(Instant::now());
        }
        Ok(())
    }
}

/// Appends a leaf for each fact to the tree of its tenant.
async fn append_leaves(trees: &mut HashMap<Uuid, Growing>, facts: &[FactRow<&str>]) -> Result<(), TermEnded> {
    for facts in facts.chunks(LEAVES_AT_ONCE) {
        tokio::task::yield_now().await;
        let leaves = facts.iter().filter_map(|fact| Some((&trees.get(&fact.tenant_id)?.key, fact.leaf())));
        let mut hashes = leaf::fact_hashes(leaves).into_iter();
        for fact in facts {
            let Some(growing) = trees.get_mut(&fact.tenant_id) else { continue };
            let Some(hash) = hashes.next() else { continue };
            let position = fact.log_position();
            growing.tree.append(hash.map_err(|source| TermEnded::Fact { position, source })?, Some(position));
        }
    }
    Ok(())
}

/// Begins a transaction that appends no facts.
pub(super) async fn begin(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    event_store::mark_non_appending(&mut transaction).await?;
    Ok(transaction)
}

fn sign_head(keys: &LogKeys, tree: &Tree) -> Result<NewCheckpoint, TermEnded> {
    let origin = evidence_log::origin(keys.name(), tree.owner(), tree.log_id())?;
    let head = tree.head();
    Ok(NewCheckpoint {
        log_id: tree.log_id(),
        tenant_id: tree.owner().tenant_id(),
        size: head.size,
        note: keys.sign(Checkpoint { origin, tree: head }).to_string(),
        entry: None,
    })
}

fn random_key() -> EvidenceKey {
    EvidenceKey::new(&rand::random())
}
