//! The transport inside one process: a bounded list that its publishers and consumers share.
//!
//! For `dev` and for installations of one process. It has no tasks of its own and costs about a
//! microsecond a job. A process that dies takes its jobs along, which loses nothing: see the module
//! above.
//!
//! Publishing to a full queue waits for room, first come, first served, and gives up after the publish
//! timeout. Reporting "full" at once would leave the dispatcher to guess when to try again; this way it
//! resumes the moment a worker settles a job, and it may drop the publish for something more urgent.

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

use super::delivery::{Settle, Verdict};
use super::{Deliveries, Delivery, Job, JobQueue, PUBLISH_TIMEOUT_DEFAULT, PublishFailure, QueueState};

/// Jobs that are not settled, at most, unless set otherwise: about 2 MB of them.
pub const CAPACITY_DEFAULT: NonZeroU32 = NonZeroU32::new(16_384).expect("16384 is not zero");

/// The queue of one process. Clones share it.
#[derive(Clone, Debug)]
pub struct InProcess {
    backlog: Arc<Backlog>,
    capacity: NonZeroU32,
    publish_timeout: Duration,
}

impl InProcess {
    /// A queue of at most `capacity` jobs that are not settled, waiting and in hand taken together.
    #[must_use]
    pub fn new(capacity: NonZeroU32) -> Self {
        let backlog = Backlog {
            jobs: Mutex::default(),
            waiting: Semaphore::new(0),
            room: Semaphore::new(capacity.get() as usize),
        };
        Self { backlog: Arc::new(backlog), capacity, publish_timeout: PUBLISH_TIMEOUT_DEFAULT }
    }

    /// The same queue, whose publishes give up after `publish_timeout`.
    #[must_use]
    pub fn with_publish_timeout(self, publish_timeout: Duration) -> Self {
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
        // More jobs than the queue holds go in as room comes free; waiting for all at once would never end.
        for jobs in jobs.chunks(self.capacity.get() as usize) {
            let count = u32::try_from(jobs.len()).map_err(|_| PublishFailure::Full)?;
            counter!("hooksentry_queue_published_total").increment(u64::from(count));
            match timeout_at(deadline, self.backlog.room.acquire_many(count)).await {
                Ok(Ok(room)) => room.forget(),
                Ok(Err(_)) | Err(_) => return Err(PublishFailure::Full),
            }
            self.backlog.push(jobs);
            counter!("hooksentry_queue_confirmed_total").increment(u64::from(count));
        }
        Ok(())
    }

