//! The job queue between the dispatcher and the workers.
//!
//! One trait, [`JobQueue`], and two transports: [`rabbitmq`] for several processes, [`in_process`] for `dev`
//! and for installations of one process. A process that dispatches and works has both ([`local_first`]). A job only says "attempt this webhook event now" ([`Job`]); payload,
//! address and secrets stay in the database.
//!
//! The queue transports jobs and does not store them. Its guarantees are weak on purpose, because the log
//! provides the others:
//!
//! - **At-least-once delivery while the transport runs.** A published job is delivered to consumers until one
//!   acknowledges it. Duplicates are harmless: the worker claims the attempt by appending `DeliveryStarted`
//!   at the job's stream version, and only one copy gets the claim.
//! - **No durability is required.** Queues may be purged, deleted or lost with their broker, and a job that
//!   cannot be read is parked. The dispatcher sees in the log that no attempt followed and publishes the job
//!   again. So a consumer need not know that an acknowledgement was lost, and a publisher that gets an error
//!   tries again.
//! - **A job is acknowledged after its claim is decided**, never before. The jobs of a worker that dies before
//!   are delivered to others; those that it has claimed are in the log.
//! - **A transport announces losses that it notices** ([`JobQueue::losses`]), so that the dispatcher publishes at once
//!   what has not started. It may announce more than it lost, and it need not notice every loss: a job that does not start is
//!   published again after a while.
//! - **A publish ends within its timeout**, when the transport has taken the jobs or with an error.
//! - **Everything is bounded**: the jobs in a transport, the unsettled jobs of a consumer (its prefetch), the
//!   unconfirmed publishes.

mod delivery;
pub mod in_process;
mod job;
pub mod local_first;
pub mod rabbitmq;

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use delivery::{Deliveries, Delivery};
pub use job::{Job, UnreadableJob};

/// Maximum number of jobs on the queue that have not started, over all destinations, without copies. Jobs on the queue can
/// no longer be overtaken. Higher: a destination that gets its first event waits longer. Lower: workers wait for
/// jobs while the facts of what they started are on their way to the dispatcher.
pub const UNSTARTED_MAX: NonZeroU16 = NonZeroU16::new(512).expect("512 is not zero");

/// Default timeout of a publish.
///
/// Lower: a leader election of the broker causes needless duplicates. Higher: the dispatcher detects later
/// that the broker is gone.
pub const PUBLISH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// A transport for jobs.
#[async_trait]
pub trait JobQueue: fmt::Debug + Send + Sync {
    /// Publishes `jobs` and waits until the transport has taken them all.
    ///
    /// Ends within the transport's publish timeout. It waits while the queue is full or there is no
    /// connection, so a caller may try again at once without a busy loop. Safe to cancel.
    ///
    /// # Errors
    /// After an error, or when cancelled, some of the jobs may have been published nevertheless: keep them
    /// all due and publish them again.
    async fn publish(&self, jobs: &[Job]) -> Result<(), PublishFailure>;

    /// Starts a consumer that holds at most `prefetch` unsettled jobs.
    ///
    /// When `stop` is cancelled it delivers no more jobs, returns those that were not received to the queue,
    /// and ends when the last [`Delivery`] is settled. Dropping the [`Deliveries`] does the same.
    fn consume(&self, prefetch: NonZeroU16, stop: CancellationToken) -> Deliveries;

    /// Returns whether a publish can succeed now, for health checks.
    fn state(&self) -> QueueState;

    /// Returns how often the transport has noticed that jobs may be lost. When the number changes, jobs that are published from
    /// then on reach a queue. A transport that loses no jobs while its process runs never changes it.
    fn losses(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

/// State of a transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// Jobs can be published.
    Ready,
    /// The broker is connected and accepts no messages.
    Blocked {
        /// Reported by the broker, such as "low on memory".
        reason: String,
    },
    /// There is no connection to the broker; the transport is reconnecting.
    Disconnected,
}

/// Error of a publish. The jobs may or may not have reached a queue.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishFailure {
    #[error("the job queue is full")]
    Full,
    /// The broker is short of memory or disk space.
    #[error("the broker accepts no messages: {reason}")]
    Blocked { reason: String },
    #[error("the job queue has no connection to its broker")]
    Disconnected,
    /// The broker found no queue for the jobs; the topology has been declared again since.
    #[error("the broker has no queue for the jobs")]
    Unroutable,
    /// The queue is full, or has no leader.
    #[error("the broker refused the jobs")]
    Refused,
    #[error("the broker did not take the jobs in time")]
    Unconfirmed,
    /// The process is stopping.
    #[error("the job queue is closed")]
    Stopped,
}
