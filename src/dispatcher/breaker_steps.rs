//! Steps of circuit breakers, taken in a task of their own, because thousands of destinations may fail at once
//! while the jobs of all others are to be released.
//!
//! A step loads nothing of the destination: the dispatcher has folded its stream, so the fact is appended at the
//! version that was folded. When there is a newer fact, the append conflicts, and the step follows from the state
//! with that fact. When another process has taken the lead, nothing is appended.

use std::collections::HashMap;
use std::sync::Arc;

use aggregates::circuit_breaker::BreakerStep;
use aggregates::destination::Destination;
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId};
use aggregates::tenant::{Resilience, Tenant, TenantFact};
use chrono::{DateTime, Utc};
use projections::LoggedFact;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::lane::LaneState;
use crate::event_store::{EventStore, Metadata, StreamAppend, StreamAppendResult, stream_reader};

/// A step and the state from which it follows.
pub(super) type LaneStep = (DestinationId, LaneState, BreakerStep);

/// The task that takes steps, a batch at a time.
pub(super) struct BreakerSteps {
    store: EventStore,
    /// The term's epoch.
    epoch: u64,
    /// In seconds.
    pause_min: u32,
    batch: Option<Batch>,
    ended: Arc<Notify>,
}

/// Steps that are being taken.
struct Batch {
    destinations: Vec<DestinationId>,
    /// The destinations whose step failed.
    failed: oneshot::Receiver<Vec<DestinationId>>,
}

impl BreakerSteps {
    pub(super) fn new(store: EventStore, epoch: u64, pause_min: u32) -> Self {
        Self { store, epoch, pause_min, batch: None, ended: Arc::default() }
    }

    /// Begins to take steps, when no batch is in progress.
    pub(super) fn begin(&mut self, steps: Vec<LaneStep>, at: DateTime<Utc>, tasks: &TaskTracker) {
        let destinations = steps.iter().map(|(id, ..)| *id).collect();
        let (answer, failed) = oneshot::channel();
        let (store, epoch, pause_min) = (self.store.clone(), self.epoch, self.pause_min);
        let ended = Arc::clone(&self.ended);
        tasks.spawn(async move {
            // It is not received when the term has ended meanwhile.
            drop(answer.send(take(&store, epoch, pause_min, &steps, at).await));
            ended.notify_one();
        });
        self.batch = Some(Batch { destinations, failed });
    }

    /// Returns the destinations whose step failed in the last batch; `None` while it is in progress.
    pub(super) fn failed(&mut self) -> Option<Vec<DestinationId>> {
        let Some(batch) = &mut self.batch else { return Some(vec![]) };
        let failed = match batch.failed.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => return None,
            Err(oneshot::error::TryRecvError::Closed) => std::mem::take(&mut batch.destinations),
            Ok(failed) => failed,
        };
        self.batch = None;
        Some(failed)
    }

    /// Waits for the end of a batch.
    pub(super) async fn ended(&self) {
        self.ended.notified().await;
    }
}

async fn take(
    store: &EventStore,
    epoch: u64,
    pause_min: u32,
    steps: &[LaneStep],
    at: DateTime<Utc>,
) -> Vec<DestinationId> {
    match append(store, epoch, pause_min, steps, at).await {
        Ok(conflicts) => conflicts,
        Err(error) => {
            tracing::warn!(
                destinations = steps.len(),
                error = ?error,
                "circuit breaker transitions failed, will retry"
            );
            steps.iter().map(|(id, ..)| *id).collect()
        }
    }
}

/// Appends the facts of steps. Returns the destinations that have a newer fact.
async fn append(
    store: &EventStore,
    epoch: u64,
    pause_min: u32,
    steps: &[LaneStep],
    at: DateTime<Utc>,
) -> anyhow::Result<Vec<DestinationId>> {
    let opening = steps.iter().filter(|(.., step)| *step == BreakerStep::Open);
    let policies = resilience(store, opening.map(|(_, lane, _)| lane.tenant_id)).await?;
    let appends = steps.iter().map(|(id, lane, step)| {
        let timer = policies.get(&lane.tenant_id).copied().unwrap_or_default().circuit_breaker_timer;
        let fact = lane.breaker.transition(*step, timer.max(pause_min), at);
        let metadata = Metadata::of_role(lane.tenant_id, "dispatcher");
        StreamAppend::new::<Destination>(id.0, lane.version, fact.as_slice(), &metadata)
    });
    let appends = appends.collect::<Result<Vec<_>, _>>()?;
    let results = store.append_in_epoch(epoch, &appends).await?;
    let mut conflicts = vec![];
    for ((id, _, step), result) in steps.iter().zip(results) {
        match result {
            StreamAppendResult::Recorded => {
                tracing::info!(destination.id = %id, step = ?step, "circuit breaker transition");
            }
            StreamAppendResult::Conflict => conflicts.push(*id),
        }
    }
    Ok(conflicts)
}

/// Returns the retry policies of tenants, from their streams. One that cannot be read is left out.
///
/// # Errors
/// When the database fails.
pub(super) async fn resilience(
    store: &EventStore,
    tenants: impl Iterator<Item = TenantId>,
) -> Result<HashMap<TenantId, Resilience>, sqlx::Error> {
    let mut tenants: Vec<Uuid> = tenants.map(|tenant| tenant.0).collect();
    tenants.sort_unstable();
    tenants.dedup();
    if tenants.is_empty() {
        return Ok(HashMap::new());
    }
    let mut connection = store.pool().acquire().await?;
    let names = ["TenantRegistered", "ResilienceChanged"];
    let rows = stream_reader::last_facts::<Tenant>(&mut connection, &tenants, &names).await?;
    let mut policies = HashMap::new();
    for row in rows {
        match LoggedFact::try_from(row) {
            Ok(LoggedFact {
                stream_id,
                fact:
                    Fact::Tenant(
                        TenantFact::TenantRegistered { resilience, .. }
                        | TenantFact::ResilienceChanged { resilience, .. },
                    ),
                ..
            }) => {
                policies.insert(TenantId(stream_id), resilience);
            }
            Ok(_) => {}
            // The steps of the other tenants must not wait for a newer version of this program.
            Err(error) => {
                tracing::error!(error = ?anyhow::Error::from(error), "a retry policy cannot be read")
            }
        }
    }
    Ok(policies)
}
