//! The loop of a worker: receives jobs, a bounded number at a time, and acknowledges each once its outcome is
//! in the log.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::concurrency_limit::{ConcurrencyLimit, Permit};
use super::delivery::{AttemptRunner, DeliveryFailure, JobResult};
use crate::queue::{Delivery, Job, JobQueue};

/// Pause before a job is requeued because a dependency is unavailable.
const REQUEUE_DELAY: Duration = Duration::from_secs(1);

/// Processes jobs until `stop`, within `limit`, then waits for those in progress.
pub(super) async fn consume(
    runner: Arc<AttemptRunner>,
    queue: Arc<dyn JobQueue>,
    limit: ConcurrencyLimit,
    prefetch: NonZeroU16,
    stop: CancellationToken,
) {
    let in_progress = TaskTracker::new();
    let mut deliveries = queue.consume(prefetch, stop.clone());
    // The permit is acquired first: a job that is received can be processed at once.
    while let Some(permit) = limit.acquire().await {
        let Some(delivery) = deliveries.recv().await else { break };
        let runner = Arc::clone(&runner);
        in_progress.spawn(async move {
            process(&runner, delivery, permit).await;
        });
    }
    in_progress.close();
    in_progress.wait().await;
}

async fn process(runner: &AttemptRunner, delivery: Delivery, mut permit: Permit) {
    let job = *delivery.job();
    match runner.run(&job, &mut permit).await {
        Ok(JobResult::Attempted(outcome)) => {
            tracing::debug!(event.id = %job.event_id, attempt = job.attempt, outcome = outcome.name(), "attempt recorded");
            delivery.ack();
        }
        Ok(JobResult::Void) => delivery.ack(),
        Ok(JobResult::TooLate) => {
            tracing::warn!(event.id = %job.event_id, attempt = job.attempt, "the dispatcher gave the attempt up before its outcome was recorded");
            delivery.ack();
        }
        Err(failure) => fail(&job, delivery, failure).await,
    }
}

/// Requeues a job that failed before its attempt, after a pause. A job that failed after it is acknowledged:
/// the dispatcher finds an attempt without an outcome.
async fn fail(job: &Job, delivery: Delivery, failure: DeliveryFailure) {
    let is_before_attempt = failure.is_before_attempt();
    tracing::warn!(
        event.id = %job.event_id,
        attempt = job.attempt,
        error = ?anyhow::Error::from(failure),
        "processing a job failed"
    );
    if is_before_attempt {
        tokio::time::sleep(REQUEUE_DELAY).await;
        delivery.requeue();
    } else {
        delivery.ack();
    }
}