    fn consume(&self, prefetch: NonZeroU16, stop: CancellationToken) -> Deliveries {
        let consumer = Arc::new(Consumer {
            backlog: Arc::clone(&self.backlog),
            slots: Semaphore::new(usize::from(prefetch.get())),
        });
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

/// The jobs, and two counts to wait on. The semaphores keep who waits in order and are never closed.
#[derive(Debug)]
struct Backlog {
    jobs: Mutex<VecDeque<Waiting>>,
    /// One permit for each job in the list.
    waiting: Semaphore,
    /// One permit for each job that may still be published.
    room: Semaphore,
}

#[derive(Debug)]
struct Waiting {
    job: Job,
    redelivered: bool,
}

impl Backlog {
    fn push(&self, jobs: &[Job]) {
        self.list().extend(jobs.iter().map(|&job| Waiting { job, redelivered: false }));
        self.waiting.add_permits(jobs.len());
    }

    /// Puts a job back where it came from: it is the oldest.
    fn push_back_in_front(&self, job: Job) {
        self.list().push_front(Waiting { job, redelivered: true });
        self.waiting.add_permits(1);
    }

    fn list(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        // Every change to the list is one call that cannot panic half-way, so a poisoned list is whole.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Consumer {
    backlog: Arc<Backlog>,
    /// One permit for each job that this consumer may still take.
    slots: Semaphore,
}

impl Consumer {
    async fn take(self: &Arc<Self>) -> Option<Delivery> {
        // Both permits return by themselves if this future is dropped before the job is taken.
        let slot = self.slots.acquire().await.ok()?;
        let waiting = self.backlog.waiting.acquire().await.ok()?;
        let Waiting { job, redelivered } = self.backlog.list().pop_front()?;
        waiting.forget();
        slot.forget();
        if redelivered {
            counter!("hooksentry_queue_redelivered_total").increment(1);
        }
        Some(Delivery::new(job, redelivered, 0, Arc::clone(self) as Arc<dyn Settle>))
    }
}

impl Settle for Consumer {
    fn settle(&self, _: u64, job: &Job, verdict: Verdict) {
        match verdict {
            // Jobs never become bytes here, so there is none that cannot be read.
            Verdict::Done | Verdict::Park => self.backlog.room.add_permits(1),
            Verdict::HandBack => self.backlog.push_back_in_front(*job),
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
            accepted_at_ms: None,
        };
        numbers.map(job).collect()
    }

    fn queue(capacity: u32) -> InProcess {
        InProcess::new(NonZeroU32::new(capacity).unwrap())
    }

    fn consumer(queue: &InProcess, prefetch: u16) -> Deliveries {
        queue.consume(NonZeroU16::new(prefetch).unwrap(), CancellationToken::new())
    }

    /// The number of the next job. Fails the test if there is none.
    async fn next(deliveries: &mut Deliveries) -> Delivery {
        timeout(Duration::from_secs(10), deliveries.recv()).await.expect("no job came").expect("it has ended")
    }

    #[tokio::test]
    async fn jobs_come_in_the_order_they_were_published() {
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
    async fn a_delivery_that_is_dropped_goes_to_another_consumer_before_the_rest() {
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
    async fn a_publish_to_a_full_queue_waits_for_room() {
        let queue = queue(2);
        let mut deliveries = consumer(&queue, 2);
        queue.publish(&jobs(0..2)).await.unwrap();
        let more = jobs(2..3);
        let mut publish = pin!(queue.publish(&more));
        assert!(poll!(&mut publish).is_pending());
        // Taken is not done: the job may come back and needs its place.
        let delivery = next(&mut deliveries).await;
        assert!(poll!(&mut publish).is_pending());
        delivery.ack();
        timeout(Duration::from_secs(10), publish).await.expect("there is room").unwrap();
    }

    #[tokio::test]
    async fn a_publish_gives_up_when_no_room_comes() {
        let queue = queue(2).with_publish_timeout(Duration::from_millis(10));
        queue.publish(&jobs(0..1)).await.unwrap();
        assert_eq!(queue.publish(&jobs(1..3)).await, Err(PublishFailure::Full));
        // It took no room that it did not use.
        queue.publish(&jobs(3..4)).await.unwrap();
    }

    #[tokio::test]
    async fn more_jobs_than_the_queue_holds_go_in_as_room_comes_free() {
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
    async fn a_stopped_consumer_takes_no_more_and_may_settle_what_it_has() {
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
    async fn a_consumer_that_waits_and_is_dropped_takes_no_job_along() {
        let queue = queue(1);
        let mut impatient = consumer(&queue, 1);
        assert!(poll!(pin!(impatient.recv())).is_pending());
        queue.publish(&jobs(0..1)).await.unwrap();
        // The job is on its way to the first consumer, which never looks.
        drop(impatient);
        assert_eq!(next(&mut consumer(&queue, 1)).await.job().stream_version, 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_job_is_done_once_though_some_come_back() {
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
        timeout(Duration::from_secs(30), tasks.wait()).await.expect("not all jobs came through");
        let done = done.lock().unwrap();
        assert_eq!(done.len() as u64, JOBS);
        assert_eq!(done.iter().collect::<HashSet<_>>().len() as u64, JOBS);
    }
}
