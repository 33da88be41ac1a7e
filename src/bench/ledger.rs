//! What became of every event.
//!
//! The generator writes down when it sent an event and what it was answered, the sink what arrived and
//! how it answered. The two meet by the event's id, in either order: a delivery can overtake the answer
//! to its own ingest. Times are microseconds since the ledger was opened.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, TryAcquireError};
use uuid::Uuid;

use super::tally::{LoadTally, SendError};

/// Events for which there is room from the start, at most.
const EXPECTED_MAX: usize = 1 << 20;

/// A load's number in its ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoadId(u16);

/// The ledger of one workload.
pub(super) struct Ledger {
    opened: Instant,
    books: Mutex<Books>,
    room: Option<Semaphore>,
}

#[derive(Default)]
struct Books {
    events: HashMap<Uuid, Passage>,
    loads: Vec<LoadTally>,
    undelivered: i64,
}

/// One event's way.
#[derive(Clone, Copy, Default)]
struct Passage {
    /// In which load, and when it was meant to be sent.
    accepted: Option<(LoadId, Moment)>,
    arrived: Option<Moment>,
    delivered: Option<Moment>,
    /// Arrivals that were answered with a failure, on purpose.
    refusals: u16,
    arrivals: u16,
    /// Arrivals although one before was answered well.
    repeats: u16,
}

/// Microseconds since the ledger was opened, in a form that leaves room for there being none: a ledger
/// has millions of them.
#[derive(Clone, Copy)]
struct Moment(NonZeroU64);

/// How the books balance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconciliation {
    /// Events that were accepted.
    pub accepted: u64,
    /// Of them, those with an arrival that was answered well.
    pub delivered: u64,
    /// Accepted, and never arrived.
    pub missing: u64,
    /// The same, where that is how it should be: behind receivers that hang.
    pub held_back: u64,
    /// Arrived, and not answered well yet, because the receiver failed on purpose.
    pub awaiting_retry: u64,
    /// Arrived, and the sender did not wait for the answer.
    pub unanswered: u64,
    /// Events whose failures on purpose were followed by another arrival.
    pub retried: u64,
    /// Arrivals of events that had been delivered already.
    pub repeats: u64,
    /// Events that arrived, though no answer said that they were accepted.
    pub unclaimed: u64,
}

impl Ledger {
    /// Opens a ledger for about `expected` events. With an `outstanding` above 0, only so many may be on
    /// their way at once.
    pub(super) fn open(expected: u64, outstanding: usize) -> Self {
        let room = (outstanding > 0).then(|| Semaphore::new(outstanding.min(Semaphore::MAX_PERMITS)));
        // Growing in the middle of a run would hold up what is measured.
        let capacity = usize::try_from(expected).unwrap_or(usize::MAX).min(EXPECTED_MAX);
        let books = Books { events: HashMap::with_capacity(capacity), ..Books::default() };
        Self { opened: Instant::now(), books: Mutex::new(books), room }
    }

    pub(super) fn add_load(&self, name: &str, may_be_held: bool) -> LoadId {
        let mut books = self.books();
        let id = LoadId(u16::try_from(books.loads.len()).unwrap_or(u16::MAX));
        books.loads.push(LoadTally::new(name, may_be_held));
        id
    }

    /// Waits until another event may be on its way.
    pub(super) async fn room(&self) {
        let Some(room) = &self.room else { return };
        let permit = match room.try_acquire() {
            Err(TryAcquireError::NoPermits) => room.acquire().await.ok(),
            acquired => acquired.ok(),
        };
        if let Some(permit) = permit {
            permit.forget();
        }
    }

    /// Another event may be on its way: one arrived, was refused, or is not sent after all.
    pub(super) fn give_room_back(&self) {
        if let Some(room) = &self.room {
            room.add_permits(1);
        }
    }

