//! The loop of a worker: receives jobs, a bounded number at a time, gives them permits by turns of the tenants,
//! and acknowledges each once its claim is decided.

use std::collections::{HashMap, HashSet, VecDeque};
use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aggregates::ids::TenantId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::concurrency_limit::{ConcurrencyLimit, Permit};
use super::delivery::{AttemptRunner, Claimed, DeliveryFailure, JobResult};
use crate::event_store::ClaimedPayload;
use crate::queue::{Delivery, Job, JobQueue};

/// Pause before a job is requeued because a dependency is unavailable.
const REQUEUE_DELAY: Duration = Duration::from_secs(1);

/// Processes jobs until `stop`, within `limit`, then waits for all attempts `in_progress`.
pub(super) async fn consume(
    runner: Arc<AttemptRunner>,
    queue: Arc<dyn JobQueue>,
    limit: ConcurrencyLimit,
    prefetch: NonZeroU16,
    in_progress: TaskTracker,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        receive(&runner, &*queue, &limit, prefetch, &stop, &in_progress).await;
        if !stop.is_cancelled() {
            tracing::warn!("claims are not decided; this worker takes no jobs until they are");
            let recovered = runner.claim_monitor.recovered(&runner.settings);
            stop.run_until_cancelled(recovered).await;
        }
    }
    in_progress.close();
    in_progress.wait().await;
}

/// Receives jobs and processes them in tasks, until `stop` or until claims have stalled. The jobs that have no
/// permit then return to the queue, and after a stall so do those whose claim is pending.
async fn receive(
    runner: &Arc<AttemptRunner>,
    queue: &dyn JobQueue,
    limit: &ConcurrencyLimit,
    prefetch: NonZeroU16,
    stop: &CancellationToken,
    in_progress: &TaskTracker,
) {
    let consuming = stop.child_token();
    let _closed_at_the_end = consuming.clone().drop_guard();
    let mut deliveries = queue.consume(prefetch, consuming);
    let (mut waiting, given_back) = (Waiting::default(), CancellationToken::new());
    let mut stalled = pin!(runner.claim_monitor.stalled());
    loop {
        while let Some((delivery, permit)) = waiting.next(limit) {
            let (runner, given_back) = (Arc::clone(runner), given_back.clone());
            in_progress.spawn(async move {
                process(&runner, delivery, permit, given_back).await;
            });
        }
        limit.note_waiting(waiting.all.len());
        tokio::select! {
            () = stop.cancelled() => return,
            () = &mut stalled => return given_back.cancel(),
            () = limit.freed(), if !waiting.all.is_empty() => {}
            delivery = deliveries.recv() => {
                let Some(delivery) = delivery else { return };
                waiting.push(delivery);
            }
        }
    }
}

/// Jobs that wait for a permit. The queue bounds their number: they are not settled.
#[derive(Default)]
struct Waiting {
    jobs: HashMap<TenantId, VecDeque<Delivery>>,
    /// Tenants with jobs; it is the turn of the first.
    round: VecDeque<TenantId>,
    /// The same jobs, by which copies are found.
    all: HashSet<Job>,
}

impl Waiting {
    /// Adds a job. A copy is acknowledged instead: it would take the place of other jobs that may be received.
    fn push(&mut self, delivery: Delivery) {
        if !self.all.insert(*delivery.job()) {
            return delivery.ack();
        }
        let tenant_id = delivery.job().tenant_id;
        let jobs = self.jobs.entry(tenant_id).or_default();
        if jobs.is_empty() {
            self.round.push_back(tenant_id);
        }
        jobs.push_back(delivery);
    }

    /// Removes the oldest job of the next tenant that may have a permit.
    fn next(&mut self, limit: &ConcurrencyLimit) -> Option<(Delivery, Permit)> {
        for _ in 0..self.round.len() {
            let tenant_id = self.round.pop_front()?;
            let Some(permit) = limit.try_acquire(tenant_id) else {
                self.round.push_back(tenant_id);
                continue;
            };
            let jobs = self.jobs.get_mut(&tenant_id)?;
            let delivery = jobs.pop_front()?;
            self.all.remove(delivery.job());
            if jobs.is_empty() {
                self.jobs.remove(&tenant_id);
            } else {
                self.round.push_back(tenant_id);
            }
            return Some((delivery, permit));
        }
        None
    }
}

