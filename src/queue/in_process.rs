//! The transport within one process: a bounded list shared by publishers and consumers.
//!
//! For `dev` and for installations of one process. It has no tasks of its own and takes about a microsecond a
//! job. The jobs are lost when the process dies, and the dispatcher publishes them again, see the parent
//! module.
//!
//! A publish to a full queue waits for free capacity, in order of arrival, until the publish timeout. If it
//! failed at once, the dispatcher would have to guess when to try again; this way it resumes as soon as a
//! worker settles a job, and it may cancel the publish for something more urgent.

use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::stream;
use metrics::counter;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::delivery::{Settle, Settlement};
use super::{Deliveries, Delivery, Job, JobQueue, PUBLISH_TIMEOUT_DEFAULT, PublishFailure, QueueState};

/// Default maximum number of unsettled jobs, about 2 MB.
pub const CAPACITY_DEFAULT: NonZeroU32 = NonZeroU32::new(16_384).expect("16384 is not zero");

/// Job queue within one process. Clones share it.
#[derive(Clone, Debug)]
pub struct InProcess {
    backlog: Arc<Backlog>,
    capacity: NonZeroU32,
    publish_timeout: Duration,
    has_one_consumer: bool,
}

impl InProcess {
    /// Returns a queue of at most `capacity` unsettled jobs, those delivered to consumers included.
    #[must_use]
    pub fn new(capacity: NonZeroU32) -> Self {
        let backlog = Backlog {
            jobs: Mutex::default(),
            queued: Semaphore::new(0),
            free: Semaphore::new(capacity.get() as usize),
        };
        Self {
            backlog: Arc::new(backlog),
            capacity,
            publish_timeout: PUBLISH_TIMEOUT_DEFAULT,
            has_one_consumer: false,
        }
    }

    /// Delivers jobs beyond the prefetch, because no other consumer could have them. A worker that has all jobs can start
    /// those of another tenant while the first ones wait for permits.
    #[must_use]
    pub fn for_one_consumer(self) -> Self {
        Self { has_one_consumer: true, ..self }
    }

    /// Publishes the first of `jobs` for which there is capacity now. Returns their number.
    pub(super) fn publish_some(&self, jobs: &[Job]) -> usize {
        let mut count = jobs.len().min(self.backlog.free.available_permits());
        let permits = loop {
            match self.backlog.free.try_acquire_many(u32::try_from(count).unwrap_or(u32::MAX)) {
                Ok(permits) => break permits,
                // Another publisher was faster.
                Err(_) if count > 0 => count -= 1,
                Err(_) => return 0,
            }
        };
        permits.forget();
        counter!("hooksentry_queue_published_total").increment(count as u64);
        self.backlog.push(&jobs[..count]);
        counter!("hooksentry_queue_confirmed_total").increment(count as u64);
        count
    }

    /// Removes and returns the jobs that no consumer has received.
    pub(super) fn take_queued(&self) -> Vec<Job> {
        let mut jobs = Vec::new();
        while let Ok(queued) = self.backlog.queued.try_acquire() {
            queued.forget();
            jobs.extend(self.backlog.list().pop_front().map(|queued| queued.job));
            self.backlog.free.add_permits(1);
        }
        jobs
    }

    #[cfg(test)]
    fn with_publish_timeout(self, publish_timeout: Duration) -> Self {
        Self { publish_timeout, ..self }
    }
}

impl Default for InProcess {
    fn default() -> Self {
        Self::new(CAPACITY_DEFAULT)
    }
}

#[async_trait]
impl JobQueue for InProcess {
    async fn publish(&self, jobs: &[Job]) -> Result<(), PublishFailure> {
        let deadline = Instant::now() + self.publish_timeout;
        // More jobs than the capacity are added as it becomes free; waiting for all of it at once would never
        // end.
        for jobs in jobs.chunks(self.capacity.get() as usize) {
            let count = u32::try_from(jobs.len()).map_err(|_| PublishFailure::Full)?;
            counter!("hooksentry_queue_published_total").increment(u64::from(count));
            match timeout_at(deadline, self.backlog.free.acquire_many(count)).await {
                Ok(Ok(permits)) => permits.forget(),
                Ok(Err(_)) | Err(_) => return Err(PublishFailure::Full),
            }
            self.backlog.push(jobs);
            counter!("hooksentry_queue_confirmed_total").increment(u64::from(count));
        }
        Ok(())
    }

    fn consume(&self, prefetch: NonZeroU16, stop: CancellationToken) -> Deliveries {
        let slots = if self.has_one_consumer { self.capacity.get() as usize } else { prefetch.get().into() };
        let consumer =
            Arc::new(LocalConsumer { backlog: Arc::clone(&self.backlog), slots: Semaphore::new(slots) });
        let deliveries = stream::unfold(consumer, |consumer| async move {
            let delivery = consumer.take().await?;
            Some((delivery, consumer))
        });
        Deliveries::new(deliveries, stop)
    }

