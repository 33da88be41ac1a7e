//! The transport over RabbitMQ: one broker or a cluster, several processes.
//!
//! # Types of the queue
//!
//! - [`QueueType::Transient`]: a classic queue, messages in memory, no confirms. A publish ends when its jobs are in the
//!   socket. That is enough because the log has the events: what is lost is announced
//!   ([`JobQueue::losses`]), and published again. The queue is on one node.
//! - [`QueueType::Quorum`]: replicated and on disk before a publish ends, so that the loss of a node of a cluster loses
//!   neither jobs nor the queue.
//!
//! # Tasks
//!
//! - The **publisher** is one task with one connection. It collects waiting requests into rounds, sends a
//!   round at once over one of a few channels, and waits for all its confirms together, if there are any, while the
//!   next round is sent over the next channel. An idle publisher sends a single job without delay; a busy one has about
//!   a thousand confirms outstanding.
//! - Each **consumer** is one task with one connection. It delivers the jobs that the broker sends, up to its
//!   prefetch, and settles those that workers return, with one frame for as many as possible.
//!
//! They use different connections because a broker that is short of memory or disk space stops reading from
//! connections that publish, and acknowledgements, which relieve it, must still get through.
//!
//! # Failures
//!
//! - **The broker restarts, or a node of the cluster dies**: each task notices by its socket, or by a missing
//!   heartbeat, connects to the first node that answers (with growing, jittered pauses), declares the
//!   topology, and continues. Publishes wait for it within their timeout. The broker delivers the unsettled
//!   jobs of a consumer again; acknowledging the old copy has no effect, and the new one does not get the
//!   claim. A publisher that is connected again announces a loss. While the node of a transient queue is down, other nodes
//!   refuse to declare it, and there is no queue.
//! - **A queue is deleted**: the consumer is notified by the broker, or notices within a few seconds, and
//!   declares the queue again. The publisher gets its jobs returned, declares the queue, and then reports
//!   [`PublishFailure::Unroutable`]; without confirms it looks every second whether there is a queue, and whether jobs were
//!   returned. The process that declares the queue again informs all publishers over the broker, which announce a loss.
//! - **The broker blocks publishers**: publishes fail with [`PublishFailure::Blocked`] after the publish
//!   timeout, and succeed again when the broker unblocks.
//! - **The quorum is lost**: there are no confirms, publishes fail with [`PublishFailure::Unconfirmed`], and
//!   after [`round::CONFIRM_TIMEOUT`] the publisher reconnects, perhaps to a healthier node.
//! - **The queue is purged**: that is not noticed. The jobs are published again when they have not started for a while.
//!
//! The recovery of connections that the client library offers is not used: it replays publishes and consumers
//! by its own rules, and a session that is closed and opened again is easier to reason about.

mod broker_urls;
mod connection;
mod consumer;
mod publisher;
mod queue_type;
mod round;
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

use super::{Deliveries, Job, JobQueue, PUBLISH_TIMEOUT_DEFAULT, PublishFailure, QueueState};
use crate::lifecycle::HelperTasks;
pub use broker_urls::{BrokerUrls, InvalidBrokerUrl};
pub use connection::LinkFailure;
use connection::{Connector, LinkRole};
use consumer::BrokerConsumer;
use publisher::{BrokerPublisher, ROUND_JOBS_MAX};
pub use queue_type::{QueueType, UnknownQueueType};
use round::PublishRequest;
use topology::Topology;
pub use topology::{InvalidQueuePrefix, QueuePrefix, TopologyFailure};

/// Maximum number of requests that wait for a round; further callers wait, within their timeout.
const REQUESTS_WAITING_MAX: usize = 256;

/// Pause before jobs are published again that were refused or whose connection broke.
const PUBLISH_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Settings of the connection to the broker.
#[derive(Clone, Debug)]
pub struct RabbitMqSettings {
    pub urls: BrokerUrls,
    /// Prefix of the names of everything that is declared. Installations that share a broker need different
    /// prefixes.
    pub prefix: QueuePrefix,
    pub queue_type: QueueType,
    /// Timeout of a publish, see [`PUBLISH_TIMEOUT_DEFAULT`].
    pub publish_timeout: Duration,
    /// Timeout of an attempt to connect to one node, including name resolution and TLS. Lower: a busy broker
    /// is never reached. Higher: a dead node delays the attempt to connect to the next one.
    pub connect_timeout: Duration,
}

