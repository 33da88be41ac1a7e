//! Connections to the broker, with failover between its nodes and backoff.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt};
use lapin::tcp::{AsyncTcpStream, OwnedTLSConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, Event};
use metrics::{counter, gauge};
use thiserror::Error;
use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};

use super::broker_urls::{BrokerUrls, Node};
use super::topology::{Topology, TopologyFailure};

/// First pause after a lost connection, before jitter.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between attempts: a broker that is available again should have its clients soon.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// Timeout of closing a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Purpose of a connection, by which metrics, logs and the broker's list of connections name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkRole {
    Publisher,
    Consumer,
}

impl LinkRole {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Consumer => "consumer",
        }
    }
}

/// Reason for which there is no usable connection.
#[derive(Debug, Error)]
pub enum LinkFailure {
    #[error("{address} cannot be resolved")]
    Unknown {
        address: String,
        #[source]
        cause: io::Error,
    },
    #[error("{address} did not answer within {within:?}")]
    Timeout { address: String, within: Duration },
    /// The node cannot be reached, or rejects the credentials.
    #[error("{address} does not accept the connection")]
    Refused {
        address: String,
        #[source]
        cause: lapin::Error,
    },
    #[error("the queues cannot be declared")]
    Topology(#[from] TopologyFailure),
    #[error("the connection to the broker broke")]
    Broken(#[from] lapin::Error),
    /// The broker no longer serves the consumer, most likely because its queue was deleted.
    #[error("the broker no longer serves the consumer")]
    ConsumerEnded,
    #[error("the broker has sent no confirms in time")]
    Unconfirmed,
}

/// Opens connections, first to the node that was connected last, then to the next ones.
#[derive(Debug)]
pub(super) struct Connector {
    urls: BrokerUrls,
    connect_timeout: Duration,
    /// Index of the node to try first.
    preferred: AtomicUsize,
}

impl Connector {
    pub(super) fn new(urls: BrokerUrls, connect_timeout: Duration) -> Self {
        Self { urls, connect_timeout, preferred: AtomicUsize::new(0) }
    }

    /// Opens a connection on which the topology is declared. Retries without limit; the caller sets the
    /// timeout. Each failure is logged and passed to `note`.
    pub(super) async fn open(
        &self,
        role: LinkRole,
        topology: &Topology,
        mut note: impl FnMut(LinkFailure),
    ) -> Link {
        let mut pause = Pause::default();
        loop {
            match self.try_open(role, topology).await {
                Ok(link) => {
                    tracing::info!(broker = link.address, role = role.name(), "connected to the broker");
                    return link;
                }
                Err(failure) => {
                    let error = &failure as &dyn std::error::Error;
                    tracing::warn!(error, role = role.name(), "connecting to the broker failed, retrying");
                    note(failure);
                }
            }
            pause.wait().await;
        }
    }

    async fn try_open(&self, role: LinkRole, topology: &Topology) -> Result<Link, LinkFailure> {
        let nodes = self.urls.nodes();
        let preferred = self.preferred.load(Ordering::Relaxed);
        let mut tried = 0;
        loop {
            let index = (preferred + tried) % nodes.len();
            tried += 1;
            match self.try_node(&nodes[index], role, topology).await {
                Ok(link) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(link);
                }
                Err(failure) if tried >= nodes.len() => return Err(failure),
                Err(failure) => {
                    let error = &failure as &dyn std::error::Error;
                    tracing::debug!(error, role = role.name(), "trying the next node");
                }
            }
        }
    }

    async fn try_node(&self, node: &Node, role: LinkRole, topology: &Topology) -> Result<Link, LinkFailure> {
        let opening = async {
            let link = connect(node, role).await?;
            topology.declare(&link).await?;
            Ok(link)
        };
        self.in_time(&node.address, opening).await
    }

    /// Waits for an answer of a node, at most as long as connecting may take.
    pub(super) async fn in_time<T>(
        &self,
        address: &str,
        answer: impl Future<Output = Result<T, LinkFailure>>,
    ) -> Result<T, LinkFailure> {
        let within = self.connect_timeout;
        timeout(within, answer)
            .await
            .unwrap_or_else(|_| Err(LinkFailure::Timeout { address: address.to_owned(), within }))
    }
}

async fn connect(node: &Node, role: LinkRole) -> Result<Link, LinkFailure> {
    let address = || node.address.clone();
    let uri = node.uri();
    let addresses: Vec<SocketAddr> = lookup_host((uri.authority.host.as_str(), uri.authority.port))
        .await
        .map_err(|cause| LinkFailure::Unknown { address: address(), cause })?
        .collect();

    let refused = |cause| LinkFailure::Refused { address: address(), cause };
    let runtime = lapin::runtime::default_runtime().map_err(refused)?;
    let properties =
        ConnectionProperties::default().with_connection_name(format!("hooksentry {}", role.name()).into());
    let shutdown = ShutdownOnDrop::default();
    let socket = Arc::clone(&shutdown.socket);
    let dialer = runtime.clone();
    let dial = async move |uri: AMQPUri, _| {
        let stream = AsyncTcpStream::connect(&dialer, addresses.clone()).await?;
        if let AsyncTcpStream::Plain(plain) = &stream {
            let copy = plain.get_ref().as_fd().try_clone_to_owned()?;
            *socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(copy);
        }
        match uri.scheme {
            AMQPScheme::AMQP => Ok(stream),
            AMQPScheme::AMQPS => {
                Ok(stream.into_tls(&uri.authority.host, OwnedTLSConfig::default().as_ref()).await?)
            }
        }
    };
    let connection = Connection::connector(uri, runtime, dial, properties).await.map_err(refused)?;
    Ok(Link::new(connection, shutdown, address(), role))
}

/// Socket of a connection, which is shut down on drop, from the handshake on.
///
/// The client library runs each connection on a thread and closes it when all its handles are dropped. But it
/// waits indefinitely for a peer that accepts a connection and sends nothing; and a consumer that is dropped
/// before the broker has answered keeps its connection, and later the jobs that the broker sends.
#[derive(Default)]
struct ShutdownOnDrop {
    socket: Arc<Mutex<Option<OwnedFd>>>,
}

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Fails if the connection is closed already.
            drop(std::net::TcpStream::from(socket).shutdown(Shutdown::Both));
        }
    }
}

