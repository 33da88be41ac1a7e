//! Receivers of deliveries: one HTTP server with a path for each destination, which records every request.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::history::{self, Behaviour, RequestEnd, RunTime, Signatures};
use crate::recorder::Recorder;

/// Upper bound of a delivery's body.
const BODY_BYTES_MAX: usize = 8 << 20;
/// Delay after a connection could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// A request that is not answered is held for longer than any attempt takes.
const HOLD: Duration = Duration::from_secs(600);

/// The server. It stops when it is dropped.
pub(crate) struct Receivers {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinSet<()>,
}

struct Shared {
    seed: u64,
    behaviours: Vec<Behaviour>,
    recorder: Arc<Recorder>,
    /// Whether all destinations are healthy now.
    healed: AtomicBool,
}

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaction {
    Answer(StatusCode, Duration),
    Hold,
}

impl Receivers {
    /// Starts the server, with a path for each of these destinations.
    ///
    /// # Errors
    /// No loopback port can be bound.
    pub(crate) async fn start(
        seed: u64,
        behaviours: Vec<Behaviour>,
        recorder: Arc<Recorder>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { seed, behaviours, recorder, healed: AtomicBool::new(false) });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, server })
    }

    /// Returns the URL of a destination.
    #[must_use]
    pub(crate) fn url(&self, destination: usize) -> String {
        format!("http://{}/{destination}", self.address)
    }

    /// Lets all destinations answer with success from now on.
    pub(crate) fn heal(&self) {
        self.shared.healed.store(true, Ordering::Relaxed);
    }

    /// Stops the server and ends all requests.
    pub(crate) async fn stop(mut self) {
        self.server.shutdown().await;
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropping the set ends its connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, Arc::clone(&shared)));
                }
                Err(_) => sleep(ACCEPT_RETRY_DELAY).await,
            },
        }
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(receive(&shared, request).await) }
    });
    // An error means that the client closed the connection; the request in progress is recorded when it is
    // dropped.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn receive(shared: &Shared, request: Request<Incoming>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let path = request.uri().path().trim_start_matches('/');
    let Some(destination) = path.parse().ok().filter(|number: &usize| *number < shared.behaviours.len())
    else {
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut recorded = RecordedRequest::begin(shared, destination, request.headers());
    let Ok(body) = axum::body::to_bytes(Body::new(request.into_body()), BODY_BYTES_MAX).await else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    recorded.body = Some(body);
    let status = match shared.reaction(destination, recorded.event_id, recorded.attempt) {
        Reaction::Answer(status, delay) => {
            sleep(delay).await;
            status
        }
        Reaction::Hold => {
            sleep(HOLD).await;
            StatusCode::OK
        }
    };
    recorded.end = RequestEnd::Answered(status.as_u16());
    *response.status_mut() = status;
    response
}

impl Shared {
    /// Returns the reaction, which follows from the seed, the event and the attempt.
    fn reaction(&self, destination: usize, event_id: Uuid, attempt: u32) -> Reaction {
        let (high, low) = event_id.as_u64_pair();
        let mut random = StdRng::seed_from_u64(self.seed ^ high ^ low.rotate_left(7) ^ u64::from(attempt));
        let share = random.random_range(0..100);
        let at_once = |status| Reaction::Answer(status, Duration::ZERO);
        match self.behaviours[destination] {
            _ if self.healed.load(Ordering::Relaxed) => at_once(StatusCode::OK),
            Behaviour::Slow => {
                Reaction::Answer(StatusCode::OK, Duration::from_millis(random.random_range(100..1_500)))
            }
            Behaviour::Failing if share < 20 => at_once(StatusCode::INTERNAL_SERVER_ERROR),
            Behaviour::Failing if share < 30 => at_once(StatusCode::SERVICE_UNAVAILABLE),
            Behaviour::Hanging if share < 25 => Reaction::Hold,
            Behaviour::Dead => at_once(StatusCode::INTERNAL_SERVER_ERROR),
            Behaviour::Healthy | Behaviour::Failing | Behaviour::Hanging => at_once(StatusCode::OK),
        }
    }
}

/// Request that is in progress. It is recorded when it is dropped, however it ends.
struct RecordedRequest<'a> {
    recorder: &'a Recorder,
    destination: usize,
    event_id: Uuid,
    attempt: u32,
    began: RunTime,
    end: RequestEnd,
    signatures: Signatures,
    body: Option<Bytes>,
}

impl<'a> RecordedRequest<'a> {
    fn begin(shared: &'a Shared, destination: usize, headers: &HeaderMap) -> Self {
        let text = |name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
        };
        Self {
            recorder: &shared.recorder,
            destination,
            event_id: text("x-hooksentry-event-id").parse().unwrap_or_default(),
            attempt: text("x-hooksentry-attempt").parse().unwrap_or_default(),
            began: shared.recorder.begin_request(destination),
            end: RequestEnd::Aborted,
            signatures: Signatures {
                plain: text("x-hooksentry-signature"),
                id: text("webhook-id"),
                timestamp: text("webhook-timestamp"),
                standard: text("webhook-signature"),
            },
            body: None,
        }
    }
}

impl Drop for RecordedRequest<'_> {
    fn drop(&mut self) {
        self.recorder.record_request(history::Request {
            destination: self.destination,
            event_id: self.event_id,
            attempt: self.attempt,
            began: self.began,
            ended: self.recorder.clock.now(),
            end: self.end,
            signatures: std::mem::take(&mut self.signatures),
            body: self.body.take(),
        });
    }
}
