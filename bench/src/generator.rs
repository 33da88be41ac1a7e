//! The load generator: connections that send, in a closed or an open loop.
//!
//! In a **closed loop** each connection sends the next event when it has its answer. That measures
//! throughput. It does not measure latency well, because a stall of the service also stalls the load.
//!
//! In an **open loop** every event has a scheduled time, fixed before the load begins, and its latency is
//! measured from that time. So an event that waits for a connection behind a stalled request counts as
//! waiting, as that of a real sender would. (Measuring from the actual time of sending is known as
//! coordinated omission, and makes a service that stops for a second look fast.)

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use hooksentry_client::AcceptedEvent;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::connection::{Connection, ConnectionError};
use super::event_tracker::{EventTracker, LoadId};
use super::ingest_request::IngestRequests;
use super::load_stats::SendError;

/// Delay before a connection that could not be opened is tried again.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// How long after the end of an open loop its last events may still be sent.
const LATENESS_MAX: Duration = Duration::from_secs(30);
/// Upper bound of the events of an open loop that are due and wait for a connection. Above it the schedule
/// pauses; scheduled times do not change.
const DUE_MAX: usize = 10_000;

/// Load of one run.
pub(crate) struct Load {
    pub(crate) id: LoadId,
    pub(crate) requests: IngestRequests,
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
    /// Upper bound of the events.
    pub(crate) count: u64,
}

/// How the times of sending are determined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Each connection sends the next event when it has its answer.
    Closed { connections: usize },
    /// Events are sent at scheduled times; `connections` bounds how many wait for their answers.
    Open { per_second: f64, connections: usize },
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { connections } => write!(f, "closed loop, {connections} connections"),
            Self::Open { per_second, .. } => write!(f, "open loop, {per_second}/s"),
        }
    }
}

/// Runs a load until it ends or `stop` is cancelled, and until every answer has arrived.
pub(crate) async fn run(
    load: Load,
    api: SocketAddr,
    tracker: &Arc<EventTracker>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (Pace::Closed { connections } | Pace::Open { connections, .. }) = load.pace;
    let mut connections = open(api, connections).await;
    let end = Instant::now() + load.duration;
    let (schedule, cut_off) = match load.pace {
        Pace::Closed { .. } => (Schedule::Closed { next: AtomicU64::new(0), count: load.count, end }, end),
        Pace::Open { per_second, .. } => {
            (Schedule::Open(Mutex::new(open_schedule(per_second, load.count, end)?)), end + LATENESS_MAX)
        }
    };
    let shared =
        Arc::new(Shared { load, api, tracker: Arc::clone(tracker), schedule, stop: stop.clone(), cut_off });
    let mut tasks = JoinSet::new();
    while let Some(connection) = connections.pop() {
        let connection = LoadConnection { shared: Arc::clone(&shared), connection, buffer: Vec::new() };
        tasks.spawn(connection.send_all());
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("the task of a connection panicked")?;
    }
    Ok(())
}

/// Opens the connections before the load begins. One that cannot be opened is tried again when it is used.
async fn open(api: SocketAddr, count: usize) -> Vec<Option<Connection>> {
    let mut connections: Vec<_> = std::iter::repeat_with(|| None).take(count).collect();
    for connection in &mut connections {
        *connection = Connection::open(api).await.ok();
        if connection.is_none() {
            break;
        }
    }
    connections
}

/// State that the connections of a load share.
struct Shared {
    load: Load,
    api: SocketAddr,
    tracker: Arc<EventTracker>,
    schedule: Schedule,
    stop: CancellationToken,
    /// Time after which nothing is sent.
    cut_off: Instant,
}

/// Source of the events to send.
enum Schedule {
    Closed { next: AtomicU64, count: u64, end: Instant },
    Open(Mutex<mpsc::Receiver<ScheduledSend>>),
}

/// Event to send, with its scheduled time.
#[derive(Clone, Copy, Debug)]
struct ScheduledSend {
    number: u64,
    intended: Instant,
}

