//! Which entries of which logs a bundle gets.

use std::collections::BTreeSet;
use std::ops::Range;

use aggregates::destination::Destination;
use aggregates::ids::DestinationId;
use aggregates::webhook_event::WebhookEvent;
use cqrs_es::Aggregate;
use evidence::tree::TILE_WIDTH;
use projections::paging::{Direction, Page};
use projections::{LogPosition, TenantScope};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ExportFailure, Source};
use crate::bundle::format::Selection;
use crate::evidence_log::{self, FactRow, ReadFailure, Stamped, StoredCheckpoint, Tree};

/// Number of facts of a stream that are read at once.
const PAGE_FACTS: i64 = 256;

/// What is exported.
pub(super) struct Plan {
    pub(super) parts: Vec<Part>,
    pub(super) unsealed_facts: u64,
}

/// Part of a log that is exported, up to a signed checkpoint that the log of the installation proves: the last one, or the
/// first that has the wanted entries if that has a time stamp.
pub(super) struct Part {
    pub(super) tree: Tree,
    pub(super) checkpoint: StoredCheckpoint,
    pub(super) wanted: Wanted,
    /// The checkpoint of the installation in which this one is proved; `None`: the last that is shown.
    pub(super) stamped: Option<Stamped>,
}

/// Entries of a log.
pub(super) enum Wanted {
    These(BTreeSet<u64>),
    All(Range<u64>),
    /// Those in a range that concern a destination.
    Of(DestinationId, Range<u64>),
}

impl Wanted {
    /// Every entry of this range is wanted; `None`: some entries.
    pub(super) fn range(&self) -> Option<&Range<u64>> {
        match self {
            Self::All(range) => Some(range),
            Self::These(_) | Self::Of(..) => None,
        }
    }

    /// Index after the last wanted entry.
    fn end(&self) -> u64 {
        match self {
            Self::These(indexes) => indexes.last().map_or(0, |last| last + 1),
            Self::All(range) | Self::Of(_, range) => range.end,
        }
    }

    pub(super) fn contains(&self, index: u64) -> bool {
        match self {
            Self::These(indexes) => indexes.contains(&index),
            Self::All(range) | Self::Of(_, range) => range.contains(&index),
        }
    }

    /// Returns the tiles of level 0 that may have wanted entries, in their order.
    pub(super) fn tiles(&self) -> Vec<u64> {
        let width = TILE_WIDTH as u64;
        match self {
            Self::These(indexes) => {
                let tiles: BTreeSet<u64> = indexes.iter().map(|index| index / width).collect();
                tiles.into_iter().collect()
            }
            Self::All(range) | Self::Of(_, range) => {
                (range.start / width..range.end.div_ceil(width)).collect()
            }
        }
    }
}

/// Logs of a tenant with their last checkpoints, oldest first.
type Logs = Vec<(Tree, StoredCheckpoint)>;

/// Looks up the entries that are exported.
///
/// # Errors
/// See [`ExportFailure`].
pub(super) async fn plan(source: &mut Source, selection: Selection) -> Result<Plan, ExportFailure> {
    let published = evidence_log::published_sizes(&mut *source.pool.acquire().await?).await?;
    let mut scope = TenantScope::begin(&source.pool, source.tenant).await?;
    let trees = evidence_log::trees_of_tenant(scope.connection(), source.tenant).await?;
    let mut logs = Logs::with_capacity(trees.len());
    let mut unsealed_facts = 0;
    for tree in trees {
        let checkpoint =
            evidence_log::last_provable_checkpoint(scope.connection(), &tree, &published).await?;
        unsealed_facts += tree.size() - checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        logs.extend(checkpoint.map(|checkpoint| (tree, checkpoint)));
    }
    let parts = match selection {
        Selection::Event(id) => {
            let wanted = of_event(&mut scope, &logs, id).await?;
            unsealed_facts = wanted.unsealed_facts;
            wanted.indexes.into_iter().map(Wanted::These).collect()
        }
        Selection::Destination(id) => {
            let page = facts_of::<Destination>(&mut scope, id, 0).await?;
            if page.is_empty() {
                return Err(unknown(source, "destination", id));
            }
            logs.iter().map(|(_, checkpoint)| Wanted::Of(id.into(), 0..checkpoint.size)).collect()
        }
        Selection::Recorded { from, to } => {
            let between =
                evidence_log::positions_between(&mut source.connection, source.tenant, from, to).await?;
            let (first, last) = between.ok_or(ExportFailure::NoFacts(source.tenant))?;
            range(scope.connection(), &logs, first, last).await?
        }
    };
    scope.end().await?;
    let parts = logs.into_iter().zip(parts).map(|((tree, checkpoint), wanted)| Part {
        tree,
        checkpoint,
        wanted,
        stamped: None,
    });
    let mut parts: Vec<Part> = parts.filter(|part| !part.wanted.tiles().is_empty()).collect();
    if parts.is_empty() {
        return Err(match selection {
            Selection::Event(id) if unsealed_facts == 0 => unknown(source, "webhook event", id),
            _ => ExportFailure::Unsealed,
        });
    }
    for part in &mut parts {
        find_time_stamp(source, part).await?;
    }
    Ok(Plan { parts, unsealed_facts })
}

