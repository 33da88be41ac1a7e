//! Connections to the broker: where it is, how to reach it, how long to wait before the next attempt.

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

/// The first pause after a lost connection, about.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// The longest pause between attempts: a broker that is back must not wait long for its clients.
const PAUSE_MAX: Duration = Duration::from_secs(3);
/// How long a farewell may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection is for. Names it in metrics, logs and the broker's own listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Consumer,
}

impl Role {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Consumer => "consumer",
        }
    }
}

/// Why there is no usable connection.
#[derive(Debug, Error)]
pub enum LinkFailure {
    /// The name could not be resolved.
    #[error("{address} cannot be found")]
    Unknown {
        address: String,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The node took too long.
    #[error("{address} did not answer within {within:?}")]
    Silent {
        address: String,
        /// How long it was given.
        within: Duration,
    },
    /// The node could not be reached, or did not let us in.
    #[error("{address} does not accept the connection")]
    Refused {
        address: String,
        /// Its reason.
        #[source]
        cause: lapin::Error,
    },
    /// The topology could not be declared.
    #[error("the queues cannot be declared")]
    Topology(#[from] TopologyFailure),
    /// The connection or a channel broke.
    #[error("the connection to the broker broke")]
    Broken(#[from] lapin::Error),
    /// The broker no longer serves the consumer, most likely because its queue was deleted.
    #[error("the broker no longer serves the consumer")]
    ConsumerEnded,
    /// The broker owes confirms.
    #[error("the broker confirms nothing")]
    Unconfirmed,
}

/// Opens connections, to the node that answered last or else to the next one.
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

    /// Opens a connection on which the topology is declared, however long it takes. The caller puts the
    /// limit. Each failure is logged and passed to `note`.
    pub(super) async fn open(
        &self,
        role: Role,
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
                    tracing::warn!(error, role = role.name(), "no connection to the broker yet");
                    note(failure);
                }
            }
            pause.wait().await;
        }
    }

    async fn try_open(&self, role: Role, topology: &Topology) -> Result<Link, LinkFailure> {
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

    async fn try_node(&self, node: &Node, role: Role, topology: &Topology) -> Result<Link, LinkFailure> {
        let opening = async {
            let link = connect(node, role).await?;
            topology.declare(&link).await?;
            Ok(link)
        };
        self.in_time(&node.address, opening).await
    }

    /// What a node shall do at once, or be given up.
    pub(super) async fn in_time<T>(
        &self,
        address: &str,
        answer: impl Future<Output = Result<T, LinkFailure>>,
    ) -> Result<T, LinkFailure> {
        let within = self.connect_timeout;
        timeout(within, answer)
            .await
            .unwrap_or_else(|_| Err(LinkFailure::Silent { address: address.to_owned(), within }))
    }
}

async fn connect(node: &Node, role: Role) -> Result<Link, LinkFailure> {
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
    let lifeline = Lifeline::default();
    let socket = Arc::clone(&lifeline.socket);
    let dialler = runtime.clone();
    let dial = async move |uri: AMQPUri, _| {
        let stream = AsyncTcpStream::connect(&dialler, addresses.clone()).await?;
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
    Ok(Link::new(connection, lifeline, address(), role))
}

/// The socket of a connection, which is shut down when we let go of it, from the handshake on.
///
/// The client library runs each connection on a thread and closes it when all its parts are dropped. It
/// waits for ever, though, for a peer that accepts a connection and says nothing; and a consumer that is
/// dropped before the broker answered keeps its connection, and later the jobs that the broker sends it.
#[derive(Default)]
struct Lifeline {
    socket: Arc<Mutex<Option<OwnedFd>>>,
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It fails if the connection is closed already, which is as good.
            drop(std::net::TcpStream::from(socket).shutdown(Shutdown::Both));
        }
    }
}

/// A connection that is up.
pub(super) struct Link {
    connection: Connection,
    _lifeline: Lifeline,
    address: String,
    role: Role,
}

impl Link {
    fn new(connection: Connection, lifeline: Lifeline, address: String, role: Role) -> Self {
        gauge!("hooksentry_queue_connections", "role" => role.name()).increment(1);
        Self { connection, _lifeline: lifeline, address, role }
    }

    pub(super) async fn channel(&self) -> Result<Channel, lapin::Error> {
        self.connection.create_channel().await
    }

    /// What the broker says about the connection. One listener gets each event, so take it once.
    pub(super) fn events(&self) -> impl Stream<Item = Event> + Send + Unpin + use<> {
        self.connection.events_listener().boxed()
    }

    pub(super) fn connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// Whether the broker has stopped reading from this connection.
    pub(super) fn blocked(&self) -> impl Fn() -> bool + Send + Sync + use<> {
        let status = self.connection.status().clone();
        move || status.blocked()
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Says goodbye. The broker hands unsettled jobs to others at once.
    pub(super) async fn close(self) {
        if !self.connected() {
            return;
        }
        match timeout(CLOSE_TIMEOUT, self.connection.close(200, "stopping".into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, broker = self.address, "the connection closed by itself")
            }
            Err(_) => tracing::debug!(broker = self.address, "the broker did not say goodbye"),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        gauge!("hooksentry_queue_connections", "role" => self.role.name()).decrement(1);
    }
}

/// Logs and counts a connection that was lost and is now replaced.
pub(super) fn note_lost(role: Role, failure: &LinkFailure) {
    counter!("hooksentry_queue_reconnects_total", "role" => role.name()).increment(1);
    let error = failure as &dyn std::error::Error;
    tracing::warn!(error, role = role.name(), "lost the broker, connecting again");
}

/// Growing pauses with jitter, so that many processes do not knock at the same moment.
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
