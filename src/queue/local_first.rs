//! The queue of a process that dispatches and works: its own worker gets jobs directly while it has room, and the
//! broker gets the others, for the workers of all processes.
//!
//! A job that stays in the process is handed over in microseconds and costs the broker nothing. The guarantees are the
//! same: no transport stores jobs, and what is lost with the process is in the log. While the broker is out of reach,
//! jobs wait for the own worker instead.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::in_process::InProcess;
use super::{Deliveries, Job, JobQueue, PublishFailure, QueueState};

/// Jobs that the own worker has and has not settled. A claim takes milliseconds, so it rarely has more than some tens.
/// Higher: when it is short of permits, more jobs wait here that another worker could take. Lower: under load jobs take
/// the way over the broker.
const UNSETTLED_MAX: NonZeroU32 = NonZeroU32::new(128).expect("128 is not zero");

/// A queue to the worker of this process and to a broker.
#[derive(Debug)]
pub struct LocalFirst {
    own: InProcess,
    broker: Arc<dyn JobQueue>,
    /// Consumers of this process.
    consumers: Arc<AtomicUsize>,
}

/// Counts a consumer for as long as it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one(consumers: &Arc<AtomicUsize>) -> Self {
        consumers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(consumers))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl LocalFirst {
    /// Returns a queue that prefers the consumers of this process to those of `broker`.
    #[must_use]
    pub fn new(broker: Arc<dyn JobQueue>) -> Self {
        Self { own: InProcess::new(UNSETTLED_MAX).for_one_consumer(), broker, consumers: Arc::default() }
    }
}

#[async_trait]
impl JobQueue for LocalFirst {
    async fn publish(&self, jobs: &[Job]) -> Result<(), PublishFailure> {
        if self.consumers.load(Ordering::Relaxed) == 0 {
            // The worker does not run yet, or has closed its consumer: what waits for it is for others.
            let left = self.own.take_queued();
            if !left.is_empty() {
                self.broker.publish(&left).await?;
            }
            return self.broker.publish(jobs).await;
        }
        let rest = &jobs[self.own.publish_some(jobs)..];
        if rest.is_empty() {
            Ok(())
        } else if self.broker.state() == QueueState::Disconnected {
            self.own.publish(rest).await
        } else {
            self.broker.publish(rest).await
        }
    }

    fn consume(&self, prefetch: NonZeroU16, stop: CancellationToken) -> Deliveries {
        let counted = Counted::one(&self.consumers);
        let own = self.own.consume(prefetch, stop.clone());
        let own = own.inspect(move |_| {
            let _ = &counted;
        });
        let of_broker = self.broker.consume(prefetch, stop.clone());
        Deliveries::new(futures::stream::select(own, of_broker), stop)
    }

    fn state(&self) -> QueueState {
        self.broker.state()
    }

    fn losses(&self) -> watch::Receiver<u64> {
        self.broker.losses()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;

    fn jobs(count: u64) -> Vec<Job> {
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
        (0..count).map(job).collect()
    }

    /// The other end of the broker, which is a queue in memory here.
    struct Elsewhere(Deliveries);

    impl Elsewhere {
        fn of(broker: &InProcess) -> Self {
            Self(broker.consume(NonZeroU16::MAX, CancellationToken::new()))
        }

        async fn receives(&mut self) -> u64 {
            let next = timeout(Duration::from_secs(10), self.0.recv()).await;
            let delivery = next.expect("a job in time").expect("a consumer that runs");
            let number = delivery.job().stream_version;
            delivery.ack();
            number
        }
    }

    #[tokio::test]
    async fn the_own_worker_gets_jobs_while_it_has_room_and_the_broker_the_rest() {
        let broker = InProcess::default();
        let queue = LocalFirst::new(Arc::new(broker.clone()));
        let mut own = queue.consume(NonZeroU16::MAX, CancellationToken::new());
        queue.publish(&jobs(130)).await.unwrap();
        // The own consumer would take these as well.
        let mut received = Vec::new();
        for _ in 0..130 {
            received.push(own.recv().await.expect("a job"));
        }
        let (here, over_broker): (Vec<_>, Vec<_>) = received
            .into_iter()
            .map(|delivery| delivery.job().stream_version)
            .partition(|number| *number < 128);
        assert_eq!((here.len(), over_broker.len()), (128, 2));
    }

    #[tokio::test]
    async fn without_a_consumer_here_everything_goes_to_the_broker() {
        let broker = InProcess::default();
        let queue = LocalFirst::new(Arc::new(broker.clone()));
        queue.publish(&jobs(1)).await.unwrap();
        let mut elsewhere = Elsewhere::of(&broker);
        assert_eq!(elsewhere.receives().await, 0);
    }

    #[tokio::test]
    async fn jobs_that_a_closed_consumer_leaves_follow_with_the_next_ones() {
        let broker = InProcess::default();
        let queue = LocalFirst::new(Arc::new(broker.clone()));
        let stop = CancellationToken::new();
        let mut own = queue.consume(NonZeroU16::MAX, stop.clone());
        queue.publish(&jobs(3)).await.unwrap();
        stop.cancel();
        assert!(own.recv().await.is_none());
        queue.publish(&[]).await.unwrap();
        let mut elsewhere = Elsewhere::of(&broker);
        for number in 0..3 {
            assert_eq!(elsewhere.receives().await, number);
        }
    }

    /// A broker that cannot be reached.
    #[derive(Debug)]
    struct Away;

    #[async_trait]
    impl JobQueue for Away {
        async fn publish(&self, _: &[Job]) -> Result<(), PublishFailure> {
            Err(PublishFailure::Disconnected)
        }

        fn consume(&self, prefetch: NonZeroU16, stop: CancellationToken) -> Deliveries {
            InProcess::default().consume(prefetch, stop)
        }

        fn state(&self) -> QueueState {
            QueueState::Disconnected
        }
    }

    #[tokio::test]
    async fn while_the_broker_is_away_jobs_wait_for_the_own_worker() {
        let queue = LocalFirst::new(Arc::new(Away));
        let mut own = queue.consume(NonZeroU16::MAX, CancellationToken::new());
        let jobs = jobs(300);
        let work = async {
            for number in 0..300 {
                let delivery = own.recv().await.expect("a job");
                assert_eq!(delivery.job().stream_version, number);
                delivery.ack();
            }
        };
        let (published, ()) = tokio::join!(queue.publish(&jobs), work);
        published.unwrap();
    }
}
