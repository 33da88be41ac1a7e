//! Comparison of the transparency logs with the event log: every fact, every tile, every signed checkpoint.
//!
//! The trees of all tenants are computed again from the facts, in one pass over the event log that several tasks share, and
//! compared with what is stored: positions and hashes of each tile, the right edge, and each signed checkpoint. The log of
//! the installation is computed again from the checkpoints. Payloads and responses are compared with the commitments in the
//! facts. Nothing is changed, and the service can continue to run: all is compared up to what was stored at the beginning.
//!
//! Memory grows with the number of tenants, about 30 KiB each, and with the number of checkpoints, 40 bytes each, and not
//! with the number of facts.

mod checkpoints;
mod facts;
mod tenants;
mod tree;

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::available_parallelism;

use aggregates::ids::TenantId;
use evidence::leaf::EvidenceKey;
use evidence::note::VerifierKey;
use futures::{StreamExt, TryStreamExt, stream};
use projections::{LogPosition, checkpoints as readers};
use sqlx::{Connection, PgPool};
use thiserror::Error;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use uuid::Uuid;

use crate::bundle::{LogReport, Report};
use crate::evidence_log::{self, StoredTree, TreeOwner};
use crate::sealer;
use crate::secrets::vault::{Vault, VaultFailure};
use checkpoints::Checkpoints;
use tenants::Tenants;
use tree::Ended;

/// Reason why nothing could be compared.
#[derive(Debug, Error)]
pub(crate) enum CheckFailure {
    #[error("database error")]
    Database(#[from] sqlx::Error),
    #[error("the evidence key of the tenant {tenant} cannot be used")]
    Key { tenant: Uuid, source: VaultFailure },
    #[error("a task ended unexpectedly")]
    Task(#[from] tokio::task::JoinError),
}

/// Keys from which salts follow, by tenant; `None`: the key was deleted.
type Keys = HashMap<Uuid, Option<EvidenceKey>>;

/// Compares the logs of all tenants and of the installation, or those of a tenant.
///
/// # Errors
/// When the database or the vault fails. What differs is in the report.
pub(crate) async fn check(
    pool: &PgPool,
    vault: &Vault,
    trusted: &[VerifierKey],
    tenant: Option<TenantId>,
) -> Result<Report, CheckFailure> {
    let tenant = tenant.map(|tenant| tenant.0);
    // Trees, checkpoints and the position up to which they have facts belong to one snapshot.
    let mut connection = pool.acquire().await?;
    let mut snapshot = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let trees = evidence_log::stored_trees(&mut snapshot, tenant).await?;
    let sealed = readers::load(&mut snapshot, &[sealer::ROLE]).await?.pop();
    let until = sealed.map_or_else(LogPosition::default, |sealed| sealed.position);
    let keys = Arc::new(keys_of(vault, &trees).await?);
    let mut signed = Checkpoints::read(&mut snapshot, trusted, &trees, &keys, tenant).await?;
    snapshot.commit().await?;
    let mut report = Report { subject: subject(tenant), ..Report::default() };
    let (of_tenants, of_installation): (Vec<StoredTree>, Vec<StoredTree>) =
        trees.into_iter().partition(|tree| matches!(tree.owner, TreeOwner::Tenant { .. }));

    let mut tenants = Tenants::new(of_tenants, &mut signed);
    let parts = evidence_log::parts(&mut connection, until).await?;
    let tracker = TaskTracker::new();
    let after = std::iter::once(LogPosition::default()).chain(parts.iter().copied());
    let read = |(after, until)| {
        let part = facts::read(pool.clone(), Arc::clone(&keys), tenant, after, until);
        AbortOnDropHandle::new(tracker.spawn(part))
    };
    let tasks = available_parallelism().map_or(1, usize::from);
    let mut parts = stream::iter(after.zip(parts.iter().copied()).map(read)).buffered(tasks);
    while let Some(part) = parts.try_next().await? {
        let part = part?;
        report.payloads.add(part.payloads);
        report.responses.add(part.responses);
        report.personal.add(part.personal);
        tenants.append(&mut connection, part.leaves).await?;
    }
    for ended in tenants.finish(&mut connection).await? {
        add(&mut report, ended);
    }
    for tree in of_installation {
        let ended = signed.check_installation(&mut connection, tree).await?;
        add(&mut report, ended);
    }
    report.problems.extend(signed.problems);
    report.unsealed_facts += evidence_log::count_after(&mut connection, tenant, until).await?;
    report.verified = report.problems.is_empty();
    Ok(report)
}

fn subject(tenant: Option<Uuid>) -> String {
    match tenant {
        Some(tenant) => format!("logs of tenant {tenant} in the database"),
        None => "logs of all tenants and of the installation in the database".to_owned(),
    }
}

async fn keys_of(vault: &Vault, trees: &[StoredTree]) -> Result<Keys, CheckFailure> {
    let mut keys = Keys::new();
    for tree in trees {
        let TreeOwner::Tenant { id: tenant, data_key } = tree.owner else { continue };
        let key = match vault.evidence_key(TenantId(tenant), Some(data_key)).await {
            Ok((_, key)) => Some(key),
            Err(VaultFailure::UnknownDataKey { .. }) => None,
            Err(source) => return Err(CheckFailure::Key { tenant, source }),
        };
        keys.insert(tenant, key);
    }
    Ok(keys)
}

fn add(report: &mut Report, ended: Ended) {
    let Ended { log, facts, erased, unsealed, problems } = ended;
    report.facts += facts;
    report.erased_facts += erased;
    report.unsealed_facts += unsealed;
    match problems.is_empty() {
        true => report.logs.extend(log),
        false => report.problems.extend(problems),
    }
}

/// Log that holds, for the report.
fn log_report(origin: String, head: &evidence::tree::TreeHead, entries: u64) -> LogReport {
    LogReport {
        origin,
        size: head.size,
        root: head.root.to_string(),
        entries,
        complete: entries.checked_sub(1).map(|last| (0, last)),
        witnesses: vec![],
        has_time_stamp: false,
    }
}

/// Notes what was found, unless something was before.
fn first<T>(known: &mut Option<T>, found: impl FnOnce() -> T) {
    if known.is_none() {
        *known = Some(found());
    }
}
