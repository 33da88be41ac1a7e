//! The load: connections that send, in one of two ways.
//!
//! In a **closed loop** each connection sends when it has its answer. That finds out how much goes
//! through, and says little about latency: when the other side stalls, so does the load.
//!
//! In an **open loop** every event has a time at which it is meant to be sent, fixed before the load
//! begins. Latency counts from that time, whoever is to blame for a late start: an event that had to wait
//! for a connection behind a stalled one has waited, as a real sender's would have. (Leaving that out is
//! known as coordinated omission, and makes a service that stops for a second look fast.)

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

use super::connection::{Connection, NoAnswer};
use super::ingest_request::IngestRequests;
use super::ledger::{Ledger, LoadId};
use super::tally::SendError;

/// How long a connection rests before it tries again to come about.
const RECONNECT_AFTER: Duration = Duration::from_millis(100);
/// How much later than at the end of an open loop its last events may be sent.
const LATE_AT_MOST: Duration = Duration::from_secs(30);
/// Events of an open loop whose time has come and that no connection has taken yet. When there are more,
/// the clock that calls them waits; their times stay what they are.
const CALLED_MAX: usize = 10_000;

/// What is sent, and how.
pub(super) struct Load {
    pub(super) id: LoadId,
    pub(super) requests: IngestRequests,
    pub(super) pace: Pace,
    /// How long it lasts at most.
    pub(super) duration: Duration,
    /// How many are sent at most.
    pub(super) count: u64,
}

/// When events are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// Each connection sends when it has its answer.
    Closed {
        /// How many there are.
        connections: usize,
    },
    /// At fixed times.
    Open {
        /// How many.
        per_second: f64,
        /// How many may wait for answers at once.
        connections: usize,
    },
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { connections } => write!(f, "closed loop, {connections} connections"),
            Self::Open { per_second, .. } => write!(f, "open loop, {per_second}/s"),
        }
    }
}

/// Puts a load on the API until it is over or `stop` is cancelled, and every answer is there.
pub(super) async fn run(
    load: Load,
    api: SocketAddr,
    ledger: &Arc<Ledger>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let (Pace::Closed { connections } | Pace::Open { connections, .. }) = load.pace;
    let mut connections = open(api, connections).await;
    let over = Instant::now() + load.duration;
    let (turns, cut_off) = match load.pace {
        Pace::Closed { .. } => (Turns::Closed { next: AtomicU64::new(0), count: load.count, over }, over),
        Pace::Open { per_second, .. } => {
            (Turns::Open(Mutex::new(call_turns(per_second, load.count, over)?)), over + LATE_AT_MOST)
        }
    };
    let shared =
        Arc::new(Shared { load, api, ledger: Arc::clone(ledger), turns, stop: stop.clone(), cut_off });
    let mut senders = JoinSet::new();
    while let Some(connection) = connections.pop() {
        let sender = Sender { shared: Arc::clone(&shared), connection, room: Vec::new() };
        senders.spawn(sender.send_all());
    }
    while let Some(sender) = senders.join_next().await {
        sender.context("a connection's task died")?;
    }
    Ok(())
}

/// Opens the connections before the clock starts. Those that cannot be opened are tried again when they
/// are used.
async fn open(api: SocketAddr, count: usize) -> Vec<Option<Connection>> {
    let mut connections: Vec<_> = std::iter::repeat_with(|| None).take(count).collect();
    for place in &mut connections {
        *place = Connection::open(api).await.ok();
        if place.is_none() {
            break;
        }
    }
    connections
}

/// What the senders of a load share.
struct Shared {
    load: Load,
    api: SocketAddr,
    ledger: Arc<Ledger>,
    turns: Turns,
    stop: CancellationToken,
    /// When nothing is sent any more, whosever turn it is.
    cut_off: Instant,
}

/// Who sends what when.
enum Turns {
    Closed { next: AtomicU64, count: u64, over: Instant },
    Open(Mutex<mpsc::Receiver<Turn>>),
}

/// To send the event with this number.
#[derive(Clone, Copy, Debug)]
struct Turn {
    number: u64,
    intended: Instant,
}

impl Turns {
    async fn next(&self) -> Option<Turn> {
        match self {
            Self::Closed { next, count, over } => {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let intended = Instant::now();
                (number < *count && intended < *over).then_some(Turn { number, intended })
            }
            Self::Open(called) => called.lock().await.recv().await,
        }
    }
}

/// When the event with this number is meant to be sent, counted from the begin.
fn intended_after(number: u64, per_second: f64) -> Duration {
    Duration::try_from_secs_f64(number as f64 / per_second).unwrap_or(Duration::MAX)
}