impl Schedule {
    async fn next(&self) -> Option<ScheduledSend> {
        match self {
            Self::Closed { next, count, end } => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let intended = Instant::now();
                (number < *count && intended < *end).then_some(ScheduledSend { number, intended })
            }
            Self::Open(due) => due.lock().await.recv().await,
        }
    }
}

/// Returns the scheduled time of the event with this number, relative to the beginning.
fn intended_after(number: u64, per_second: f64) -> Duration {
    Duration::try_from_secs_f64(number as f64 / per_second).unwrap_or(Duration::MAX)
}

/// Sends each event to the connections at its scheduled time. It uses a thread, because timers of the
/// runtime have a resolution of a millisecond, which is as long as a whole request.
fn open_schedule(per_second: f64, count: u64, end: Instant) -> anyhow::Result<mpsc::Receiver<ScheduledSend>> {
    let (sender, due) = mpsc::channel(DUE_MAX);
    let begin = Instant::now();
    let schedule = move || {
        for number in 0..count {
            let Some(intended) = begin.checked_add(intended_after(number, per_second)) else { return };
            if intended >= end {
                return;
            }
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            // The load was stopped if there is no receiver.
            if sender.blocking_send(ScheduledSend { number, intended }).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("bench-pace".to_owned()).spawn(schedule).context("no thread")?;
    Ok(due)
}

/// Connection of a load, which sends one event at a time.
struct LoadConnection {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    /// Buffer for requests with an idempotency key.
    buffer: Vec<u8>,
}

impl LoadConnection {
    async fn send_all(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut cut_off = pin!(tokio::time::sleep_until(shared.cut_off.into()));
        loop {
            let next = async {
                shared.tracker.acquire_slot().await;
                shared.schedule.next().await
            };
            let scheduled = tokio::select! {
                biased;
                () = shared.stop.cancelled() => return,
                next = next => next,
                () = &mut cut_off => None,
            };
            let Some(scheduled) = scheduled else { break };
            match self.send(scheduled.number).await {
                Ok(event_id) => shared.tracker.accepted(shared.load.id, event_id, scheduled.intended),
                Err(error) => {
                    shared.tracker.refused(shared.load.id, error);
                    if error == SendError::NotConnected {
                        tokio::time::sleep(RECONNECT_DELAY).await;
                    }
                }
            }
        }
        shared.tracker.release_slot();
    }

    async fn send(&mut self, number: u64) -> Result<Uuid, SendError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.shared.api).await.map_err(send_error)?,
        };
        let request = self.shared.load.requests.request(number, &mut self.buffer);
        let answer = connection.exchange(request).await.map_err(send_error)?;
        if answer.keep_alive {
            self.connection = Some(connection);
        }
        if answer.status != 202 {
            return Err(SendError::Status(answer.status));
        }
        serde_json::from_slice::<AcceptedEvent>(&answer.body)
            .map(|accepted| accepted.event_id)
            .map_err(|_| SendError::Malformed)
    }
}

