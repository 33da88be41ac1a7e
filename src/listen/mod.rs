//! Receiver of webhooks for trying things out: it prints every webhook and verifies its signatures.
//!
//! `hooksentry listen` runs it. The demonstration of `dev` and the tests use it too, and read arrivals from
//! [`Listener::subscribe`]. It can be slow or fail on purpose, so that retries and the circuit breaker can be
//! watched.

mod print;
mod signatures;

use std::io;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

pub use signatures::SignatureStatus;

use crate::clock;

/// Upper bound of a webhook's body; far above that of ingest.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Arrivals that are buffered for a subscriber. A slower subscriber misses some and gets an error.
const ARRIVALS_WAITING_MAX: usize = 4096;

/// Settings of a [`Listener`].
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Port 0 selects a free port.
    pub address: SocketAddr,
    /// Webhook secret; `None` if signatures are not verified.
    pub secret: Option<SecretString>,
    /// Status of answers that do not fail on purpose.
    pub status: StatusCode,
    /// Delay before each answer.
    pub delay: Duration,
    /// Number of webhooks that are answered with 500 at first.
    pub fail_first: u64,
    /// Share of the later webhooks that are answered with 500, from 0 to 1, spread evenly.
    pub fail_rate: f64,
    pub quiet: bool,
}

impl Default for ListenerSettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8484)),
            secret: None,
            status: StatusCode::OK,
            delay: Duration::ZERO,
            fail_first: 0,
            fail_rate: 0.0,
            quiet: false,
        }
    }
}

/// Request that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Time at which the body was complete.
    pub at: DateTime<Utc>,
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Status of `X-HookSentry-Signature`.
    pub plain_signature: SignatureStatus,
    /// Status of the Standard Webhooks signature.
    pub standard_signature: SignatureStatus,
    /// Status of the answer.
    pub status: StatusCode,
}

impl Arrival {
    /// Returns a header, or `None` if it is missing or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Receiver with a bound port. Connections wait until [`serve`](Self::serve) is called.
pub struct Listener {
    socket: TcpListener,
    state: Arc<ListenerState>,
}

/// State that all connections share.
struct ListenerState {
    settings: ListenerSettings,
    arrivals: broadcast::Sender<Arc<Arrival>>,
    count: AtomicU64,
    output: Mutex<Box<dyn Write + Send>>,
    closing: CancellationToken,
}

impl Listener {
    /// Binds the port. Arrivals are printed to `output`.
    ///
    /// # Errors
    ///
    /// Fails when the address cannot be bound.
    pub async fn bind(settings: ListenerSettings, output: Box<dyn Write + Send>) -> io::Result<Self> {
        let socket = TcpListener::bind(settings.address).await?;
        let state = ListenerState {
            settings,
            arrivals: broadcast::Sender::new(ARRIVALS_WAITING_MAX),
            count: AtomicU64::new(0),
            output: Mutex::new(output),
            closing: CancellationToken::new(),
        };
        Ok(Self { socket, state: Arc::new(state) })
    }

    /// Returns the bound address.
    ///
    /// # Errors
    ///
    /// Fails when the operating system does not return it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Returns a receiver of all later arrivals.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.state.arrivals.subscribe()
    }

    /// Receives until `stop` is cancelled; requests in progress are then answered without delay.
    ///
    /// # Errors
    ///
    /// Fails when the server fails.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        let closing = self.state.closing.clone();
        let router = Router::new()
            .fallback(receive)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.state);
        let stopped = async move {
            stop.cancelled().await;
            closing.cancel();
        };
        axum::serve(self.socket, router).with_graceful_shutdown(stopped).await
    }
}

async fn receive(
    State(state): State<Arc<ListenerState>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let status = state.settings.answer(state.count.fetch_add(1, Ordering::Relaxed));
    let at = clock::now();
    let plain_signature = signatures::check_plain(state.settings.secret.as_ref(), &headers, &body);
    let standard_signature = signatures::check_standard(state.settings.secret.as_ref(), &headers, &body, at);
    let arrival =
        Arc::new(Arrival { at, method, uri, headers, body, plain_signature, standard_signature, status });
    if !state.settings.quiet {
        let text = print::describe(&arrival);
        let mut output = state.output.lock().unwrap_or_else(PoisonError::into_inner);
        // A closed output does not stop the receiver.
        let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    }
    // It fails when there is no subscriber.
    let _ = state.arrivals.send(arrival);
    if !state.settings.delay.is_zero() {
        let _ = tokio::time::timeout(state.settings.delay, state.closing.cancelled()).await;
    }
    (status, if status.is_success() { "received\n" } else { "failed on purpose\n" })
}

impl ListenerSettings {
    /// Returns the status of the answer to the webhook with this number, counted from 0.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share needs no more precision than a float has"
    )]
    fn answer(&self, number: u64) -> StatusCode {
        // Among the first n webhooks, rate * n failures are due, rounded down; one is due now when that grows.
        let due = |arrivals: u64| (arrivals as f64 * self.fail_rate.clamp(0.0, 1.0)) as u64;
        let counted = number.saturating_sub(self.fail_first);
        if number < self.fail_first || due(counted + 1) > due(counted) {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            self.status
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(settings: &ListenerSettings, count: u64) -> Vec<u16> {
        (0..count).map(|number| settings.answer(number).as_u16()).collect()
    }

    #[test]
    fn first_failures_precede_those_at_a_rate() {
        let settings = ListenerSettings {
            status: StatusCode::NO_CONTENT,
            fail_first: 2,
            fail_rate: 0.25,
            ..ListenerSettings::default()
        };
        assert_eq!(answers(&settings, 10), [500, 500, 204, 204, 204, 500, 204, 204, 204, 500]);
        let never = ListenerSettings::default();
        assert_eq!(answers(&never, 3), [200, 200, 200]);
        let always = ListenerSettings { fail_rate: 1.0, ..never };
        assert_eq!(answers(&always, 3), [500, 500, 500]);
    }
}
