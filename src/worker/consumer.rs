//! The worker's loop: takes jobs, a bounded number at a time, and acknowledges each once its outcome is
//! in the log.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::concurrency_limit::{ConcurrencyLimit, Permit};
use super::delivery::{Deliverer, DeliveryFailure, Done};
use crate::queue::{Delivery, JobQueue};

/// How long a job is held before it goes back because something it needs is away.
const HOLD_BEFORE_REQUEUE: Duration = Duration::from_secs(1);

/// Takes jobs until `stop`, as long as there is `room`, then waits for those in hand.
pub(super) async fn consume(
    deliverer: Arc<Deliverer>,
    queue: Arc<dyn JobQueue>,
    room: ConcurrencyLimit,
    prefetch: NonZeroU16,
    stop: CancellationToken,
) {
    let in_hand = TaskTracker::new();
    let mut deliveries = queue.consume(prefetch, stop.clone());
    // The place comes first: a job is not taken that nobody could attend to.
    while let Some(place) = room.place().await {
        let Some(delivery) = deliveries.recv().await else { break };
        let deliverer = Arc::clone(&deliverer);
        in_hand.spawn(async move {
            attend(&deliverer, delivery, place).await;
        });
    }
    in_hand.close();
    in_hand.wait().await;
}

async fn attend(deliverer: &Deliverer, delivery: Delivery, mut place: Permit) {
    let job = *delivery.job();
    match deliverer.deliver(&job, &mut place).await {
        Ok(Done::Attempted(outcome)) => {
            tracing::debug!(event.id = %job.event_id, attempt = job.attempt, outcome = outcome.name(), "attempted");
            delivery.ack();
        }
        Ok(Done::Dropped) => delivery.ack(),
        Ok(Done::TooLate) => {
            tracing::warn!(event.id = %job.event_id, attempt = job.attempt, "the attempt was given up before its outcome came");
            delivery.ack();
        }
        Err(failure) => give_back(&job, delivery, failure).await,
    }
}

/// What failed before the attempt goes back to the queue after a pause; what failed after it is left to
/// the dispatcher, which finds an attempt without an outcome.
async fn give_back(job: &crate::queue::Job, delivery: Delivery, failure: DeliveryFailure) {
    let is_before_the_attempt = failure.is_before_the_attempt();
    tracing::warn!(
        event.id = %job.event_id,
        attempt = job.attempt,
        error = ?anyhow::Error::from(failure),
        "a job is not done"
    );
    if is_before_the_attempt {
        tokio::time::sleep(HOLD_BEFORE_REQUEUE).await;
        delivery.requeue();
    } else {
        delivery.ack();
    }
}
