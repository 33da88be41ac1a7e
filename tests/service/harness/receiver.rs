//! Receivers: HTTP servers with a configurable behaviour, which record the webhooks that arrive.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// Webhook that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: Instant,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Arrival {
    /// Returns a header as text; empty if it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Returns the id of the webhook event.
    pub(crate) fn event_id(&self) -> &str {
        self.header("x-hooksentry-event-id")
    }
}

struct Behaviour {
    status: AtomicU16,
    delay_ms: AtomicUsize,
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    arrivals: Mutex<Vec<Arrival>>,
    held: watch::Sender<bool>,
}

/// Receiver, which is closed when it is dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    behaviour: Arc<Behaviour>,
    server: AbortHandle,
}

impl Receiver {
    /// Starts a receiver that answers with this status.
    pub(crate) async fn answering(status: u16) -> Self {
        let behaviour = Arc::new(Behaviour {
            status: AtomicU16::new(status),
            delay_ms: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
            arrivals: Mutex::default(),
            held: watch::Sender::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let app = Router::new().fallback(receive).with_state(Arc::clone(&behaviour));
        let mut tasks = tokio::task::JoinSet::new();
        let server = tasks.spawn(async move { axum::serve(listener, app).await });
        tasks.detach_all();
        Self { address, behaviour, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Changes the status of later answers.
    pub(crate) fn answer(&self, status: u16) {
        self.behaviour.status.store(status, Ordering::SeqCst);
    }

    /// Delays later answers.
    pub(crate) fn delay(&self, delay: Duration) {
        self.behaviour
            .delay_ms
            .store(usize::try_from(delay.as_millis()).expect("a short delay"), Ordering::SeqCst);
    }

    /// Holds later requests until [`release`](Self::release) is called.
    pub(crate) fn hold(&self) {
        self.behaviour.held.send_replace(true);
    }

    /// Answers the requests that it holds, and holds no more.
    pub(crate) fn release(&self) {
        self.behaviour.held.send_replace(false);
    }

    /// Returns the number of requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        self.behaviour.in_flight.load(Ordering::SeqCst)
    }

    /// Returns all arrivals so far.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        self.behaviour.arrivals.lock().expect("no panic while held").clone()
    }

    /// Returns the number of arrivals so far.
    pub(crate) fn count(&self) -> usize {
        self.behaviour.arrivals.lock().expect("no panic while held").len()
    }

    /// Returns the highest number of requests in flight so far.
    pub(crate) fn in_flight_max(&self) -> usize {
        self.behaviour.in_flight_max.load(Ordering::SeqCst)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Counts a request as in flight until it is dropped.
struct InFlight(Arc<Behaviour>);

impl InFlight {
    fn enter(behaviour: &Arc<Behaviour>) -> Self {
        let now = behaviour.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        behaviour.in_flight_max.fetch_max(now, Ordering::SeqCst);
        Self(Arc::clone(behaviour))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn receive(State(behaviour): State<Arc<Behaviour>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let _in_flight = InFlight::enter(&behaviour);
    behaviour.arrivals.lock().expect("no panic while held").push(Arrival {
        at: Instant::now(),
        headers,
        body,
    });
    let mut held = behaviour.held.subscribe();
    // The sender is part of the behaviour, so waiting cannot fail.
    drop(held.wait_for(|held| !held).await);
    let delay = behaviour.delay_ms.load(Ordering::SeqCst);
    if delay > 0 {
        tokio::time::sleep(Duration::from_millis(delay as u64)).await;
    }
    StatusCode::from_u16(behaviour.status.load(Ordering::SeqCst)).expect("a status")
}
