//! The end of transfers that a peer stalls.
//!
//! hyper asks a body for its next piece only when it has sent the one before, so a body cannot notice that a peer does
//! not read. It notes instead when its piece must be taken, in the task that sends it: the task of the connection for
//! HTTP/1, the task of the stream for HTTP/2. That task ends the transfer when the time has passed.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::task::Poll;

use hyper::rt::Executor;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::TaskTracker;

tokio::task_local! {
    /// Time until which the peer must take the piece of an answer that is being sent.
    static TAKE_BY: Cell<Option<Instant>>;
}

/// Notes until when the peer must take a piece; `None` when it has taken it.
pub(super) fn must_be_taken_by(deadline: Option<Instant>) {
    // A body is also dropped outside a transfer, when the service stops.
    let _ = TAKE_BY.try_with(|take_by| take_by.set(deadline));
}

/// Returns the output of a transfer; `None` if the peer stalled it.
pub(super) async fn until_stalled<F: Future>(transfer: F) -> Option<F::Output> {
    let watched = async {
        let mut transfer = pin!(transfer);
        // Most answers are sent at once and need no timer.
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        std::future::poll_fn(|context| {
            if let Poll::Ready(output) = transfer.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            let Some(take_by) = TAKE_BY.with(Cell::get) else { return Poll::Pending };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(take_by)));
            if timer.deadline() != take_by {
                timer.as_mut().reset(take_by);
            }
            timer.as_mut().poll(context).map(|()| None)
        })
        .await
    };
    let ended = TAKE_BY.scope(Cell::new(None), watched).await;
    if ended.is_none() {
        metrics::counter!("hooksentry_http_answers_stalled_total").increment(1);
    }
    ended
}

/// Runs the streams of HTTP/2 connections, and resets those that are stalled.
#[derive(Clone)]
pub(super) struct StreamExecutor(pub(super) TaskTracker);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, stream: F) {
        self.0.spawn(until_stalled(stream));
    }
}
