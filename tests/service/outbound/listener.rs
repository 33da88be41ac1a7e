//! The receiver of `hooksentry listen`, with real attempts.

use std::io;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aggregates::attempt_outcome::Outcome;
use axum::http::StatusCode;
use hooksentry::listen::{Arrival, Listener, ListenerSettings, SignatureStatus};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{SECRET, TIMEOUT_LONG, client, request};

/// Shared output.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

struct Running {
    url: String,
    arrivals: broadcast::Receiver<Arc<Arrival>>,
    paper: Paper,
    stop: CancellationToken,
    tasks: JoinSet<io::Result<()>>,
}

async fn listen(settings: ListenerSettings) -> Running {
    let paper = Paper::default();
    let settings = ListenerSettings { address: SocketAddr::from(([127, 0, 0, 1], 0)), ..settings };
    let listener = Listener::bind(settings, Box::new(paper.clone())).await.unwrap();
    let url = format!("http://{}/a/b?c=d", listener.address().unwrap());
    let arrivals = listener.subscribe();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(listener.serve(stop.clone()));
    Running { url, arrivals, paper, stop, tasks }
}

#[tokio::test]
async fn a_valid_webhook_is_verified_printed_and_forwarded() {
    let settings = ListenerSettings {
        secret: Some(SECRET.into()),
        status: StatusCode::ACCEPTED,
        ..ListenerSettings::default()
    };
    let mut running = listen(settings).await;
    let report = client(TIMEOUT_LONG).attempt(&request(&running.url)).await.report;
    assert_eq!((report.outcome, report.status), (Outcome::Succeeded, Some(202)));
    let arrival = running.arrivals.recv().await.unwrap();
    assert_eq!(arrival.plain_signature, SignatureStatus::Verified);
    assert_eq!(arrival.standard_signature, SignatureStatus::Verified);
    assert_eq!(&arrival.body[..], br#"{"a":1}"#);
    assert_eq!(arrival.uri, "/a/b?c=d");
    assert_eq!(arrival.header("x-hooksentry-attempt"), Some("3"));
    let text = running.paper.text();
    assert!(text.contains("POST /a/b?c=d  answered 202\n"), "{text}");
    assert!(text.contains("  verified  X-HookSentry-Signature\n  verified  Standard Webhooks\n"), "{text}");
    assert!(text.contains("\n    {\n      \"a\": 1\n    }\n"), "{text}");
}

#[tokio::test]
async fn a_webhook_signed_with_another_secret_is_not_verified() {
    let settings = ListenerSettings { secret: Some("whsec_00000000".into()), ..ListenerSettings::default() };
    let mut running = listen(settings).await;
    client(TIMEOUT_LONG).attempt(&request(&running.url)).await;
    let arrival = running.arrivals.recv().await.unwrap();
    assert_eq!(arrival.plain_signature, SignatureStatus::NotVerified("the signature does not match"));
    assert_eq!(arrival.standard_signature, SignatureStatus::NotVerified("no signature matches"));
    assert_eq!(running.paper.text().matches("NOT VERIFIED").count(), 2);
}

#[tokio::test]
async fn it_fails_on_request_and_prints_nothing() {
    let settings = ListenerSettings { fail_first: 1, quiet: true, ..ListenerSettings::default() };
    let running = listen(settings).await;
    let client = client(TIMEOUT_LONG);
    assert_eq!(client.attempt(&request(&running.url)).await.report.status, Some(500));
    assert_eq!(client.attempt(&request(&running.url)).await.report.status, Some(200));
    assert_eq!(running.paper.text(), "");
}

#[tokio::test]
async fn it_stops_at_once_even_during_a_delay() {
    let settings = ListenerSettings { delay: Duration::from_secs(3600), ..ListenerSettings::default() };
    let mut running = listen(settings).await;
    let client = client(TIMEOUT_LONG);
    let request = request(&running.url);
    let attempt = client.attempt(&request);
    let stopping = async {
        running.arrivals.recv().await.unwrap();
        running.stop.cancel();
        running.tasks.join_next().await.unwrap().unwrap().unwrap();
    };
    let (attempted, ()) = tokio::join!(attempt, stopping);
    assert_eq!(attempted.report.outcome, Outcome::Succeeded);
}