impl RabbitMqSettings {
    /// Returns settings with the default type of the queue and the default timeouts.
    #[must_use]
    pub fn new(urls: BrokerUrls, prefix: QueuePrefix) -> Self {
        let connect_timeout = Duration::from_secs(5);
        let queue_type = QueueType::default();
        Self { urls, prefix, queue_type, publish_timeout: PUBLISH_TIMEOUT_DEFAULT, connect_timeout }
    }
}

/// No usable broker was found at startup.
#[derive(Debug, Error)]
#[error("no broker could be used within {within:?}, tried {urls:?}")]
pub struct StartFailure {
    within: Duration,
    urls: BrokerUrls,
    #[source]
    last: Option<LinkFailure>,
}

/// Job queue on RabbitMQ.
#[derive(Debug)]
pub struct RabbitMq {
    requests: mpsc::Sender<PublishRequest>,
    state: watch::Receiver<QueueState>,
    losses: watch::Receiver<u64>,
    connector: Arc<Connector>,
    topology: Arc<Topology>,
    publish_timeout: Duration,
    tasks: HelperTasks,
}

impl RabbitMq {
    /// Connects to the broker and declares the topology. Retries until `within` has passed.
    ///
    /// The publisher runs on `tasks` until `stop` is cancelled or the queue is dropped. Cancel `stop` after
    /// the dispatcher has ended; the consumers have a signal of their own.
    ///
    /// # Errors
    /// When no broker could be used in that time.
    pub async fn connect(
        settings: RabbitMqSettings,
        within: Duration,
        tasks: &HelperTasks,
        stop: CancellationToken,
    ) -> Result<Self, StartFailure> {
        let connector = Arc::new(Connector::new(settings.urls.clone(), settings.connect_timeout));
        let topology = Arc::new(Topology::new(&settings.prefix, settings.queue_type));
        let (requests, waiting) = mpsc::channel(REQUESTS_WAITING_MAX);
        let (announce, state) = watch::channel(QueueState::Disconnected);
        let (announce_losses, losses) = watch::channel(0);
        let publisher = BrokerPublisher::new(
            Arc::clone(&connector),
            Arc::clone(&topology),
            waiting,
            announce,
            announce_losses,
            stop.clone(),
        );

        let mut last = None;
        let opening = connector.open(LinkRole::Publisher, &topology, |failure| last = Some(failure));
        let opened = tokio::select! {
            opened = timeout(within, opening) => opened.ok(),
            () = stop.cancelled() => None,
        };
        let Some(link) = opened else {
            return Err(StartFailure { within, urls: settings.urls, last });
        };
        tasks.spawn("the publisher to RabbitMQ", publisher.run(link));
        Ok(Self {
            requests,
            state,
            losses,
            connector,
            topology,
            publish_timeout: settings.publish_timeout,
            tasks: tasks.clone(),
        })
    }

    /// Publishes one request, and repeats it if it was refused or its connection broke: that is often
    /// temporary, and the rest of the caller's jobs need not be published twice because of it. The caller
    /// sets the timeout.
    async fn publish_part(&self, jobs: &[Job], refused: &AtomicBool) -> Result<(), PublishFailure> {
        loop {
            let (reply, answer) = oneshot::channel();
            let request = PublishRequest { jobs: jobs.to_vec(), reply };
            self.requests.send(request).await.map_err(|_| PublishFailure::Stopped)?;
            match answer.await {
                Ok(Err(PublishFailure::Refused)) => refused.store(true, Ordering::Relaxed),
                Ok(outcome) => return outcome,
                // The connection broke before the round ended.
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
        let (consumer, deliveries) = BrokerConsumer::new(connector, topology, prefetch, stop);
        self.tasks.spawn("a consumer of RabbitMQ", consumer.run());
        deliveries
    }

    fn state(&self) -> QueueState {
        self.state.borrow().clone()
    }

    fn losses(&self) -> watch::Receiver<u64> {
        self.losses.clone()
    }
}