/// Exchanges the checkpoint of a part for the first one that has all wanted entries, if that has a time stamp. The earlier
/// it is, the more the time stamp says.
async fn find_time_stamp(source: &Source, part: &mut Part) -> Result<(), ExportFailure> {
    let mut scope = TenantScope::begin(&source.pool, source.tenant).await?;
    let first =
        evidence_log::first_checkpoint(scope.connection(), part.tree.log_id(), part.wanted.end()).await?;
    scope.end().await?;
    let Some((first, (log_id, index))) = first.and_then(|first| first.installation.map(|of| (first, of)))
    else {
        return Ok(());
    };
    let mut connection = source.pool.acquire().await?;
    part.stamped = evidence_log::first_stamped(&mut connection, log_id, index).await?;
    if part.stamped.is_some() {
        part.checkpoint = first;
    }
    Ok(())
}

fn unknown(source: &Source, what: &'static str, id: Uuid) -> ExportFailure {
    ExportFailure::Unknown { tenant: source.tenant, what, id }
}

async fn facts_of<A: Aggregate>(
    scope: &mut TenantScope,
    id: Uuid,
    offset: i64,
) -> Result<Vec<FactRow>, sqlx::Error> {
    let (tenant, page) = (scope.tenant_id(), Page { limit: PAGE_FACTS, offset });
    let ascending = Direction::Ascending;
    let listed = evidence_log::facts_of_stream::<A>(scope.connection(), tenant, id, ascending, page).await?;
    Ok(listed.items)
}

#[derive(Default)]
struct OfEvent {
    /// For each log.
    indexes: Vec<BTreeSet<u64>>,
    unsealed_facts: u64,
}

async fn of_event(scope: &mut TenantScope, logs: &Logs, id: Uuid) -> Result<OfEvent, ExportFailure> {
    let mut wanted = OfEvent { indexes: vec![BTreeSet::new(); logs.len()], unsealed_facts: 0 };
    let mut offset = 0;
    loop {
        let facts = facts_of::<WebhookEvent>(scope, id, offset).await?;
        for fact in &facts {
            match find(scope.connection(), logs, fact.log_position()).await? {
                Some((log, index)) => drop(wanted.indexes[log].insert(index)),
                None => wanted.unsealed_facts += 1,
            }
        }
        offset += PAGE_FACTS;
        if facts.is_empty() {
            return Ok(wanted);
        }
    }
}

/// Returns the entry of a fact: the number of its log, and its index there. `None`: no checkpoint covers it.
async fn find(
    connection: &mut PgConnection,
    logs: &Logs,
    position: LogPosition,
) -> Result<Option<(usize, u64)>, ReadFailure> {
    let trees: Vec<Tree> = logs.iter().map(|(tree, _)| tree.clone()).collect();
    let Some((tree, index)) = evidence_log::find_fact(connection, &trees, position).await? else {
        return Ok(None);
    };
    let log = logs.iter().position(|(known, _)| known.log_id() == tree.log_id());
    Ok(log.filter(|log| index < logs[*log].1.size).map(|log| (log, index)))
}

/// Returns the entries from one fact to another, for each log, and one entry more at either end.
async fn range(
    connection: &mut PgConnection,
    logs: &Logs,
    first: LogPosition,
    last: LogPosition,
) -> Result<Vec<Wanted>, ExportFailure> {
    let (first_log, first) = find(connection, logs, first).await?.ok_or(ExportFailure::Unsealed)?;
    let found = find(connection, logs, last).await?;
    let (last_log, last) = found.unwrap_or((logs.len() - 1, u64::MAX - 2));
    let range_of = |(log, (_, checkpoint)): (usize, &(Tree, StoredCheckpoint))| {
        let start = if log == first_log { first.saturating_sub(1) } else { 0 };
        let end = if log == last_log { checkpoint.size.min(last + 2) } else { checkpoint.size };
        Wanted::All(if (first_log..=last_log).contains(&log) { start..end } else { 0..0 })
    };
    Ok(logs.iter().enumerate().map(range_of).collect())
}
