//! A receiver for people who try things out: it takes every webhook, says whether its signatures hold,
//! and shows it.
//!
//! `hooksentry listen` is this and a command line. The demonstration of `dev` and the tests use it as
//! well, and learn from [`Listener::subscribe`] what arrived. It can be slow or fail on purpose, so
//! that retries and the circuit breaker can be watched.

mod print;

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

use crate::clock;
use crate::worker::signature::{
    SIGNATURE_HEADER, STANDARD_ID_HEADER, STANDARD_SIGNATURE_HEADER, STANDARD_TIMESTAMP_HEADER, verify,
    verify_standard,
};

/// The largest webhook that is taken; far above what ingest accepts.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Arrivals that wait for a subscriber. A slower one is told that it missed some.
const ARRIVALS_WAITING_MAX: usize = 4096;

/// What a listener does with what arrives.
#[derive(Clone, Debug)]
pub struct ListenerSettings {
    /// Where it listens. Port 0 picks a free one.
    pub address: SocketAddr,
    /// The webhook secret; without it no signature is checked.
    pub secret: Option<SecretString>,
    /// What it answers.
    pub status: StatusCode,
    /// How long it thinks before it answers.
    pub delay: Duration,
    /// So many arrivals are answered with 500 before the first good answer.
    pub fail_first: u64,
    /// The share of arrivals that are answered with 500, from 0 to 1, spread evenly.
    pub fail_rate: f64,
    /// Whether to print nothing.
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

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When its body was complete.
    pub at: DateTime<Utc>,
    /// Mostly POST.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All its headers.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// What became of `X-HookSentry-Signature`.
    pub plain_signature: Verdict,
    /// What became of the Standard Webhooks signature.
    pub standard_signature: Verdict,
    /// What it is answered with.
    pub status: StatusCode,
}

impl Arrival {
    /// A header as text, if it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What a signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Verified,
    /// It does not, for this reason.
    NotVerified(&'static str),
    /// There is no secret to check it with.
    NotChecked,
}

/// A receiver with its port bound, not serving yet: what arrives meanwhile waits.
pub struct Listener {
    socket: TcpListener,
    desk: Arc<RequestHandler>,
}

/// What all connections share.
struct RequestHandler {
    settings: ListenerSettings,
    arrivals: broadcast::Sender<Arc<Arrival>>,
    count: AtomicU64,
    output: Mutex<Box<dyn Write + Send>>,
    closing: CancellationToken,
}

impl Listener {
    /// Binds the port. What arrives is printed to `output`.
    pub async fn bind(settings: ListenerSettings, output: Box<dyn Write + Send>) -> io::Result<Self> {
        let socket = TcpListener::bind(settings.address).await?;
        let desk = RequestHandler {
            settings,
            arrivals: broadcast::Sender::new(ARRIVALS_WAITING_MAX),
            count: AtomicU64::new(0),
            output: Mutex::new(output),
            closing: CancellationToken::new(),
        };
        Ok(Self { socket, desk: Arc::new(desk) })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Everything that arrives from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Arrival>> {
        self.desk.arrivals.subscribe()
    }

    /// Receives until it is told to stop; requests in hand are answered at once then.
    pub async fn serve(self, stop: CancellationToken) -> io::Result<()> {
        let closing = self.desk.closing.clone();
        let router = Router::new()
            .fallback(receive)
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self.desk);
        let stopped = async move {
            stop.cancelled().await;
            closing.cancel();
        };
        axum::serve(self.socket, router).with_graceful_shutdown(stopped).await
    }
}

async fn receive(
    State(desk): State<Arc<RequestHandler>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let status = desk.settings.answer(desk.count.fetch_add(1, Ordering::Relaxed));
    let at = clock::now();
    let plain_signature = plain_verdict(desk.settings.secret.as_ref(), &headers, &body);
    let standard_signature = standard_verdict(desk.settings.secret.as_ref(), &headers, &body, at);
    let arrival =
        Arc::new(Arrival { at, method, uri, headers, body, plain_signature, standard_signature, status });
    if !desk.settings.quiet {
        let text = print::describe(&arrival);
        let mut output = desk.output.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader who has gone away is no reason to stop receiving.
        let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    }
    // Nobody need be listening.
    let _ = desk.arrivals.send(arrival);
    if !desk.settings.delay.is_zero() {
        let _ = tokio::time::timeout(desk.settings.delay, desk.closing.cancelled()).await;
    }
    (status, if status.is_success() { "received\n" } else { "failed on purpose\n" })
}

impl ListenerSettings {
    /// The answer to the arrival with this number, counted from 0.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of arrivals needs no more precision than a float has"
    )]
    fn answer(&self, number: u64) -> StatusCode {
        // The failures due among the first n arrivals are the share of n; one is due now when that
        // number grows.
        let due = |arrivals: u64| (arrivals as f64 * self.fail_rate.clamp(0.0, 1.0)) as u64;
        let counted = number.saturating_sub(self.fail_first);
        if number < self.fail_first || due(counted + 1) > due(counted) {
            StatusCode::INTERNAL_SERVER_ERROR
        } else {
            self.status
        }
    }
}

fn plain_verdict(secret: Option<&SecretString>, headers: &HeaderMap, body: &[u8]) -> Verdict {
    let Some(secret) = secret else { return Verdict::NotChecked };
    match headers.get(SIGNATURE_HEADER).map(|value| value.to_str().unwrap_or_default()) {
        None => Verdict::NotVerified("the header is missing"),
        Some(signature) if verify(secret, body, signature) => Verdict::Verified,
        Some(_) => Verdict::NotVerified("the signature does not fit"),
    }
}

fn standard_verdict(
    secret: Option<&SecretString>,
    headers: &HeaderMap,
    body: &[u8],
    now: DateTime<Utc>,
) -> Verdict {
    use crate::worker::signature::StandardSignatureProblem as Problem;

    let Some(secret) = secret else { return Verdict::NotChecked };
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(timestamp), Some(signatures)) =
        (header(STANDARD_ID_HEADER), header(STANDARD_TIMESTAMP_HEADER), header(STANDARD_SIGNATURE_HEADER))
    else {
        return Verdict::NotVerified("a header is missing");
    };
    match verify_standard(secret, id, timestamp, signatures, body, now) {
        Ok(()) => Verdict::Verified,
        Err(Problem::MalformedTimestamp) => Verdict::NotVerified("the timestamp is malformed"),
        Err(Problem::TimestampOutOfTolerance) => Verdict::NotVerified("the timestamp is too far from now"),
        Err(Problem::NoValidSignature) => Verdict::NotVerified("no signature fits"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(settings: &ListenerSettings, count: u64) -> Vec<u16> {
        (0..count).map(|number| settings.answer(number).as_u16()).collect()
    }

    #[test]
    fn failures_come_first_and_then_at_their_rate() {
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