async fn process(runner: &AttemptRunner, delivery: Delivery, permit: Permit, given_back: CancellationToken) {
    let job = *delivery.job();
    let Some(claimed) = claim(runner, delivery, given_back).await else { return };
    match runner.payload(&job, &claimed).await {
        Ok(payload) => attempt(runner, &job, claimed, payload, permit).await,
        Err(failure) => note_failure(&job, failure),
    }
}

/// Makes an attempt that was claimed.
pub(super) async fn attempt(
    runner: &AttemptRunner,
    job: &Job,
    claimed: Claimed,
    payload: Option<ClaimedPayload>,
    mut permit: Permit,
) {
    permit.payload_read(payload.as_ref().map_or(0, |payload| payload.bytes.len()));
    match runner.attempt_and_record(job, claimed, payload).await {
        Ok(JobResult::Attempted(outcome)) => {
            tracing::debug!(event.id = %job.event_id, attempt = job.attempt, outcome = outcome.name(), "attempt recorded");
        }
        Ok(JobResult::TooLate) => {
            tracing::warn!(event.id = %job.event_id, attempt = job.attempt, "the dispatcher gave the attempt up before its outcome was recorded");
        }
        Err(failure) => note_failure(job, failure),
    }
}

/// The dispatcher finds an attempt without an outcome.
fn note_failure(job: &Job, failure: DeliveryFailure) {
    tracing::warn!(
        event.id = %job.event_id,
        attempt = job.attempt,
        error = ?anyhow::Error::from(failure),
        "an attempt has no outcome"
    );
}

/// Claims the attempt and settles the job. `None`: there is nothing to attempt.
async fn claim(runner: &AttemptRunner, delivery: Delivery, given_back: CancellationToken) -> Option<Claimed> {
    let job = *delivery.job();
    let mut delivery = Some(delivery);
    let mut claiming = pin!(runner.claim_monitor.count(runner.claim(&job)));
    let claimed = tokio::select! {
        claimed = &mut claiming => claimed,
        () = given_back.cancelled() => {
            delivery.take().into_iter().for_each(Delivery::requeue);
            claiming.await
        }
    };
    match (claimed, delivery) {
        // Whether the attempt is claimed is in the log. From here on the job is of no use to any worker.
        (Ok(claimed), delivery) => {
            delivery.into_iter().for_each(Delivery::ack);
            claimed
        }
        (Err(failure), delivery) => {
            tracing::warn!(
                event.id = %job.event_id,
                attempt = job.attempt,
                error = ?anyhow::Error::from(failure),
                "claiming an attempt failed"
            );
            if let Some(delivery) = delivery {
                tokio::time::sleep(REQUEUE_DELAY).await;
                delivery.requeue();
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::queue::in_process::InProcess;

    #[tokio::test]
    async fn a_copy_of_a_job_that_waits_takes_no_place_of_others() {
        let job = |stream_version| Job {
            event_id: Uuid::from_u128(1).into(),
            tenant_id: Uuid::from_u128(2).into(),
            destination_id: Uuid::from_u128(3).into(),
            stream_version,
            attempt: 1,
            failed_attempts: 0,
            unknown_in_a_row: 0,
            epoch: 1,
            stage_version: 1,
        };
        let queue = InProcess::default();
        queue.publish(&[job(1), job(1), job(1), job(2)]).await.expect("a queue with space");
        let prefetch = NonZeroU16::new(2).expect("not zero");
        let mut deliveries = queue.consume(prefetch, CancellationToken::new());
        let mut waiting = Waiting::default();
        while waiting.all.len() < 2 {
            let received = tokio::time::timeout(Duration::from_secs(10), deliveries.recv()).await;
            waiting.push(received.expect("a job in time").expect("a consumer that runs"));
        }
        assert_eq!(waiting.all, HashSet::from([job(1), job(2)]));
    }
}