    fn state(&self) -> QueueState {
        QueueState::Ready
    }
}

/// The jobs, and two counts to wait for. The semaphores are fair and never closed.
#[derive(Debug)]
struct Backlog {
    jobs: Mutex<VecDeque<QueuedJob>>,
    /// One permit for each job in the list.
    queued: Semaphore,
    /// One permit for each job that may still be published.
    free: Semaphore,
}

#[derive(Debug)]
struct QueuedJob {
    job: Job,
    redelivered: bool,
}

impl Backlog {
    fn push(&self, jobs: &[Job]) {
        self.list().extend(jobs.iter().map(|&job| QueuedJob { job, redelivered: false }));
        self.queued.add_permits(jobs.len());
    }

    /// Returns a job to the front of the list: it is the oldest.
    fn requeue(&self, job: Job) {
        self.list().push_front(QueuedJob { job, redelivered: true });
        self.queued.add_permits(1);
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<QueuedJob>> {
        // Every change to the list is one call that cannot panic halfway, so a poisoned list is consistent.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct LocalConsumer {
    backlog: Arc<Backlog>,
    /// One permit for each job that this consumer may still receive.
    slots: Semaphore,
}

impl LocalConsumer {
    async fn take(self: &Arc<Self>) -> Option<Delivery> {
        // Both permits are returned if this future is dropped before the job is removed from the list.
        let slot = self.slots.acquire().await.ok()?;
        let queued = self.backlog.queued.acquire().await.ok()?;
        let QueuedJob { job, redelivered } = self.backlog.list().pop_front()?;
        queued.forget();
        slot.forget();
        if redelivered {
            counter!("hooksentry_queue_redelivered_total").increment(1);
        }
        Some(Delivery::new(job, redelivered, 0, Arc::clone(self) as Arc<dyn Settle>))
    }
}

impl Settle for LocalConsumer {
    fn settle(&self, _: u64, job: &Job, settlement: Settlement) {
        match settlement {
            // Jobs are not serialized here, so none is ever parked.
            Settlement::Ack | Settlement::Park => self.backlog.free.add_permits(1),
            Settlement::Requeue => self.backlog.requeue(*job),
        }
        self.slots.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::pin::pin;

    use futures::poll;
    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;

    fn jobs(numbers: std::ops::Range<u64>) -> Vec<Job> {
        let job = |number| Job {
            event_id: Uuid::from_u128(u128::from(number)).into(),
            tenant_id: Uuid::nil().into(),
            destination_id: Uuid::nil().into(),
            stream_version: number,
            attempt: 1,
            failed_attempts: 0,
            unknown_in_a_row: 0,
            epoch: 1,
            stage_version: 1,
        };
        numbers.map(job).collect()
    }

    fn queue(capacity: u32) -> InProcess {
        InProcess::new(NonZeroU32::new(capacity).unwrap())
    }

    fn consumer(queue: &InProcess, prefetch: u16) -> Deliveries {
        queue.consume(NonZeroU16::new(prefetch).unwrap(), CancellationToken::new())
    }

    #[tokio::test]
    async fn the_only_consumer_gets_jobs_beyond_its_prefetch() {
        let queue = queue(9).for_one_consumer();
        queue.publish(&jobs(0..9)).await.unwrap();
        let mut deliveries = consumer(&queue, 1);
        let mut held = Vec::new();
        for _ in 0..9 {
            held.push(next(&mut deliveries).await);
        }
    }

    /// Receives the next job. Fails the test if there is none.
    async fn next(deliveries: &mut Deliveries) -> Delivery {
        timeout(Duration::from_secs(10), deliveries.recv())
            .await
            .expect("a job in time")
            .expect("a consumer that runs")
    }

    #[tokio::test]
    async fn jobs_are_delivered_in_the_order_of_publishing() {
        let queue = queue(10);
        let mut deliveries = consumer(&queue, 10);
        queue.publish(&jobs(0..3)).await.unwrap();
        queue.publish(&jobs(3..5)).await.unwrap();
        for number in 0..5 {
            let delivery = next(&mut deliveries).await;
            assert_eq!(delivery.job().stream_version, number);
            assert!(!delivery.redelivered());
            delivery.ack();
        }
        assert!(poll!(pin!(deliveries.recv())).is_pending());
    }

    #[tokio::test]
    async fn a_dropped_delivery_goes_to_another_consumer_before_later_jobs() {
        let queue = queue(10);
        let mut dying = consumer(&queue, 1);
        queue.publish(&jobs(0..2)).await.unwrap();
        let delivery = next(&mut dying).await;
        drop((delivery, dying));

        let mut other = consumer(&queue, 2);
        let first = next(&mut other).await;
        assert_eq!((first.job().stream_version, first.redelivered()), (0, true));
        let second = next(&mut other).await;
        assert_eq!((second.job().stream_version, second.redelivered()), (1, false));
    }

    #[tokio::test]
    async fn a_consumer_holds_no_more_than_its_prefetch() {
        let queue = queue(10);
        let mut deliveries = consumer(&queue, 2);
        queue.publish(&jobs(0..5)).await.unwrap();
        let first = next(&mut deliveries).await;
        let second = next(&mut deliveries).await;
        assert!(poll!(pin!(deliveries.recv())).is_pending());
        second.requeue();
        let again = next(&mut deliveries).await;
        assert_eq!(again.job().stream_version, 1);
        assert!(poll!(pin!(deliveries.recv())).is_pending());
        first.ack();
        assert_eq!(next(&mut deliveries).await.job().stream_version, 2);
    }

    #[tokio::test]
    async fn a_publish_to_a_full_queue_waits_for_capacity() {
        let queue = queue(2);
        let mut deliveries = consumer(&queue, 2);
        queue.publish(&jobs(0..2)).await.unwrap();
        let more = jobs(2..3);
        let mut publish = pin!(queue.publish(&more));
        assert!(poll!(&mut publish).is_pending());
        // A delivered job may return to the queue and still needs its capacity.
        let delivery = next(&mut deliveries).await;
        assert!(poll!(&mut publish).is_pending());
        delivery.ack();
        timeout(Duration::from_secs(10), publish).await.expect("free capacity").unwrap();
    }

    #[tokio::test]
    async fn a_publish_fails_when_no_capacity_becomes_free() {
        let queue = queue(2).with_publish_timeout(Duration::from_millis(10));
        queue.publish(&jobs(0..1)).await.unwrap();
        assert_eq!(queue.publish(&jobs(1..3)).await, Err(PublishFailure::Full));
        // It did not keep any capacity.
        queue.publish(&jobs(3..4)).await.unwrap();
    }

    #[tokio::test]
    async fn more_jobs_than_the_capacity_are_added_as_it_becomes_free() {
        let queue = queue(3);
        let mut deliveries = consumer(&queue, 1);
        let jobs = jobs(0..10);
        let consume = async {
            for number in 0..10 {
                let delivery = next(&mut deliveries).await;
                assert_eq!(delivery.job().stream_version, number);
                delivery.ack();
            }
        };
        let (published, ()) = tokio::join!(queue.publish(&jobs), consume);
        published.unwrap();
    }

    #[tokio::test]
    async fn a_stopped_consumer_receives_no_more_jobs_and_may_settle_those_it_has() {
        let queue = queue(1);
        let stop = CancellationToken::new();
        let mut deliveries = queue.consume(NonZeroU16::MIN, stop.clone());
        queue.publish(&jobs(0..1)).await.unwrap();
        let delivery = next(&mut deliveries).await;
        stop.cancel();
        assert!(deliveries.recv().await.is_none());
        delivery.ack();
        queue.publish(&jobs(1..2)).await.unwrap();
        assert!(deliveries.recv().await.is_none());
        assert_eq!(next(&mut consumer(&queue, 1)).await.job().stream_version, 1);
    }

    #[tokio::test]
    async fn a_consumer_that_is_dropped_while_it_waits_loses_no_job() {
        let queue = queue(1);
        let mut dropped = consumer(&queue, 1);
        assert!(poll!(pin!(dropped.recv())).is_pending());
        queue.publish(&jobs(0..1)).await.unwrap();
        // The job is assigned to the first consumer, which is never polled again.
        drop(dropped);
        assert_eq!(next(&mut consumer(&queue, 1)).await.job().stream_version, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_job_is_acknowledged_once_though_some_return() {
        const JOBS: u64 = 10_000;
        let queue = queue(100);
        let stop = CancellationToken::new();
        let tasks = tokio_util::task::TaskTracker::new();
        let done = Arc::new(Mutex::new(Vec::new()));
        for _ in 0..4 {
            let mut deliveries = queue.consume(NonZeroU16::new(7).unwrap(), stop.clone());
            let (done, stop) = (Arc::clone(&done), stop.clone());
            tasks.spawn(async move {
                while let Some(delivery) = deliveries.recv().await {
                    let number = delivery.job().stream_version;
                    if number % 5 == 0 && !delivery.redelivered() {
                        continue;
                    }
                    delivery.ack();
                    let mut done = done.lock().unwrap();
                    done.push(number);
                    if done.len() as u64 == JOBS {
                        stop.cancel();
                    }
                }
            });
        }
        for start in (0..JOBS).step_by(50) {
            queue.publish(&jobs(start..start + 50)).await.unwrap();
        }
        tasks.close();
        timeout(Duration::from_secs(30), tasks.wait()).await.expect("all jobs in time");
        let done = done.lock().unwrap();
        assert_eq!(done.len() as u64, JOBS);
        assert_eq!(done.iter().collect::<HashSet<_>>().len() as u64, JOBS);
    }
}
