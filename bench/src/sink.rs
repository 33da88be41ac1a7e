//! The receiver of deliveries, which records each arrival.
//!
//! It can delay its answers, fail a share of the requests, and hold requests behind a gate. A closed gate
//! holds each request for a bounded time, below the timeout of an attempt, so deliveries to a destination
//! with a limit of 1 nearly stop without any failure.

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

use super::event_tracker::EventTracker;

/// Header of a delivery with the id of its event; part of the API's contract.
const EVENT_ID_HEADER: &str = "X-HookSentry-Event-Id";

/// Upper bound of concurrent connections; further ones wait.
const CONNECTIONS_MAX: usize = 16_384;
/// Upper bound of a delivery's body.
const BODY_BYTES_MAX: usize = 64 << 20;
/// Delay after a connection could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Behaviour of a receiver.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    /// Delay before an answer.
    pub(crate) latency: Duration,
    /// Share of requests that it answers with 500, from 0 to 1, spread evenly.
    pub(crate) failure_rate: f64,
    /// Gate that holds its requests.
    pub(crate) gate: Option<Gate>,
}

/// Gate that holds requests until it is opened, each for a bounded time.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    open: Arc<watch::Sender<bool>>,
    hold_max: Duration,
}

/// HTTP server with any number of receivers. It stops when it is dropped.
pub(crate) struct Sink {
    #[cfg(test)]
    address: SocketAddr,
    url: String,
    state: Arc<SinkState>,
    _server: JoinSet<()>,
}

struct SinkState {
    tracker: Arc<EventTracker>,
    /// First segment of each path, which distinguishes this run from earlier ones on the same port.
    run: String,
    receivers: RwLock<Vec<Arc<Receiver>>>,
}

struct Receiver {
    behaviour: Behaviour,
    requests: AtomicU64,
}

impl Gate {
    pub(crate) fn closed(hold_max: Duration) -> Self {
        Self { open: Arc::new(watch::Sender::new(false)), hold_max }
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        let mut open = self.open.subscribe();
        let _ = timeout(self.hold_max, open.wait_for(|open| *open)).await;
    }
}

impl Sink {
    /// Listens at `address`. `url` is the URL of that address as the service sees it, if it differs.
    pub(crate) async fn listen(
        address: SocketAddr,
        url: Option<&str>,
        tracker: Arc<EventTracker>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let url = url.map_or_else(|| format!("http://{address}"), |url| url.trim_end_matches('/').to_owned());
        let run = format!("{:032x}", rand::random::<u128>());
        let state = Arc::new(SinkState { tracker, run, receivers: RwLock::default() });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&state)));
        Ok(Self {
            #[cfg(test)]
            address,
            url,
            state,
            _server: server,
        })
    }

    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a receiver and returns its URL.
    pub(crate) fn add_receiver(&self, behaviour: Behaviour) -> String {
        let mut receivers = self.state.receivers.write().unwrap_or_else(PoisonError::into_inner);
        receivers.push(Arc::new(Receiver { behaviour, requests: AtomicU64::new(0) }));
        format!("{}/{}/{}", self.url, self.state.run, receivers.len() - 1)
    }
}

async fn serve(listener: TcpListener, state: Arc<SinkState>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // Dropping the set ends its connections.
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            _ = connections.join_next(), if !connections.is_empty() => {}
            (permit, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let state = Arc::clone(&state);
                    connections.spawn(async move {
                        serve_connection(stream, state).await;
                        drop(permit);
                    });
                }
                Err(_) => sleep(ACCEPT_RETRY_DELAY).await,
            },
        }
    }
}

async fn serve_connection(stream: TcpStream, state: Arc<SinkState>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.receive(request).await) }
    });
    // An error means that the client hung up; the tracker counts what was not answered.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

impl SinkState {
    async fn receive(&self, request: Request<Incoming>) -> Response<Body> {
        let status = match self.event_and_receiver(&request) {
            Some((event_id, receiver)) => {
                // A request arrives with the last byte of its body.
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
        self.tracker.arrived(event_id);
        let number = receiver.requests.fetch_add(1, Ordering::Relaxed);
        let success = !fails(number, receiver.behaviour.failure_rate);
        if let Some(gate) = &receiver.behaviour.gate {
            gate.pass().await;
        }
        if !receiver.behaviour.latency.is_zero() {
            sleep(receiver.behaviour.latency).await;
        }
        self.tracker.answered(event_id, success);
        if success { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR }
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

/// Whether the request with this number, counted from 0, is answered with a failure.
fn fails(number: u64, rate: f64) -> bool {
    // Among the first n requests, rate * n failures are due, rounded down; one is due when that grows.
    let due = |requests: u64| (requests as f64 * rate).floor();
    due(number + 1) > due(number)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::super::connection::Connection;
    use super::*;

    async fn sink() -> (Sink, Arc<EventTracker>) {
        let tracker = Arc::new(EventTracker::new(10, 0));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        (Sink::listen(address, None, Arc::clone(&tracker)).await.unwrap(), tracker)
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
    async fn arrivals_are_recorded_and_those_of_another_run_refused() {
        let (sink, tracker) = sink().await;
        let url = sink.add_receiver(Behaviour { failure_rate: 0.5, ..Behaviour::default() });
        let mut connection = Connection::open(sink.address()).await.unwrap();
        let event_id = Uuid::from_u128(7);
        for status in [200, 500, 200] {
            assert_eq!(connection.exchange(&request(&url, event_id)).await.unwrap().status, status);
        }
        let other_run = url.replace(&sink.state.run, "another-run");
        assert_eq!(connection.exchange(&request(&other_run, event_id)).await.unwrap().status, 404);
        let counts = tracker.reconcile();
        assert_eq!((counts.unclaimed, counts.repeats, counts.retried), (1, 2, 1));
    }

    #[tokio::test]
    async fn a_gate_holds_until_it_is_opened_or_its_timeout_elapses() {
        Gate::closed(Duration::from_millis(10)).pass().await;
        let gate = Gate::closed(Duration::from_secs(3_600));
        assert!(gate.pass().now_or_never().is_none());
        let opener = gate.clone();
        tokio::join!(gate.pass(), async { opener.open() });
        assert!(gate.pass().now_or_never().is_some());
    }
}
