//! The dispatcher's hand to the queue: a task that publishes batch after batch, so that waiting for the
//! broker's confirms holds up neither the log nor the clock. A few batches are on their way at once: a job
//! does not wait for the confirm of the one before it.
//!
//! A batch the queue does not take is tried again until it does or the term ends. Meanwhile the channel
//! in front of it fills up and the dispatcher releases nothing more: a broker that is away costs a
//! bounded number of jobs in memory, and everything else stays where it is, in the tables.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::due_deliveries::DueDelivery;
use crate::queue::{Job, JobQueue};

/// Batches on their way to the queue, at most.
const BATCHES_MAX: usize = 8;
/// Batches that wait for their confirms at once.
const UNDER_WAY_MAX: usize = 4;
/// How long to wait before publishing again after a failure that did not itself take time.
const PUBLISH_AGAIN_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Publisher {
    batches: mpsc::Sender<Vec<Job>>,
    epoch: u64,
}

/// Room for one batch.
pub(super) struct Room<'a> {
    permit: mpsc::Permit<'a, Vec<Job>>,
    epoch: u64,
}

impl Publisher {
    pub(super) fn start(
        queue: Arc<dyn JobQueue>,
        epoch: u64,
        tasks: &TaskTracker,
        term_over: CancellationToken,
    ) -> Self {
        let (batches, waiting) = mpsc::channel(BATCHES_MAX);
        tasks.spawn(async move {
            term_over.run_until_cancelled(publish_all(&*queue, waiting)).await;
        });
        Self { batches, epoch }
    }

    /// Room for a batch, if there is any.
    pub(super) fn room(&self) -> Option<Room<'_>> {
        let permit = self.batches.try_reserve().ok()?;
        Some(Room { permit, epoch: self.epoch })
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.batches.capacity() == 0
    }

    /// Waits until there is room.
    pub(super) async fn ready(&self) {
        // The permit is given back at once: nobody else takes one before the next look.
        drop(self.batches.reserve().await);
    }
}

impl Room<'_> {
    /// Hands over deliveries, each with the version at which its destination entered its stage.
    pub(super) fn publish(self, deliveries: &[(DueDelivery, u64)]) {
        if deliveries.is_empty() {
            return;
        }
        let epoch = self.epoch;
        let job_of = |(delivery, stage_version): &(DueDelivery, u64)| Job {
            event_id: delivery.event_id,
            tenant_id: delivery.tenant_id,
            destination_id: delivery.destination_id,
            stream_version: delivery.stream_version,
            attempt: delivery.attempts + 1,
            failed_attempts: delivery.failed_attempts,
            unknown_in_a_row: delivery.unknown_in_a_row,
            epoch,
            stage_version: *stage_version,
            accepted_at_ms: None,
        };
        self.permit.send(deliveries.iter().map(job_of).collect());
    }
}

async fn publish_all(queue: &dyn JobQueue, mut waiting: mpsc::Receiver<Vec<Job>>) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = under_way.next() => {}
            jobs = waiting.recv(), if under_way.len() < UNDER_WAY_MAX => {
                let Some(mut jobs) = jobs else { break };
                while let Ok(more) = waiting.try_recv() {
                    jobs.extend(more);
                }
                under_way.push(publish(queue, jobs));
            }
        }
    }
    while let Some(()) = under_way.next().await {}
}

async fn publish(queue: &dyn JobQueue, jobs: Vec<Job>) {
    let mut complained = false;
    while let Err(failure) = queue.publish(&jobs).await {
        if !complained {
            tracing::warn!(error = %failure, jobs = jobs.len(), "jobs are not published; they are tried again until they are");
        }
        complained = true;
        tokio::time::sleep(PUBLISH_AGAIN_AFTER).await;
    }
}
