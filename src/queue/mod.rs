//! The job queue between the dispatcher and the workers.
//!
//! One trait, [`JobQueue`], and two transports: [`rabbitmq`] for several processes, [`in_process`] for
//! `dev` and for installations of one process. A job says no more than "attempt this webhook event now"
//! ([`Job`]); payload, address and secrets stay in the database.
//!
//! The queue is a courier, not a store. What it promises is weak on purpose, because the log makes up
//! for the rest:
//!
//! - **At least once while the transport lives.** A job that was published is handed to a consumer again
//!   until one acknowledges it. A copy too many is harmless: the worker's append of `DeliveryStarted` at
//!   the job's stream version is the claim, and only one copy gets it.
//! - **Nothing depends on what the transport remembers.** Queues may be purged, deleted or lost with
//!   their broker, and a job that nobody can handle is parked. The dispatcher sees in the log that no
//!   attempt followed and publishes the job again. So a consumer need not be told that an
//!   acknowledgement was lost, and a publisher that got an error simply tries again.
//! - **An acknowledgement comes after the outcome is in the log**, never before. A worker that dies in
//!   between leaves its jobs to others.
//! - **Nobody waits for ever.** A publish ends within a set time, confirmed or with the reason why not.
//! - **Everything is bounded**: the jobs in a transport, those in the hands of a consumer (its
//!   prefetch), the publishes on their way.

mod delivery;
pub mod in_process;
mod job;
pub mod rabbitmq;

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use async_trait::async_trait;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

pub use delivery::{Deliveries, Delivery};
pub use job::{Job, UnreadableJob};

/// How long a publish may take before it is given up, unless set otherwise.
///
/// Shorter, and a broker that elects a new leader makes needless second copies; longer, and the
/// dispatcher learns late that the broker is gone.
pub const PUBLISH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// A transport for jobs.
#[async_trait]
pub trait JobQueue: fmt::Debug + Send + Sync {
    /// Publishes `jobs` and waits until the transport has them all.
    ///
    /// Ends within the transport's publish timeout. While there is no room or no connection it waits
    /// for them, so that a caller who tries again at once neither spins nor polls; meanwhile the caller
    /// may drop the future at any moment. After an error, or when dropped, some of the jobs may have
    /// been published all the same: keep them all due and publish them again.
    async fn publish(&self, jobs: &[Job]) -> Result<(), PublishFailure>;

    /// Starts a consumer that holds at most `prefetch` jobs which are not settled yet.
    ///
    /// Once `stop` is cancelled it hands out no more, gives back what was not taken, and lives on only
    /// until the last [`Delivery`] it handed out is settled. Dropping the [`Deliveries`] does the same.
    fn consume(&self, prefetch: NonZeroU16, stop: CancellationToken) -> Deliveries;

    /// Whether a publish can succeed now, for health checks.
    fn state(&self) -> QueueState;
}

/// What a transport can do at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueState {
    /// It takes jobs.
    Ready,
    /// The broker is there but takes no messages, for the reason it gave.
    Blocked {
        /// The broker's words, "low on memory" for instance.
        reason: String,
    },
    /// There is no connection to the broker; one is being sought.
    Disconnected,
}

/// Why jobs could not be published. They may or may not have reached a queue.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublishFailure {
    /// No room became free in time.
    #[error("the job queue is full")]
    Full,
    /// The broker has stopped taking messages to protect itself.
    #[error("the broker takes no messages: {reason}")]
    Blocked { reason: String },
    /// No connection to the broker came about in time.
    #[error("the job queue has no connection to its broker")]
    Disconnected,
    /// The broker found no queue for the jobs; the topology has been declared anew since.
    #[error("the broker has no queue for the jobs")]
    Unroutable,
    /// The broker refused the jobs: its queue is full, or has no leader.
    #[error("the broker refused the jobs")]
    Refused,
    /// The broker is there and said nothing.
    #[error("the broker did not confirm the jobs in time")]
    Unconfirmed,
    /// The program is stopping.
    #[error("the job queue is closed")]
    Stopped,
}
