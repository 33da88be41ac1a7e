//! Publishing jobs in a task of its own, so that waiting for the broker's confirms blocks neither the reading of
//! the log nor the deadlines. A few batches wait for their confirms at once: a job does not wait for the confirm
//! of the one before it.
//!
//! A batch that the queue does not take is published again until it is taken or the term ends. Meanwhile the
//! channel in front of the task fills up and the dispatcher releases nothing more: a broker outage costs a
//! bounded number of jobs in memory, and everything else stays in the tables.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::queue::{Job, JobQueue};

/// Batches that wait for the publishing task.
const BATCHES_MAX: usize = 8;
/// Batches that wait for their confirms at once.
const UNCONFIRMED_BATCHES_MAX: usize = 4;
/// Delay before publishing again, after a failure that did not itself take time.
const PUBLISH_AGAIN_AFTER: Duration = Duration::from_millis(200);

pub(super) struct Publisher {
    batches: mpsc::Sender<Vec<Job>>,
}

impl Publisher {
    /// Starts the publishing task, which ends with `term_over`.
    pub(super) fn start(queue: Arc<dyn JobQueue>, tasks: &TaskTracker, term_over: CancellationToken) -> Self {
        let (batches, waiting) = mpsc::channel(BATCHES_MAX);
        tasks.spawn(async move {
            term_over.run_until_cancelled(publish_all(&*queue, waiting)).await;
        });
        Self { batches }
    }

    /// Whether another batch is taken.
    pub(super) fn can_publish(&self) -> bool {
        self.batches.capacity() > 0
    }

    /// Waits until another batch is taken.
    pub(super) async fn ready(&self) {
        // The permit is dropped at once: the dispatcher is the only sender, so no other takes it.
        drop(self.batches.reserve().await);
    }

    /// Hands over a batch, after [`Self::can_publish`] has returned true. A batch that is not taken, because the
    /// term is over, is published again by the next leader.
    pub(super) fn publish(&self, jobs: Vec<Job>) {
        if let Err(error) = self.batches.try_send(jobs) {
            tracing::debug!(error = %error, "jobs not published");
        }
    }
}

async fn publish_all(queue: &dyn JobQueue, mut waiting: mpsc::Receiver<Vec<Job>>) {
    let mut unconfirmed = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = unconfirmed.next() => {}
            jobs = waiting.recv(), if unconfirmed.len() < UNCONFIRMED_BATCHES_MAX => {
                let Some(mut jobs) = jobs else { break };
                while let Ok(more) = waiting.try_recv() {
                    jobs.extend(more);
                }
                unconfirmed.push(publish(queue, jobs));
            }
        }
    }
    while let Some(()) = unconfirmed.next().await {}
}

async fn publish(queue: &dyn JobQueue, jobs: Vec<Job>) {
    let mut is_logged = false;
    while let Err(failure) = queue.publish(&jobs).await {
        if !is_logged {
            tracing::warn!(error = %failure, jobs = jobs.len(), "publishing jobs failed, will retry");
        }
        is_logged = true;
        tokio::time::sleep(PUBLISH_AGAIN_AFTER).await;
    }
}
