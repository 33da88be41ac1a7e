//! The transport over RabbitMQ: one broker or a cluster, several processes.
//!
//! # Who does what
//!
//! - The **publisher** is one task with one connection. It gathers what waits to be published into
//!   rounds, sends a round at once over one of a few channels, and waits for all its confirms together,
//!   while the next round is on its way over the next channel. An idle publisher sends a single job
//!   without delay; a busy one has about a thousand confirms outstanding.
//! - Each **consumer** is one task with one connection. It hands out what the broker pushes, up to its
//!   prefetch, and settles what workers return, as many with one frame as arrived together.
//!
//! They do not share a connection because a broker that runs low on memory or disk stops reading from
//! connections that publish, and acknowledgements must go through all the more then.
//!
//! # What happens if
//!
//! - **the broker restarts, or a node of the cluster dies**: each task notices by its socket, or by a
//!   missing heartbeat, connects again to whichever node answers (with growing, jittered pauses),
//!   declares the topology, and goes on. Publishes wait for it within their timeout.
//!   What a consumer had in hand is handed out again by the broker; acknowledging the old copy has no
//!   effect, and the new one finds the claim taken.
//! - **a queue is deleted**: the consumer is told so by the broker, or finds out by itself within a few
//!   seconds, and declares it anew. The publisher gets its jobs returned, reports
//!   [`PublishFailure::Unroutable`] and has declared it by then.
//! - **the broker blocks publishers**: publishes end with [`PublishFailure::Blocked`] after the publish
//!   timeout, and succeed again once it unblocks.
//! - **the quorum is lost**: confirms do not come, publishes end with [`PublishFailure::Unconfirmed`],
//!   and after a while the publisher connects anew, perhaps to a healthier node.
//!
//! The client library offers to recover connections by itself. We do not use that: it replays publishes
//! and consumers by rules of its own, and a session that is torn down and built again by our few lines is
//! easier to reason about.

mod broker_urls;
mod connection;
mod consumer;
mod publisher;
mod settlement;
mod topology;

use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::try_join_all;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Deliveries, Job, JobQueue, PUBLISH_TIMEOUT_DEFAULT, PublishFailure, QueueState};
pub use broker_urls::{BrokerUrls, InvalidBrokerUrl};
pub use connection::LinkFailure;
use connection::{Connector, Role};
use consumer::Consumer;
use publisher::{Publisher, ROUND_JOBS_MAX, Request};
use topology::Topology;
pub use topology::{InvalidQueuePrefix, QueuePrefix, TopologyFailure};

/// Publish requests that wait for a round, at most; further callers wait for room, within their timeout.
const REQUESTS_WAITING_MAX: usize = 256;

/// How long to wait before jobs are published again that were refused or cut off.
const PUBLISH_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Where the broker is and how to use it.
#[derive(Clone, Debug)]
pub struct RabbitMqSettings {
    /// The broker, or the nodes of its cluster.
    pub urls: BrokerUrls,
    /// Begins the name of everything that is declared. Installations that share a broker need different
    /// ones.
    pub prefix: QueuePrefix,
    /// How long one publish may take. See [`PUBLISH_TIMEOUT_DEFAULT`].
    pub publish_timeout: Duration,
    /// How long one attempt to connect to one node may take, name resolution and TLS included. Shorter,
    /// and a busy broker is never reached; longer, and a dead node delays the turn of the next.
    pub connect_timeout: Duration,
}

impl RabbitMqSettings {
    /// Settings with the default times.
    #[must_use]
    pub fn new(urls: BrokerUrls, prefix: QueuePrefix) -> Self {
        let connect_timeout = Duration::from_secs(5);
        Self { urls, prefix, publish_timeout: PUBLISH_TIMEOUT_DEFAULT, connect_timeout }
    }
}

/// The broker could not be used when the program started.
#[derive(Debug, Error)]
#[error("no broker could be used within {within:?}, tried {urls:?}")]
pub struct StartFailure {
    within: Duration,
    urls: BrokerUrls,
    #[source]
    last: Option<LinkFailure>,
}

/// The queue on RabbitMQ.
#[derive(Debug)]
pub struct RabbitMq {
    requests: mpsc::Sender<Request>,
    state: watch::Receiver<QueueState>,
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    publish_timeout: Duration,
    tasks: TaskTracker,
}

impl RabbitMq {
    /// Connects to the broker and declares the topology, trying again until `within` has passed.
    ///
    /// The publisher runs on `tasks` until `stop` is cancelled or the queue is dropped. Cancel `stop`
    /// after the dispatcher has ended; the consumers have their own signal.
    pub async fn connect(
        settings: RabbitMqSettings,
        within: Duration,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, StartFailure> {
        let connector = Arc::new(Connector::new(settings.urls.clone(), settings.connect_timeout));
        let topology = Arc::new(Topology::new(&settings.prefix));
        let (requests, waiting) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (announce, state) = watch::channel(QueueState::Disconnected);
        let publisher =
            Publisher::new(Arc::clone(&connector), Arc::clone(&topology), waiting, announce, stop.clone());

        let mut last = None;
        let opening = connector.open(Role::Publisher, &topology, |failure| last = Some(failure));
        let opened = tokio::select! {
            opened = timeout(within, opening) => opened.ok(),
            () = stop.cancelled() => None,
        };
        let Some(link) = opened else {
            return Err(StartFailure { within, urls: settings.urls, last });
        };
        tasks.spawn(publisher.run(link));
        Ok(Self {
            requests,
            state,
            connector,
            topology,
            publish_timeout: settings.publish_timeout,
            tasks: tasks.clone(),
        })
    }

    /// Publishes one request, and again if it was refused or its connection broke: that often passes, and
    /// the rest of the caller's jobs need not be published twice for it. The caller sets the limit.
    async fn publish_part(&self, jobs: &[Job], refused: &AtomicBool) -> Result<(), PublishFailure> {
        loop {
            let (reply, answer) = oneshot::channel();
            let request = Request { jobs: jobs.to_vec(), reply };
            self.requests.send(request).await.map_err(|_| PublishFailure::Stopped)?;
            match answer.await {
                Ok(Err(PublishFailure::Refused)) => refused.store(true, Ordering::Relaxed),
                Ok(outcome) => return outcome,
                // The connection broke before the broker confirmed.
                Err(_) => {}
            }
            sleep(PUBLISH_AGAIN_AFTER).await;
        }
    }
}

#[async_trait]
impl JobQueue for RabbitMq {
    async fn publish(&self, jobs: &[Job]) -> Result<(), PublishFailure> {
        let refused = AtomicBool::new(false);
        let parts = jobs.chunks(ROUND_JOBS_MAX).map(|jobs| self.publish_part(jobs, &refused));
        match timeout(self.publish_timeout, try_join_all(parts)).await {
            Ok(published) => published.map(drop),
            Err(_) => Err(match &*self.state.borrow() {
                QueueState::Ready if refused.into_inner() => PublishFailure::Refused,
                QueueState::Ready => PublishFailure::Unconfirmed,
                QueueState::Blocked { reason } => PublishFailure::Blocked { reason: reason.clone() },
                QueueState::Disconnected => PublishFailure::Disconnected,
            }),
        }
    }

    fn consume(&self, prefetch: NonZeroU16, stop: CancellationToken) -> Deliveries {
        let (connector, topology) = (Arc::clone(&self.connector), Arc::clone(&self.topology));
        let (consumer, deliveries) = Consumer::new(connector, topology, prefetch, stop);
        self.tasks.spawn(consumer.run());
        deliveries
    }

    fn state(&self) -> QueueState {
        self.state.borrow().clone()
    }
}
