//! A consumer's stream of jobs, each of which has to be settled.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{BoxStream, Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::Job;

/// How a job that was delivered is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// Processed: remove it from the queue.
    Ack,
    /// Not processed: return it to the queue.
    Requeue,
    /// Unreadable: park it for manual inspection.
    Park,
}

/// The transport's end of a [`Delivery`].
pub(super) trait Settle: Send + Sync {
    /// Settles the job that was delivered with `tag`. Cannot fail: when the connection is gone, the transport
    /// delivers the job again.
    fn settle(&self, tag: u64, job: &Job, settlement: Settlement);
}

/// A job that was delivered to a consumer and is not settled.
///
/// Acknowledge it with [`ack`](Self::ack) once its claim is in the log. When it is dropped it returns to
/// the queue and is delivered again, here or elsewhere.
#[must_use = "a delivery that is dropped returns to the queue"]
pub struct Delivery {
    job: Job,
    redelivered: bool,
    tag: u64,
    settler: Option<Arc<dyn Settle>>,
}

impl Delivery {
    pub(super) fn new(job: Job, redelivered: bool, tag: u64, settler: Arc<dyn Settle>) -> Self {
        Self { job, redelivered, tag, settler: Some(settler) }
    }

    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Returns whether the job was delivered before.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Removes the job from the queue: its claim is in the log, or it is void.
    pub fn ack(self) {
        self.settle(Settlement::Ack);
    }

    /// Returns the job to the queue. It is delivered again at once, so wait first when the reason may last
    /// (the database is unavailable): a transport parks a job that is returned too often.
    pub fn requeue(self) {
        self.settle(Settlement::Requeue);
    }

    fn settle(mut self, settlement: Settlement) {
        if let Some(settler) = self.settler.take() {
            settler.settle(self.tag, &self.job, settlement);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settler) = self.settler.take() {
            settler.settle(self.tag, &self.job, Settlement::Requeue);
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("job", &self.job)
            .field("redelivered", &self.redelivered)
            .field("settled", &self.settler.is_none())
            .finish_non_exhaustive()
    }
}

/// Stream of the jobs of a consumer. Ends when the consumer is stopped.
#[must_use = "a consumer that is not polled keeps its prefetch from other consumers"]
pub struct Deliveries {
    /// `None` once ended: jobs that the transport has prefetched are dropped, and so returned to the queue,
    /// at once.
    stream: Option<BoxStream<'static, Delivery>>,
}

impl Deliveries {
    pub(super) fn new(
        stream: impl Stream<Item = Delivery> + Send + 'static,
        stop: CancellationToken,
    ) -> Self {
        Self { stream: Some(stream.take_until(stop.cancelled_owned()).boxed()) }
    }

    /// Returns the next job, or `None` when the consumer has stopped. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Delivery> {
        self.next().await
    }
}

impl Stream for Deliveries {
    type Item = Delivery;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let next = stream.as_mut().poll_next(cx);
        if let Poll::Ready(None) = next {
            self.stream = None;
        }
        next
    }
}

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("ended", &self.stream.is_none()).finish()
    }
}
