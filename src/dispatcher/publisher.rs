//! Publishing jobs in a task of its own, so that waiting for the broker's confirms blocks neither the reading of
//! the log nor the deadlines. A few batches wait for their confirms at once: a job does not wait for the confirm
//! of the one before it.
//!
//! A batch that the queue does not take is published again until it is taken or the term ends. Meanwhile the
//! channel in front of the task fills up and the dispatcher releases nothing more: a broker outage costs a
//! bounded number of jobs in memory, and everything else stays in the tables. If it is the connection that is
//! lost, another dispatcher may have a better one: see [`Publisher::broker_out_of_reach`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::lifecycle::HelperTasks;
use crate::queue::{Job, JobQueue, PublishFailure};

/// Batches that wait for the publishing task.
const BATCHES_MAX: usize = 8;
/// Batches that wait for their confirms at once.
const UNCONFIRMED_BATCHES_MAX: usize = 4;
/// Delay before publishing again, after a failure that did not itself take time.
const PUBLISH_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Time without a confirm, while jobs are published, after which the broker counts as out of reach. Twice the
/// timeout of a publish. Higher: a standby takes over later. Lower: a leader election of the broker moves the lead.
const OUT_OF_REACH_AFTER: Duration = Duration::from_secs(10);

pub(super) struct Publisher {
    batches: mpsc::Sender<Vec<Job>>,
    out_of_reach: watch::Receiver<bool>,
}

/// Progress of the batches of a term.
struct Confirms {
    /// Time of the last confirm of a batch.
    last: Mutex<Instant>,
    out_of_reach: watch::Sender<bool>,
}

impl Publisher {
    /// Starts the publishing task, which ends with `term_over`.
    pub(super) fn start(queue: Arc<dyn JobQueue>, tasks: &HelperTasks, term_over: CancellationToken) -> Self {
        let (batches, waiting) = mpsc::channel(BATCHES_MAX);
        let (report, out_of_reach) = watch::channel(false);
        let confirms = Confirms { last: Mutex::new(Instant::now()), out_of_reach: report };
        tasks.spawn("the publisher of jobs", async move {
            term_over.run_until_cancelled(publish_all(&*queue, waiting, &confirms)).await;
        });
        Self { batches, out_of_reach }
    }

    /// Waits until jobs have found no broker for [`OUT_OF_REACH_AFTER`]. A broker that refuses jobs, because its
    /// queue is full or its memory is short, would refuse those of another process as well.
    pub(super) fn broker_out_of_reach(&self) -> impl Future<Output = ()> + use<> {
        let mut out_of_reach = self.out_of_reach.clone();
        async move {
            if out_of_reach.wait_for(|out_of_reach| *out_of_reach).await.is_err() {
                // The task has ended with the term.
                std::future::pending().await
            }
        }
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

async fn publish_all(queue: &dyn JobQueue, mut waiting: mpsc::Receiver<Vec<Job>>, confirms: &Confirms) {
    let mut unconfirmed = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = unconfirmed.next() => {}
            jobs = waiting.recv(), if unconfirmed.len() < UNCONFIRMED_BATCHES_MAX => {
                let Some(mut jobs) = jobs else { break };
                while let Ok(more) = waiting.try_recv() {
                    jobs.extend(more);
                }
                unconfirmed.push(publish(queue, jobs, confirms));
            }
        }
    }
    while let Some(()) = unconfirmed.next().await {}
}

async fn publish(queue: &dyn JobQueue, jobs: Vec<Job>, confirms: &Confirms) {
    let began = Instant::now();
    let mut is_logged = false;
    while let Err(failure) = queue.publish(&jobs).await {
        if matches!(failure, PublishFailure::Disconnected | PublishFailure::Unconfirmed) {
            confirms.record_failure(began);
        }
        if !is_logged {
            tracing::warn!(error = %failure, jobs = jobs.len(), "publishing jobs failed, will retry");
        }
        is_logged = true;
        tokio::time::sleep(PUBLISH_AGAIN_AFTER).await;
    }
    confirms.record_confirm();
}

impl Confirms {
    fn record_confirm(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Records that a batch, which is published since `began`, found no broker.
    fn record_failure(&self, began: Instant) {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if began.max(last).elapsed() >= OUT_OF_REACH_AFTER {
            self.out_of_reach.send_replace(true);
        }
    }
}