    /// An event was sent, meant to be sent at `intended`, and accepted just now.
    pub(super) fn accepted(&self, load: LoadId, id: Uuid, intended: Instant) {
        let (now, intended) = (self.now(), self.since_opening(intended));
        let mut books = self.books();
        let Books { events, loads, undelivered } = &mut *books;
        let passage = events.entry(id).or_default();
        passage.accepted = Some((load, Moment::at(intended)));
        *undelivered += i64::from(passage.delivered.is_none());
        let Some(tally) = loads.get_mut(usize::from(load.0)) else { return };
        tally.sent += 1;
        tally.accepted.count(now);
        tally.accept_us.saturating_record(now.saturating_sub(intended));
        if let Some(arrived) = passage.arrived {
            tally.end_to_end_us.saturating_record(arrived.us().saturating_sub(intended));
        }
        if let Some(delivered) = passage.delivered {
            tally.delivered.count(delivered.us());
        }
    }

    /// An event was sent and not accepted.
    pub(super) fn refused(&self, load: LoadId, error: SendError) {
        self.give_room_back();
        let mut books = self.books();
        let Some(tally) = books.loads.get_mut(usize::from(load.0)) else { return };
        tally.sent += 1;
        *tally.errors.entry(error).or_default() += 1;
    }

    /// An event arrived.
    pub(super) fn arrived(&self, id: Uuid) {
        let now = self.now();
        let mut books = self.books();
        let Books { events, loads, .. } = &mut *books;
        let passage = events.entry(id).or_default();
        passage.arrivals = passage.arrivals.saturating_add(1);
        if passage.delivered.is_some() {
            passage.repeats = passage.repeats.saturating_add(1);
        }
        if passage.arrived.is_some() {
            return;
        }
        passage.arrived = Some(Moment::at(now));
        if let Some((load, intended)) = passage.accepted
            && let Some(tally) = loads.get_mut(usize::from(load.0))
        {
            tally.end_to_end_us.saturating_record(now.saturating_sub(intended.us()));
        }
        drop(books);
        self.give_room_back();
    }

    /// An arrival is about to be answered.
    pub(super) fn answered(&self, id: Uuid, well: bool) {
        let now = self.now();
        let mut books = self.books();
        let Books { events, loads, undelivered, .. } = &mut *books;
        let passage = events.entry(id).or_default();
        if !well {
            passage.refusals = passage.refusals.saturating_add(1);
        } else if passage.delivered.is_none() {
            passage.delivered = Some(Moment::at(now));
            if let Some((load, _)) = passage.accepted {
                *undelivered -= 1;
                if let Some(tally) = loads.get_mut(usize::from(load.0)) {
                    tally.delivered.count(now);
                }
            }
        }
    }

    /// Microseconds since the ledger was opened.
    pub(super) fn now(&self) -> u64 {
        self.since_opening(Instant::now())
    }

    /// Accepted events of which no arrival was answered well yet.
    pub(super) fn undelivered(&self) -> u64 {
        u64::try_from(self.books().undelivered).unwrap_or(0)
    }

    /// How many were accepted and how many delivered, over all loads.
    pub(super) fn totals(&self) -> (u64, u64) {
        let books = self.books();
        books.loads.iter().fold((0, 0), |(accepted, delivered), load| {
            (accepted + load.accepted.total(), delivered + load.delivered.total())
        })
    }

    /// All that is known of a load so far.
    pub(super) fn tally(&self, load: LoadId) -> LoadTally {
        let books = self.books();
        books.loads.get(usize::from(load.0)).cloned().unwrap_or_else(|| LoadTally::new("", false))
    }

    /// Balances the books.
    pub(super) fn reconcile(&self) -> Reconciliation {
        let books = self.books();
        let mut sum = Reconciliation::default();
        for passage in books.events.values() {
            sum.retried += u64::from(passage.refusals > 0 && passage.arrivals > passage.refusals);
            sum.repeats += u64::from(passage.repeats);
            let Some((load, _)) = passage.accepted else {
                sum.unclaimed += 1;
                continue;
            };
            sum.accepted += 1;
            let may_be_held = books.loads.get(usize::from(load.0)).is_some_and(|load| load.may_be_held);
            let place = match passage {
                Passage { delivered: Some(_), .. } => &mut sum.delivered,
                Passage { arrived: None, .. } if may_be_held => &mut sum.held_back,
                Passage { arrived: None, .. } => &mut sum.missing,
                Passage { refusals: 0, .. } => &mut sum.unanswered,
                _ => &mut sum.awaiting_retry,
            };
            *place += 1;
        }
        sum
    }

