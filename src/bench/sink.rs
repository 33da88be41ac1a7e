//! The receiver: takes what HookSentry delivers, writes it down, and behaves as it is told.
//!
//! It can think for a while before it answers, fail a share of the requests, and stand behind a gate.
//! While the gate is shut, requests are held; each for a bounded time, below what HookSentry gives an
//! attempt, so that with a destination's limit of 1 deliveries all but stop without a single failure.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::ledger::Ledger;
use crate::identifiers;
use crate::worker::request::EVENT_ID_HEADER;

/// Connections at once; further ones wait.
const CONNECTIONS_MAX: usize = 16_384;
/// The largest webhook that is read.
const BODY_BYTES_MAX: usize = 64 << 20;
/// How long to wait when no connection can be accepted.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// How a receiver behaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Behaviour {
    /// How long it thinks.
    pub(super) latency: Duration,
    /// The share of requests that it answers with 500, spread evenly.
    pub(super) failure_rate: f64,
    /// What it stands behind, if anything.
    pub(super) gate: Option<Gate>,
}

/// A gate that holds requests until it is opened, each for a bounded time.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    open: Arc<watch::Sender<bool>>,
    held_at_most: Duration,
}

/// A listening sink. It stops with the value.
pub(super) struct Sink {
    #[cfg(test)]
    address: SocketAddr,
    url: String,
    desk: Arc<RequestHandler>,
    _server: JoinSet<()>,
}

struct RequestHandler {
    ledger: Arc<Ledger>,
    /// The first part of each path: what is meant for an earlier run's sink is not ours.
    run: String,
    receivers: RwLock<Vec<Arc<Receiver>>>,
}

struct Receiver {
    behaviour: Behaviour,
    requests: AtomicU64,
}

impl Gate {
    /// A gate that is shut.
    pub(super) fn shut(held_at_most: Duration) -> Self {
        Self { open: Arc::new(watch::Sender::new(false)), held_at_most }
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        let mut open = self.open.subscribe();
        let _ = timeout(self.held_at_most, open.wait_for(|open| *open)).await;
    }
}

impl Sink {
    /// Listens at `address`. `url` is what others call that, if it is not the same.
    pub(super) async fn listen(
        address: SocketAddr,
        url: Option<&str>,
        ledger: Arc<Ledger>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let url = url.map_or_else(|| format!("http://{address}"), |url| url.trim_end_matches('/').to_owned());
        let run = identifiers::new_id().simple().to_string();
        let desk = Arc::new(RequestHandler { ledger, run, receivers: RwLock::default() });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&desk)));
        Ok(Self {
            #[cfg(test)]
            address,
            url,
            desk,
            _server: server,
        })
    }

    #[cfg(test)]
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a receiver and answers with its URL.
    pub(super) fn add_receiver(&self, behaviour: Behaviour) -> String {
        let mut receivers = self.desk.receivers.write().unwrap_or_else(PoisonError::into_inner);
        receivers.push(Arc::new(Receiver { behaviour, requests: AtomicU64::new(0) }));
        format!("{}/{}/{}", self.url, self.desk.run, receivers.len() - 1)
    }
}

async fn serve(listener: TcpListener, desk: Arc<RequestHandler>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // With the set its connections end.
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            _ = connections.join_next(), if !connections.is_empty() => {}
            (permit, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let desk = Arc::clone(&desk);
                    connections.spawn(async move {
                        serve_connection(stream, desk).await;
                        drop(permit);
                    });
                }
                Err(_) => sleep(ACCEPT_AGAIN_AFTER).await,
            },
        }
    }
}

