//! TCP proxy that cuts, delays or swallows what passes through it.
//!
//! Tests put it between a process and PostgreSQL or RabbitMQ. Packets that a firewall drops, a host that loses its
//! power and a failover are all invisible to a process whose connection stays open: [`Fault::Swallow`] and
//! [`FaultProxy::abandon`] produce them without privileges and without another machine.
//!
//! A fault holds for one direction or both, and for the connections that exist, those that follow, or all.

mod link;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use link::{Link, Stream};

/// What happens to the bytes of one direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// They are passed on.
    #[default]
    Pass,
    /// They are passed on after this time, in order. The delay does not limit the throughput.
    Delay(Duration),
    /// They are read and lost, and so is the end of the connection: neither side is told.
    Swallow,
    /// They are not read, so that the sender's buffers fill up, as when the receiver is paused.
    Stall,
    /// The connection is closed on both sides. A new one is closed as soon as it is accepted.
    Cut,
}

/// Which direction of a connection a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
    Both,
}

/// Which connections a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that are open now.
    Existing,
    /// Those that are opened from now on.
    New,
    All,
}

/// Server that the proxy connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<&Path> for Target {
    fn from(socket: &Path) -> Self {
        Self::Unix(socket.to_owned())
    }
}

/// Faults of the two directions of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Faults {
    to_server: Fault,
    to_client: Fault,
}

impl Faults {
    fn set(&mut self, direction: Direction, fault: Fault) {
        if direction != Direction::ToClient {
            self.to_server = fault;
        }
        if direction != Direction::ToServer {
            self.to_client = fault;
        }
    }

    fn is_cut(self) -> bool {
        self.to_server == Fault::Cut || self.to_client == Fault::Cut
    }
}

/// A proxy on a loopback port. When it is dropped, it closes its port and all connections.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct State {
    target: Target,
    /// Faults of new connections.
    faults: Faults,
    links: Vec<Link>,
}

impl State {
    /// Returns the connections that are still open.
    fn open_links(&mut self) -> &mut Vec<Link> {
        self.links.retain(|link| !link.is_closed());
        &mut self.links
    }
}

impl FaultProxy {
    /// Starts a proxy to `target`, which passes everything on.
    ///
    /// # Errors
    /// No loopback port can be bound.
    pub async fn start(target: impl Into<Target>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = State { target: target.into(), faults: Faults::default(), links: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let accepting = accept_all(listener, Arc::clone(&state), tasks.clone(), stop.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(accepting));
        Ok(Self { address, state, _stop: stop.drop_guard() })
    }

    /// Returns the address that clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of open connections of clients.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.state().open_links().len()
    }

    /// Sets what happens to the bytes of these connections from now on.
    pub fn set(&self, scope: Scope, direction: Direction, fault: Fault) {
        let mut state = self.state();
        if scope != Scope::Existing {
            state.faults.set(direction, fault);
        }
        if scope != Scope::New {
            for link in state.open_links() {
                link.set(direction, fault);
            }
        }
    }

    /// Passes everything on again, on all connections.
    pub fn heal(&self) {
        self.set(Scope::All, Direction::Both, Fault::Pass);
    }

    /// Closes the open connections on both sides.
    pub fn cut(&self) {
        self.set(Scope::Existing, Direction::Both, Fault::Cut);
    }

    /// Closes the open connections on the side of the server, and leaves them open and silent on the side of the
    /// clients, as when the host of the server has lost its power.
    pub fn abandon(&self) {
        for link in self.state().open_links() {
            link.abandon();
        }
    }

    /// Connects later clients to another server, as after a failover.
    pub fn redirect(&self, target: impl Into<Target>) {
        self.state().target = target.into();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept_all(
    listener: TcpListener,
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    // An error concerns the client that has gone meanwhile.
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let mut state = lock(&state);
        if state.faults.is_cut() {
            continue;
        }
        let (link, serving) = Link::new(state.faults);
        state.open_links().push(link);
        let serving = serving.serve(client, connect(state.target.clone()));
        tasks.spawn(stop.clone().run_until_cancelled_owned(serving));
    }
}

async fn connect(target: Target) -> io::Result<Stream> {
    match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::of(stream))
        }
        Target::Unix(socket) => Ok(Stream::of(UnixStream::connect(socket).await?)),
    }
}
