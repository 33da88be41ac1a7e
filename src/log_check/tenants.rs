//! The logs of tenants, one for each tenant and era, which get the facts of their tenant one after another.

use std::collections::{HashMap, VecDeque};

use evidence::leaf::ContinuationLeaf;
use evidence::tree::Hash;
use sqlx::PgConnection;
use uuid::Uuid;

use super::checkpoints::Checkpoints;
use super::facts::Leaf;
use super::tree::{self, Ended, Entry, TreeCheck};
use crate::bundle::BadPosition;
use crate::evidence_log::StoredTree;

/// Logs of all tenants.
pub(super) struct Tenants {
    /// Those that are not full, oldest first. The first one gets the next fact.
    logs: HashMap<Uuid, VecDeque<TreeCheck>>,
    ended: Vec<Ended>,
    /// The first fact without log, of each tenant.
    strays: HashMap<Uuid, BadPosition>,
}

impl Tenants {
    pub(super) fn new(trees: Vec<StoredTree>, signed: &mut Checkpoints) -> Self {
        let mut logs: HashMap<Uuid, VecDeque<TreeCheck>> = HashMap::new();
        for tree in trees {
            let tenant = tree.owner.tenant_id().unwrap_or_default();
            logs.entry(tenant).or_default().push_back(signed.check_of(tree));
        }
        Self { logs, ended: vec![], strays: HashMap::new() }
    }

    /// Appends facts in the order of the event log.
    pub(super) async fn append(
        &mut self,
        connection: &mut PgConnection,
        leaves: Vec<Leaf>,
    ) -> Result<(), sqlx::Error> {
        for leaf in leaves {
            while self.logs.get(&leaf.tenant).is_some_and(is_full) {
                self.end_first(connection, leaf.tenant).await?;
            }
            match self.logs.get_mut(&leaf.tenant).and_then(VecDeque::front_mut) {
                Some(log) => {
                    let entry = Entry { position: Some(leaf.position), hash: leaf.hash };
                    log.push(entry, leaf.bad_contents);
                }
                None => {
                    let position = leaf.position;
                    self.strays.entry(leaf.tenant).or_insert_with(|| BadPosition {
                        problem: format!(
                            "tenant {}: a fact was inserted at transaction {}, position {}: no log has it",
                            leaf.tenant, position.transaction_id, position.position
                        ),
                        ..BadPosition::default()
                    });
                }
            }
        }
        self.compare(connection, None).await
    }

    /// Compares all full tiles, of all logs or of those of a tenant.
    async fn compare(
        &mut self,
        connection: &mut PgConnection,
        tenant: Option<Uuid>,
    ) -> Result<(), sqlx::Error> {
        let mut growing: Vec<&mut TreeCheck> = self
            .logs
            .iter_mut()
            .filter(|(id, _)| tenant.is_none_or(|tenant| tenant == **id))
            .filter_map(|(_, logs)| logs.front_mut())
            .collect();
        compare_full(connection, &mut growing).await
    }

    /// Ends the first log of a tenant. The next one begins with an entry that names its head.
    async fn end_first(&mut self, connection: &mut PgConnection, tenant: Uuid) -> Result<(), sqlx::Error> {
        self.compare(connection, Some(tenant)).await?;
        let Some(logs) = self.logs.get_mut(&tenant) else { return Ok(()) };
        let Some(mut log) = logs.pop_front() else { return Ok(()) };
        log.compare_edge();
        if let Some(next) = logs.front_mut().filter(|next| next.stored.continues == Some(log.log_id())) {
            let leaf = ContinuationLeaf { log_id: &log.log_id().to_string(), tree: log.head() };
            let hash = leaf.entry().ok().map(|entry| Hash::of_leaf(entry.as_bytes()));
            next.push(Entry { position: None, hash }, None);
        }
        self.ended.push(log.finish(connection).await?);
        Ok(())
    }

    /// Ends all logs.
    pub(super) async fn finish(mut self, connection: &mut PgConnection) -> Result<Vec<Ended>, sqlx::Error> {
        let mut tenants: Vec<Uuid> = self.logs.keys().copied().collect();
        tenants.sort();
        for tenant in tenants {
            while self.logs.get(&tenant).is_some_and(|logs| !logs.is_empty()) {
                self.end_first(connection, tenant).await?;
            }
        }
        self.ended.extend(self.strays.into_values().map(|problem| Ended {
            log: None,
            facts: 0,
            erased: 0,
            unsealed: 0,
            problems: vec![problem],
        }));
        Ok(self.ended)
    }
}

/// Whether the first of these logs has all of its entries.
fn is_full(logs: &VecDeque<TreeCheck>) -> bool {
    logs.front().is_some_and(|log| log.size() >= log.stored.size)
}

/// Compares the full tiles of logs with those that are stored, with two queries for all of them.
pub(super) async fn compare_full(
    connection: &mut PgConnection,
    logs: &mut [&mut TreeCheck],
) -> Result<(), sqlx::Error> {
    let wanted: Vec<_> = logs.iter().flat_map(|log| log.full_tiles()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let stored = tree::read_tiles(connection, &wanted).await?;
    logs.iter_mut().for_each(|log| log.compare_full(&stored));
    let above: Vec<_> = logs.iter().flat_map(|log| log.tiles_above()).collect();
    let stored = tree::read_tiles(connection, &above).await?;
    logs.iter_mut().for_each(|log| log.compare_above(&stored));
    Ok(())
}