async fn serve_connection(stream: TcpStream, desk: Arc<RequestHandler>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let desk = Arc::clone(&desk);
        async move { Ok::<_, Infallible>(desk.receive(request).await) }
    });
    // Whoever hangs up, hangs up; the ledger knows what was not answered.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl RequestHandler {
    async fn receive(&self, request: Request<Incoming>) -> Response<Body> {
        let status = match self.event_and_receiver(&request) {
            Some((event_id, receiver)) => {
                // An arrival is complete with its last byte.
                match axum::body::to_bytes(Body::new(request.into_body()), BODY_BYTES_MAX).await {
                    Ok(_) => self.behave(event_id, &receiver).await,
                    Err(_) => StatusCode::BAD_REQUEST,
                }
            }
            None => StatusCode::NOT_FOUND,
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    }

    async fn behave(&self, event_id: Uuid, receiver: &Receiver) -> StatusCode {
        self.ledger.arrived(event_id);
        let number = receiver.requests.fetch_add(1, Ordering::Relaxed);
        let well = !fails(number, receiver.behaviour.failure_rate);
        if let Some(gate) = &receiver.behaviour.gate {
            gate.pass().await;
        }
        if !receiver.behaviour.latency.is_zero() {
            sleep(receiver.behaviour.latency).await;
        }
        self.ledger.answered(event_id, well);
        if well { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }
    }

    fn event_and_receiver(&self, request: &Request<Incoming>) -> Option<(Uuid, Arc<Receiver>)> {
        let event_id = request.headers().get(EVENT_ID_HEADER)?.to_str().ok()?.parse().ok()?;
        let (run, number) = request.uri().path().strip_prefix('/')?.split_once('/')?;
        if run != self.run {
            return None;
        }
        let receivers = self.receivers.read().unwrap_or_else(PoisonError::into_inner);
        Some((event_id, Arc::clone(receivers.get(number.parse::<usize>().ok()?)?)))
    }
}

/// Whether the request with this number, counted from 0, fails.
fn fails(number: u64, rate: f64) -> bool {
    // The failures due among the first n requests are the share of n; one is due when that grows.
    let due = |requests: u64| (requests as f64 * rate).floor();
    due(number + 1) > due(number)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::super::connection::Connection;
    use super::*;

    async fn sink() -> (Sink, Arc<Ledger>) {
        let ledger = Arc::new(Ledger::open(10, 0));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        (Sink::listen(address, None, Arc::clone(&ledger)).await.unwrap(), ledger)
    }

    fn request(url: &str, event_id: Uuid) -> Vec<u8> {
        let path = url.splitn(4, '/').last().unwrap();
        format!("POST /{path} HTTP/1.1\r\nhost: a\r\n{EVENT_ID_HEADER}: {event_id}\r\ncontent-length: 2\r\n\r\n{{}}")
            .into_bytes()
    }

    #[test]
    fn failures_are_spread_evenly() {
        let answers = |rate| (0..8).map(|number| fails(number, rate)).collect::<Vec<_>>();
        assert_eq!(answers(0.25), [false, false, false, true, false, false, false, true]);
        assert_eq!(answers(0.0), [false; 8]);
        assert_eq!(answers(1.0), [true; 8]);
    }

    #[tokio::test]
    async fn arrivals_are_written_down_and_strangers_turned_away() {
        let (sink, ledger) = sink().await;
        let url = sink.add_receiver(Behaviour { failure_rate: 0.5, ..Behaviour::default() });
        let mut connection = Connection::open(sink.address()).await.unwrap();
        let event_id = Uuid::from_u128(7);
        for status in [200, 500, 200] {
            assert_eq!(connection.exchange(&request(&url, event_id)).await.unwrap().status, status);
        }
        let strange = url.replace(&sink.desk.run, "another-run");
        assert_eq!(connection.exchange(&request(&strange, event_id)).await.unwrap().status, 404);
        let books = ledger.reconcile();
        assert_eq!((books.unclaimed, books.repeats, books.retried), (1, 2, 1));
    }

    #[tokio::test]
    async fn a_gate_holds_until_it_is_opened_or_time_is_up() {
        Gate::shut(Duration::from_millis(10)).pass().await;
        let gate = Gate::shut(Duration::from_secs(3_600));
        assert!(gate.pass().now_or_never().is_none());
        let opener = gate.clone();
        tokio::join!(gate.pass(), async { opener.open() });
        assert!(gate.pass().now_or_never().is_some());
    }
}