    fn since_opening(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.opened).as_micros()).unwrap_or(u64::MAX)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moment {
    fn at(us: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(us))
    }

    fn us(self) -> u64 {
        self.0.get() - 1
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn deliver(ledger: &Ledger, event: Uuid, well: bool) {
        ledger.arrived(event);
        ledger.answered(event, well);
    }

    #[test]
    fn every_event_is_in_one_place() {
        let ledger = Ledger::open(0, 0);
        let load = ledger.add_load("events", false);
        let hanging = ledger.add_load("hanging", true);
        let now = Instant::now();
        for event in 1..=6 {
            ledger.accepted(load, id(event), now);
        }
        ledger.accepted(hanging, id(7), now);
        deliver(&ledger, id(1), true);
        deliver(&ledger, id(2), true);
        deliver(&ledger, id(2), true);
        deliver(&ledger, id(3), false);
        deliver(&ledger, id(4), false);
        deliver(&ledger, id(4), true);
        ledger.arrived(id(5));
        deliver(&ledger, id(8), true);
        let books = Reconciliation {
            accepted: 7,
            delivered: 3,
            missing: 1,
            held_back: 1,
            awaiting_retry: 1,
            unanswered: 1,
            retried: 1,
            repeats: 1,
            unclaimed: 1,
        };
        assert_eq!(ledger.reconcile(), books);
        assert_eq!(ledger.undelivered(), 4);
    }

    #[test]
    fn an_arrival_before_the_answer_counts_like_one_after() {
        let (early, late) = (Ledger::open(0, 0), Ledger::open(0, 0));
        for ledger in [&early, &late] {
            ledger.add_load("events", false);
        }
        let (load, sent) = (LoadId(0), Instant::now());
        deliver(&early, id(1), true);
        early.accepted(load, id(1), sent);
        late.accepted(load, id(1), sent);
        deliver(&late, id(1), true);
        for ledger in [early, late] {
            let tally = ledger.tally(load);
            assert_eq!((tally.accepted.total(), tally.delivered.total()), (1, 1));
            assert_eq!((tally.accept_us.len(), tally.end_to_end_us.len()), (1, 1));
            assert_eq!((ledger.undelivered(), ledger.totals()), (0, (1, 1)));
        }
    }

    #[test]
    fn latency_counts_from_when_an_event_was_meant_to_be_sent() {
        let ledger = Ledger::open(0, 0);
        let load = ledger.add_load("events", false);
        let meant = ledger.opened;
        while meant.elapsed() < Duration::from_millis(15) {
            std::thread::yield_now();
        }
        ledger.accepted(load, id(1), meant);
        deliver(&ledger, id(1), true);
        let tally = ledger.tally(load);
        assert!(tally.accept_us.max() >= 15_000, "{}", tally.accept_us.max());
        assert!(tally.end_to_end_us.max() >= 15_000, "{}", tally.end_to_end_us.max());
    }

    #[tokio::test]
    async fn there_is_room_again_for_what_arrived_was_refused_or_is_not_sent() {
        use futures::FutureExt;

        let ledger = Ledger::open(0, 1);
        let load = ledger.add_load("events", false);
        ledger.room().await;
        assert!(ledger.room().now_or_never().is_none(), "one is on its way");
        ledger.accepted(load, id(1), Instant::now());
        ledger.arrived(id(1));
        ledger.arrived(id(1));
        ledger.room().await;
        assert!(ledger.room().now_or_never().is_none(), "a repeat makes no room");
        ledger.refused(load, SendError::Status(503));
        ledger.room().await;
        ledger.give_room_back();
        ledger.room().await;
        let tally = ledger.tally(load);
        assert_eq!((tally.sent, tally.errors[&SendError::Status(503)]), (2, 1));
    }
}
