//! What a consumer receives: a stream of jobs, each to be settled.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{BoxStream, Stream, StreamExt};
use tokio_util::sync::CancellationToken;

use super::Job;

/// What becomes of a job that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is dealt with: forget it.
    Done,
    /// Somebody else is to do it.
    HandBack,
    /// Nobody can read it: out of the way with it, but keep it for a person to look at.
    Park,
}

/// The transport's end of a [`Delivery`].
pub(super) trait Settle: Send + Sync {
    /// Carries out the verdict on the job that was handed out under `tag`. Cannot fail: what cannot be
    /// carried out because the transport is gone leaves the job to be handed out again.
    fn settle(&self, tag: u64, job: &Job, verdict: Verdict);
}

/// A job in the hands of a consumer.
///
/// Settle it with [`ack`](Self::ack) once its outcome is in the log. Dropped without, for whatever
/// reason, it goes back to the queue and is handed out again, here or elsewhere.
#[must_use = "a delivery that is dropped goes back to the queue"]
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

    /// The job.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Whether it was in somebody's hands before.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// The outcome is in the log, or the job turned out to be void: forget it.
    pub fn ack(self) {
        self.settle(Verdict::Done);
    }

    /// Gives the job back, undone. It is handed out again at once, so when the reason is one that will
    /// last (the database is away), hold the delivery for a while first: a transport parks a job that
    /// comes back over and over.
    pub fn requeue(self) {
        self.settle(Verdict::HandBack);
    }

    fn settle(mut self, verdict: Verdict) {
        if let Some(settler) = self.settler.take() {
            settler.settle(self.tag, &self.job, verdict);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(settler) = self.settler.take() {
            settler.settle(self.tag, &self.job, Verdict::HandBack);
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

/// The jobs of one consumer, as they come. Ends when the consumer is told to stop.
#[must_use = "a consumer that nobody polls holds back its prefetch"]
pub struct Deliveries {
    /// `None` once ended: what the transport had ready is dropped, and so handed back, at that moment.
    stream: Option<BoxStream<'static, Delivery>>,
}

impl Deliveries {
    pub(super) fn new(
        stream: impl Stream<Item = Delivery> + Send + 'static,
        stop: CancellationToken,
    ) -> Self {
        Self { stream: Some(stream.take_until(stop.cancelled_owned()).boxed()) }
    }

    /// The next job, or `None` when the consumer has stopped. Safe to cancel.
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
