//! HTTP server with limits on the resources that a peer can occupy.
//!
//! A peer that connects and sends nothing, sends slowly, or opens many streams occupies no more than these
//! constants allow. The size of bodies is limited by the handlers that read them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// Maximum number of concurrent connections; further ones wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 8_192;
/// Time within which the head of a request must arrive.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
/// Approximate maximum size of a request's head, in bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Maximum number of concurrent requests on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// Interval between keep-alive pings on an idle HTTP/2 connection, and time within which they must be
/// answered.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIME_MAX: Duration = Duration::from_secs(10);
/// Delay after a failure to accept connections, such as a lack of file descriptors.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Reason why the server cannot listen on an address.
#[derive(Debug, Error)]
pub enum BindError {
    #[error("{0} is in use by another program: stop it, or choose another address with HOOKSENTRY_LISTEN")]
    InUse(SocketAddr),
    #[error("cannot listen on {address}")]
    Other {
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Binds `address`. Connections wait until [`serve`] accepts them.
///
/// # Errors
/// The address is in use or cannot be bound.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        _ => BindError::Other { address, source },
    })
}

/// Serves until `stop` is cancelled and the requests in progress are answered. Each request has the address
/// of its peer in its extensions, as [`ConnectInfo<SocketAddr>`].
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    serve_with(server(HEAD_TIME_MAX), listener, router, stop).await;
}

async fn serve_with(
    server: auto::Builder<TokioExecutor>,
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) {
    let limit = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let graceful = GracefulShutdown::new();
    while let Some((stream, peer, permit)) = next_connection(&listener, &limit, &stop).await {
        let router = router.clone();
        let service = router.map_request(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        });
        let connection =
            server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, error, "a connection failed");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

fn server(head_time_max: Duration) -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(head_time_max).max_buf_size(HEAD_BYTES_MAX);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIME_MAX);
    server
}

/// Accepts the next connection; `None` when `stop` is cancelled.
async fn next_connection(
    listener: &TcpListener,
    limit: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let accept = async {
        let permit = Arc::clone(limit).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    // Responses are written in one piece, so Nagle's algorithm would only delay them.
                    let _ = stream.set_nodelay(true);
                    return Some((stream, peer, permit));
                }
                Err(error) if concerns_one_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => None,
        accepted = accept => accepted,
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    async fn start(router: Router) -> (SocketAddr, CancellationToken, TaskTracker) {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let (address, stop, tasks) =
            (listener.local_addr().unwrap(), CancellationToken::new(), TaskTracker::new());
        tasks.spawn(serve(listener, router, stop.clone()));
        tasks.close();
        (address, stop, tasks)
    }

    async fn answer(stream: &mut TcpStream) -> String {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_handler_receives_the_address_of_the_peer() {
        let whoami = get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() });
        let (address, _stop, _tasks) = start(Router::new().route("/", whoami)).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let text = answer(&mut stream).await;
        assert!(text.ends_with(&stream.local_addr().unwrap().to_string()), "{text}");
    }

    #[tokio::test]
    async fn a_request_in_progress_is_answered_before_the_server_stops() {
        let (asked, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (asked, go) = (Arc::clone(&asked), Arc::clone(&go));
            get(move || async move {
                asked.notify_one();
                go.notified().await;
                "done"
            })
        };
        let (address, stop, tasks) = start(Router::new().route("/", handler)).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        let mut busy = TcpStream::connect(address).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        asked.notified().await;
        stop.cancel();
        // No connection is accepted, and idle connections are closed.
        assert_eq!(answer(&mut idle).await, "");
        go.notify_one();
        assert!(answer(&mut busy).await.ends_with("done"));
        tasks.wait().await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn a_connection_without_a_complete_head_is_closed() {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let tasks = TaskTracker::new();
        let server = server(Duration::from_millis(20));
        tasks.spawn(serve_with(server, listener, Router::new(), CancellationToken::new()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
        // Without the limit, this waits without end.
        tokio::time::timeout(HEAD_TIME_MAX, answer(&mut stream)).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_in_one_sentence() {
        let first = bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = first.local_addr().unwrap();
        let problem = bind(address).await.unwrap_err().to_string();
        assert!(problem.starts_with(&format!("{address} is in use by another program")), "{problem}");
    }
}