/// Calls turns at their times, from a thread of its own: the runtime's timers know only milliseconds,
/// which is as long as a whole exchange.
fn call_turns(per_second: f64, count: u64, over: Instant) -> anyhow::Result<mpsc::Receiver<Turn>> {
    let (call, called) = mpsc::channel(CALLED_MAX);
    let begin = Instant::now();
    let calling = move || {
        for number in 0..count {
            let Some(intended) = begin.checked_add(intended_after(number, per_second)) else { return };
            if intended >= over {
                return;
            }
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            // The load was stopped when nobody listens.
            if call.blocking_send(Turn { number, intended }).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("bench-pace".to_owned()).spawn(calling).context("no thread")?;
    Ok(called)
}

/// One connection and who uses it.
struct Sender {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    room: Vec<u8>,
}

impl Sender {
    async fn send_all(mut self) {
        let shared = Arc::clone(&self.shared);
        let mut cut_off = pin!(tokio::time::sleep_until(shared.cut_off.into()));
        loop {
            let turn = async {
                shared.ledger.room().await;
                shared.turns.next().await
            };
            let turn = tokio::select! {
                biased;
                () = shared.stop.cancelled() => return,
                turn = turn => turn,
                () = &mut cut_off => None,
            };
            let Some(turn) = turn else { break };
            match self.send(turn.number).await {
                Ok(event_id) => shared.ledger.accepted(shared.load.id, event_id, turn.intended),
                Err(error) => {
                    shared.ledger.refused(shared.load.id, error);
                    if error == SendError::NotConnected {
                        tokio::time::sleep(RECONNECT_AFTER).await;
                    }
                }
            }
        }
        shared.ledger.give_room_back();
    }

    async fn send(&mut self, number: u64) -> Result<Uuid, SendError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.shared.api).await.map_err(kind)?,
        };
        let request = self.shared.load.requests.request(number, &mut self.room);
        let answer = connection.exchange(request).await.map_err(kind)?;
        if answer.kept {
            self.connection = Some(connection);
        }
        if answer.status != 202 {
            return Err(SendError::Status(answer.status));
        }
        serde_json::from_slice::<AcceptedEvent>(&answer.body)
            .map(|accepted| accepted.event_id)
            .map_err(|_| SendError::NotUnderstood)
    }
}

fn kind(error: NoAnswer) -> SendError {
    match error {
        NoAnswer::NotConnected(_) => SendError::NotConnected,
        NoAnswer::Broken(_) => SendError::Broken,
        NoAnswer::Late => SendError::Late,
        NoAnswer::NotUnderstood(_) => SendError::NotUnderstood,
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
    use crate::identifiers;

    /// An ingest that answers 202, but the request with the number `stalled` only after `stall`, and
    /// from number `refused` on with 503.
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
                let body = format!("{{\"eventId\":\"{}\"}}", identifiers::new_id());
                (axum::http::StatusCode::from_u16(status).unwrap(), body)
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
        (address, server)
    }

    fn load(ledger: &Ledger, pace: Pace, count: u64, duration: Duration) -> Load {
        let ingest = IngestTarget {
            tenant_id: Uuid::nil(),
            ingest_token: "dst_a".to_owned(),
            api_key: "hks_a".to_owned(),
        };
        let target = Target { destination_id: Uuid::nil(), ingest };
        let requests = IngestRequests::render("a", &[target], &"20".parse().unwrap(), None);
        Load { id: ledger.add_load("events", false), requests, pace, duration, count }
    }

    #[test]
    fn the_times_of_an_open_loop_are_fixed_beforehand() {
        let times: Vec<_> = [0, 1, 250, 500].map(|number| intended_after(number, 500.0).as_millis()).into();
        assert_eq!(times, [0, 2, 500, 1_000]);
    }

    #[tokio::test]
    async fn whoever_waits_behind_a_stall_is_counted_as_waiting() {
        let stall = Duration::from_millis(300);
        let (api, _server) = ingest(10, stall, u64::MAX).await;
        let ledger = Arc::new(Ledger::open(0, 0));
        let pace = Pace::Open { per_second: 200.0, connections: 1 };
        let load = load(&ledger, pace, 100, Duration::from_secs(10));
        let id = load.id;
        run(load, api, &ledger, &CancellationToken::new()).await.unwrap();
        let tally = ledger.tally(id);
        assert_eq!(tally.accepted.total(), 100);
        // One every 5 ms came into the 300 ms, and the later they did the less they waited. Had each been
        // counted from when it was really sent, only the stalled one itself would be slow.
        let slow = tally.accept_us.len() - tally.accept_us.count_between(0, 100_000);
        assert!(slow >= 30, "{slow} were slow");
    }

    #[tokio::test]
    async fn a_closed_loop_ends_with_its_count_and_knows_what_was_refused() {
        let (api, _server) = ingest(u64::MAX, Duration::ZERO, 70).await;
        let ledger = Arc::new(Ledger::open(0, 0));
        let load = load(&ledger, Pace::Closed { connections: 4 }, 100, Duration::from_secs(60));
        let id = load.id;
        run(load, api, &ledger, &CancellationToken::new()).await.unwrap();
        let tally = ledger.tally(id);
        assert_eq!((tally.sent, tally.accepted.total()), (100, 70));
        assert_eq!(tally.errors[&SendError::Status(503)], 30);
    }

    #[tokio::test]
    async fn a_closed_loop_ends_with_its_time_even_when_nothing_arrives() {
        let (api, _server) = ingest(u64::MAX, Duration::ZERO, u64::MAX).await;
        let ledger = Arc::new(Ledger::open(0, 5));
        let load = load(&ledger, Pace::Closed { connections: 2 }, u64::MAX, Duration::from_millis(50));
        let id = load.id;
        run(load, api, &ledger, &CancellationToken::new()).await.unwrap();
        assert_eq!(ledger.tally(id).accepted.total(), 5);
    }

    #[tokio::test]
    async fn a_load_ends_when_it_is_stopped() {
        let (api, _server) = ingest(u64::MAX, Duration::ZERO, u64::MAX).await;
        let ledger = Arc::new(Ledger::open(0, 0));
        let stop = CancellationToken::new();
        stop.cancel();
        for pace in [Pace::Closed { connections: 2 }, Pace::Open { per_second: 1.0, connections: 2 }] {
            let load = load(&ledger, pace, u64::MAX, Duration::from_secs(3_600));
            run(load, api, &ledger, &stop).await.unwrap();
        }
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_and_no_end() {
        let api = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let ledger = Arc::new(Ledger::open(0, 0));
        let load = load(&ledger, Pace::Closed { connections: 3 }, 6, Duration::from_secs(60));
        let id = load.id;
        run(load, api, &ledger, &CancellationToken::new()).await.unwrap();
        assert_eq!(ledger.tally(id).errors[&SendError::NotConnected], 6);
    }
}
