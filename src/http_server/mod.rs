//! HTTP server with limits on the resources that a peer can occupy.
//!
//! A peer that connects and sends nothing, sends slowly, does not read, or opens many connections or streams
//! occupies no more than these limits allow:
//!
//! - [`peers`] bounds the connections, in total and of one peer.
//! - [`activity`] bounds the time until the first request of a connection, between requests, and in total.
//! - [`answer_body`] sends answers in pieces, and [`stall`] ends those that a peer does not read.
//!
//! The size of request bodies and the time in which they arrive are limited by the handlers that read them.

mod activity;
mod answer_body;
mod connection;
mod peers;
mod stall;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto;
use ipnet::IpNet;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use activity::ConnectionTimes;
pub(crate) use answer_body::PIECE_BYTES;
use connection::Connection;
use peers::PeerLimit;
use stall::StreamExecutor;

/// Approximate maximum size of a request's head, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Maximum number of concurrent requests on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// Bytes of requests that an HTTP/2 peer may send before a handler reads them, per request and per connection.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 256 << 10;
/// Maximum number of bytes of an answer that wait in the HTTP/2 connection.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Interval between keep-alive pings on an idle HTTP/2 connection, and time within which they must be
/// answered.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIME_MAX: Duration = Duration::from_secs(10);
/// Delay after a failure to accept connections, such as a lack of file descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Reason why the server cannot listen on an address.
#[derive(Debug, Error)]
pub enum BindError {
    #[error("{address} is in use by another program: stop it, or choose another address with {setting}")]
    InUse { address: SocketAddr, setting: &'static str },
    #[error("cannot listen on {address}")]
    Other {
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Limits of the connections.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// Maximum number of concurrent connections; further ones wait in the socket's backlog.
    pub connections_max: usize,
    /// Maximum number of concurrent connections of one IPv4 address or IPv6 /64; further ones are refused.
    pub connections_per_peer_max: usize,
    /// Peers without a limit of their own, because they connect on behalf of others.
    pub unlimited_peers: Vec<IpNet>,
}

/// Binds `address`, which `setting` names. Connections wait until [`serve`] accepts them.
///
/// # Errors
/// The address is in use or cannot be bound.
pub async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address, setting },
        _ => BindError::Other { address, source },
    })
}

/// Serves until `stop` is cancelled and the requests in progress are answered. Each request has the address
/// of its peer in its extensions, as [`ConnectInfo<SocketAddr>`](axum::extract::ConnectInfo).
pub async fn serve(listener: TcpListener, router: Router, limits: ConnectionLimits, stop: CancellationToken) {
    Server::new(limits, ConnectionTimes::default(), router, stop).serve(listener).await;
}

struct Server {
    /// Tracks connections and the streams of HTTP/2 connections.
    tasks: TaskTracker,
    http: auto::Builder<StreamExecutor>,
    times: ConnectionTimes,
    permits: Arc<Semaphore>,
    peers: PeerLimit,
    router: Router,
    stop: CancellationToken,
}

impl Server {
    fn new(
        limits: ConnectionLimits,
        times: ConnectionTimes,
        router: Router,
        stop: CancellationToken,
    ) -> Self {
        let tasks = TaskTracker::new();
        Self {
            http: http(StreamExecutor(tasks.clone()), &times),
            tasks,
            times,
            permits: Arc::new(Semaphore::new(limits.connections_max)),
            peers: PeerLimit::new(limits.connections_per_peer_max, limits.unlimited_peers),
            router,
            stop,
        }
    }

    async fn serve(self, listener: TcpListener) {
        while let Some((stream, address, permit)) = self.next_connection(&listener).await {
            let Some(slot) = self.peers.admit(address.ip()) else {
                self.peers.refuse(stream);
                continue;
            };
            peers::watch_for_death(&stream);
            let connection = Connection {
                http: self.http.clone(),
                times: self.times,
                router: self.router.clone(),
                peer: address,
                stop: self.stop.clone(),
            };
            self.tasks.spawn(async move {
                connection.serve(stream).await;
                drop((slot, permit));
            });
        }
        drop(listener);
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Accepts the next connection; `None` when `stop` is cancelled.
    async fn next_connection(
        &self,
        listener: &TcpListener,
    ) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let accept = async {
            let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
            loop {
                match listener.accept().await {
                    Ok((stream, peer)) => return Some((stream, peer, permit)),
                    Err(error) if concerns_one_connection(&error) => {}
                    Err(error) => {
                        tracing::error!(%error, "cannot accept connections");
                        tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                    }
                }
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => None,
            accepted = accept => accepted,
        }
    }
}

fn http(executor: StreamExecutor, times: &ConnectionTimes) -> auto::Builder<StreamExecutor> {
    let mut http = auto::Builder::new(executor);
    http.http1().timer(TokioTimer::new()).header_read_timeout(times.head).max_buf_size(HEAD_BYTES_MAX);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIME_MAX);
    http
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