/// An open connection.
pub(super) struct Link {
    connection: Connection,
    _shutdown: ShutdownOnDrop,
    address: String,
    role: LinkRole,
}

impl Link {
    fn new(connection: Connection, shutdown: ShutdownOnDrop, address: String, role: LinkRole) -> Self {
        gauge!("hooksentry_queue_connections", "role" => role.name()).increment(1);
        Self { connection, _shutdown: shutdown, address, role }
    }

    pub(super) async fn channel(&self) -> Result<Channel, lapin::Error> {
        self.connection.create_channel().await
    }

    /// Returns the events of the connection. Each event goes to one listener, so call this once.
    pub(super) fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        self.connection.events_listener().boxed()
    }

    pub(super) fn connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Returns a check whether the broker has stopped reading from this connection.
    pub(super) fn blocked(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let status = self.connection.status().clone();
        move || status.blocked()
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Closes the connection. The broker delivers unsettled jobs to other consumers at once.
    pub(super) async fn close(self) {
        if !self.connected() {
            return;
        }
        match timeout(CLOSE_TIMEOUT, self.connection.close(200, "stopping".into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, broker = self.address, "the connection was closed already")
            }
            Err(_) => tracing::debug!(broker = self.address, "the broker did not confirm the close"),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        gauge!("hooksentry_queue_connections", "role" => self.role.name()).decrement(1);
    }
}

/// Logs and counts a lost connection that is about to be replaced.
pub(super) fn note_lost(role: LinkRole, failure: &LinkFailure) {
    counter!("hooksentry_queue_reconnects_total", "role" => role.name()).increment(1);
    let error = failure as &dyn std::error::Error;
    tracing::warn!(error, role = role.name(), "connection to the broker lost, reconnecting");
}

/// Exponential backoff with jitter, so that many processes do not connect at the same moment.
#[derive(Debug, Default)]
pub(super) struct Pause {
    failures: u32,
}

impl Pause {
    pub(super) async fn wait(&mut self) {
        sleep(self.next()).await;
    }

    fn next(&mut self) -> Duration {
        let full = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        self.failures += 1;
        full.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let mut pause = Pause::default();
        let first = pause.next();
        assert!((PAUSE_MIN / 2..=PAUSE_MIN).contains(&first), "{first:?}");
        let later: Vec<_> = (0..100).map(|_| pause.next()).skip(10).collect();
        assert!(later.iter().all(|pause| (PAUSE_MAX / 2..=PAUSE_MAX).contains(pause)), "{later:?}");
        assert!(later.iter().any(|pause| *pause != later[0]), "{later:?}");
    }
}