fn send_error(error: ConnectionError) -> SendError {
    match error {
        ConnectionError::Connect(_) => SendError::NotConnected,
        ConnectionError::Broken(_) => SendError::ConnectionBroken,
        ConnectionError::Timeout => SendError::Timeout,
        ConnectionError::Malformed(_) => SendError::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use hooksentry_client::IngestTarget;
    use tokio::net::TcpListener;

    use super::super::setup::Target;
    use super::*;

    /// Starts an ingest that answers 202, to request number `stalled` only after `stall`, and 503 from
    /// number `refused` on.
    async fn ingest(stalled: u64, stall: Duration, refused: u64) -> (SocketAddr, JoinSet<()>) {
        let requests = Arc::new(AtomicU64::new(0));
        let answer = post(move || {
            let requests = Arc::clone(&requests);
            async move {
                let number = requests.fetch_add(1, Ordering::SeqCst);
                if number == stalled {
                    tokio::time::sleep(stall).await;
                }
                let status = if number < refused { 202 } else { 503 };
                let body = format!("{{\"eventId\":\"{}\"}}", Uuid::from_u128(u128::from(number)));
                (axum::http::StatusCode::from_u16(status).unwrap(), body)
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
        (address, server)
    }

    fn load(tracker: &EventTracker, pace: Pace, count: u64, duration: Duration) -> Load {
        let ingest = IngestTarget {
            tenant_id: Uuid::nil(),
            ingest_token: "dst_a".to_owned(),
            api_key: "hks_a".to_owned(),
        };
        let target = Target { destination_id: Uuid::nil(), ingest };
        let requests = IngestRequests::render("a", &[target], &"20".parse().unwrap(), None);
        Load { id: tracker.add_load("events", false), requests, pace, duration, count }
    }

    #[test]
    fn the_times_of_an_open_loop_are_fixed_in_advance() {
        let times: Vec<_> = [0, 1, 250, 500].map(|number| intended_after(number, 500.0).as_millis()).into();
        assert_eq!(times, [0, 2, 500, 1_000]);
    }

    #[tokio::test]
    async fn an_event_behind_a_stalled_one_counts_as_waiting() {
        let stall = Duration::from_millis(300);
        let (api, _server) = ingest(10, stall, u64::MAX).await;
        let tracker = Arc::new(EventTracker::new(0, 0));
        let pace = Pace::Open { per_second: 200.0, connections: 1 };
        let load = load(&tracker, pace, 100, Duration::from_secs(10));
        let id = load.id;
        run(load, api, &tracker, &CancellationToken::new()).await.unwrap();
        let stats = tracker.stats(id);
        assert_eq!(stats.accepted.total(), 100);
        // An event every 5 ms was due during the 300 ms, and waited for the rest of them. Measured from the
        // actual time of sending, only the stalled event itself would be slow.
        let slow = stats.accept_us.len() - stats.accept_us.count_between(0, 100_000);
        assert!(slow >= 30, "{slow} were slow");
    }

    #[tokio::test]
    async fn a_closed_loop_ends_with_its_count_and_counts_refusals() {
        let (api, _server) = ingest(u64::MAX, Duration::ZERO, 70).await;
        let tracker = Arc::new(EventTracker::new(0, 0));
        let load = load(&tracker, Pace::Closed { connections: 4 }, 100, Duration::from_secs(60));
        let id = load.id;
        run(load, api, &tracker, &CancellationToken::new()).await.unwrap();
        let stats = tracker.stats(id);
        assert_eq!((stats.sent, stats.accepted.total()), (100, 70));
        assert_eq!(stats.errors[&SendError::Status(503)], 30);
    }

    #[tokio::test]
    async fn a_closed_loop_ends_with_its_duration_even_when_nothing_arrives() {
        let (api, _server) = ingest(u64::MAX, Duration::ZERO, u64::MAX).await;
        let tracker = Arc::new(EventTracker::new(0, 5));
        let load = load(&tracker, Pace::Closed { connections: 2 }, u64::MAX, Duration::from_millis(50));
        let id = load.id;
        run(load, api, &tracker, &CancellationToken::new()).await.unwrap();
        assert_eq!(tracker.stats(id).accepted.total(), 5);
    }

    #[tokio::test]
    async fn a_load_ends_when_it_is_stopped() {
        let (api, _server) = ingest(u64::MAX, Duration::ZERO, u64::MAX).await;
        let tracker = Arc::new(EventTracker::new(0, 0));
        let stop = CancellationToken::new();
        stop.cancel();
        for pace in [Pace::Closed { connections: 2 }, Pace::Open { per_second: 1.0, connections: 2 }] {
            let load = load(&tracker, pace, u64::MAX, Duration::from_secs(3_600));
            run(load, api, &tracker, &stop).await.unwrap();
        }
    }

    #[tokio::test]
    async fn refused_connections_are_counted_and_do_not_end_the_load() {
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let tracker = Arc::new(EventTracker::new(0, 0));
        let load = load(&tracker, Pace::Closed { connections: 3 }, 6, Duration::from_secs(60));
        let id = load.id;
        run(load, api, &tracker, &CancellationToken::new()).await.unwrap();
        assert_eq!(tracker.stats(id).errors[&SendError::NotConnected], 6);
    }
}
