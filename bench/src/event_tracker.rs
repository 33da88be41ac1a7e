//! Progress of every event of a run, from ingest to delivery.
//!
//! The generator records when it sent an event and how ingest answered, the sink records arrivals and its
//! answers. Both use the event's id, in either order: a delivery can overtake the answer to its own ingest.
//! Times are microseconds since the tracker was created.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{Semaphore, TryAcquireError};
use uuid::Uuid;

use super::load_stats::{LoadStats, SendError};

/// Upper bound of the events for which memory is reserved.
const EXPECTED_MAX: usize = 1 << 20;

/// Number of a load in its tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadId(u16);

/// Tracker of the events of one workload.
pub(crate) struct EventTracker {
    started: Instant,
    tracked: Mutex<Tracked>,
    /// Permits for undelivered events, if their number is limited.
    outstanding: Option<Semaphore>,
}

#[derive(Default)]
struct Tracked {
    events: HashMap<Uuid, EventProgress>,
    loads: Vec<LoadStats>,
    undelivered: i64,
}

/// Progress of one event.
#[derive(Clone, Copy, Default)]
struct EventProgress {
    /// Its load, and when it was scheduled to be sent.
    accepted: Option<(LoadId, Micros)>,
    arrived: Option<Micros>,
    delivered: Option<Micros>,
    /// Arrivals that the sink failed on purpose.
    refusals: u16,
    arrivals: u16,
    /// Arrivals after one that was answered with success.
    repeats: u16,
}

/// Microseconds since the tracker was created. It is never zero, so that an `Option` needs no more memory:
/// a tracker holds millions of them.
#[derive(Clone, Copy)]
struct Micros(NonZeroU64);

/// Outcomes of all events of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconciliation {
    /// Events that ingest accepted.
    pub accepted: u64,
    /// Accepted events with an arrival that was answered with success.
    pub delivered: u64,
    /// Accepted events that never arrived.
    pub missing: u64,
    /// Accepted events that did not arrive because a receiver hangs.
    pub held_back: u64,
    /// Accepted events that the receiver failed on purpose and that were not retried yet.
    pub awaiting_retry: u64,
    /// Accepted events whose arrival was not answered before the sender hung up.
    pub unanswered: u64,
    /// Events that arrived again after a failure on purpose.
    pub retried: u64,
    /// Arrivals of events that were already delivered.
    pub repeats: u64,
    /// Events that arrived although no answer accepted them.
    pub unclaimed: u64,
}

impl EventTracker {
    /// Creates a tracker of about `expected` events. `outstanding` is the number of events that may be
    /// undelivered at a time, or 0 for no limit.
    pub(crate) fn new(expected: u64, outstanding: usize) -> Self {
        let outstanding = (outstanding > 0).then(|| Semaphore::new(outstanding.min(Semaphore::MAX_PERMITS)));
        // Growing the map during a run would delay what is measured.
        let capacity = usize::try_from(expected).unwrap_or(usize::MAX).min(EXPECTED_MAX);
        let tracked = Tracked { events: HashMap::with_capacity(capacity), ..Tracked::default() };
        Self { started: Instant::now(), tracked: Mutex::new(tracked), outstanding }
    }

    pub(crate) fn add_load(&self, name: &str, may_be_held: bool) -> LoadId {
        let mut tracked = self.tracked();
        let id = LoadId(u16::try_from(tracked.loads.len()).unwrap_or(u16::MAX));
        tracked.loads.push(LoadStats::new(name, may_be_held));
        id
    }

    /// Waits until another event may be sent.
    pub(crate) async fn acquire_slot(&self) {
        let Some(outstanding) = &self.outstanding else { return };
        let permit = match outstanding.try_acquire() {
            Err(TryAcquireError::NoPermits) => outstanding.acquire().await.ok(),
            acquired => acquired.ok(),
        };
        if let Some(permit) = permit {
            permit.forget();
        }
    }

    /// Lets another event be sent, because one arrived, was refused, or is not sent after all.
    pub(crate) fn release_slot(&self) {
        if let Some(outstanding) = &self.outstanding {
            outstanding.add_permits(1);
        }
    }

    /// Records that an event, scheduled to be sent at `intended`, was accepted just now.
    pub(crate) fn accepted(&self, load: LoadId, id: Uuid, intended: Instant) {
        let (now, intended) = (self.now(), self.since_start(intended));
        let mut tracked = self.tracked();
        let Tracked { events, loads, undelivered } = &mut *tracked;
        let event = events.entry(id).or_default();
        event.accepted = Some((load, Micros::at(intended)));
        *undelivered += i64::from(event.delivered.is_none());
        let Some(stats) = loads.get_mut(usize::from(load.0)) else { return };
        stats.sent += 1;
        stats.accepted.count(now);
        stats.accept_us.saturating_record(now.saturating_sub(intended));
        if let Some(arrived) = event.arrived {
            stats.end_to_end_us.saturating_record(arrived.us().saturating_sub(intended));
        }
        if let Some(delivered) = event.delivered {
            stats.delivered.count(delivered.us());
        }
    }

    /// Records that an event was sent and not accepted.
    pub(crate) fn refused(&self, load: LoadId, error: SendError) {
        self.release_slot();
        let mut tracked = self.tracked();
        let Some(stats) = tracked.loads.get_mut(usize::from(load.0)) else { return };
        stats.sent += 1;
        *stats.errors.entry(error).or_default() += 1;
    }

    /// Records the arrival of an event.
    pub(crate) fn arrived(&self, id: Uuid) {
        let now = self.now();
        let mut tracked = self.tracked();
        let Tracked { events, loads, .. } = &mut *tracked;
        let event = events.entry(id).or_default();
        event.arrivals = event.arrivals.saturating_add(1);
        if event.delivered.is_some() {
            event.repeats = event.repeats.saturating_add(1);
        }
        if event.arrived.is_some() {
            return;
        }
        event.arrived = Some(Micros::at(now));
        if let Some((load, intended)) = event.accepted
            && let Some(stats) = loads.get_mut(usize::from(load.0))
        {
            stats.end_to_end_us.saturating_record(now.saturating_sub(intended.us()));
        }
        drop(tracked);
        self.release_slot();
    }

    /// Records that an arrival is about to be answered, with success or with a failure.
    pub(crate) fn answered(&self, id: Uuid, success: bool) {
        let now = self.now();
        let mut tracked = self.tracked();
        let Tracked { events, loads, undelivered, .. } = &mut *tracked;
        let event = events.entry(id).or_default();
        if !success {
            event.refusals = event.refusals.saturating_add(1);
        } else if event.delivered.is_none() {
            event.delivered = Some(Micros::at(now));
            if let Some((load, _)) = event.accepted {
                *undelivered -= 1;
                if let Some(stats) = loads.get_mut(usize::from(load.0)) {
                    stats.delivered.count(now);
                }
            }
        }
    }

    /// Returns the microseconds since the tracker was created.
    pub(crate) fn now(&self) -> u64 {
        self.since_start(Instant::now())
    }

    /// Counts the accepted events that are not delivered yet.
    pub(crate) fn undelivered(&self) -> u64 {
        u64::try_from(self.tracked().undelivered).unwrap_or(0)
    }

    /// Returns how many events were accepted and how many delivered, over all loads.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let tracked = self.tracked();
        tracked.loads.iter().fold((0, 0), |(accepted, delivered), load| {
            (accepted + load.accepted.total(), delivered + load.delivered.total())
        })
    }

    /// Returns the statistics of a load so far.
    pub(crate) fn stats(&self, load: LoadId) -> LoadStats {
        let tracked = self.tracked();
        tracked.loads.get(usize::from(load.0)).cloned().unwrap_or_else(|| LoadStats::new("", false))
    }

    /// Counts the events by outcome.
    pub(crate) fn reconcile(&self) -> Reconciliation {
        let tracked = self.tracked();
        let mut sum = Reconciliation::default();
        for event in tracked.events.values() {
            sum.retried += u64::from(event.refusals > 0 && event.arrivals > event.refusals);
            sum.repeats += u64::from(event.repeats);
            let Some((load, _)) = event.accepted else {
                sum.unclaimed += 1;
                continue;
            };
            sum.accepted += 1;
            let may_be_held = tracked.loads.get(usize::from(load.0)).is_some_and(|load| load.may_be_held);
            let count = match event {
                EventProgress { delivered: Some(_), .. } => &mut sum.delivered,
                EventProgress { arrived: None, .. } if may_be_held => &mut sum.held_back,
                EventProgress { arrived: None, .. } => &mut sum.missing,
                EventProgress { refusals: 0, .. } => &mut sum.unanswered,
                _ => &mut sum.awaiting_retry,
            };
            *count += 1;
        }
        sum
    }

    fn since_start(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.started).as_micros()).unwrap_or(u64::MAX)
    }

    fn tracked(&self) -> MutexGuard<'_, Tracked> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Micros {
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

    fn deliver(tracker: &EventTracker, event: Uuid, success: bool) {
        tracker.arrived(event);
        tracker.answered(event, success);
    }

    #[test]
    fn every_event_is_counted_under_one_outcome() {
        let tracker = EventTracker::new(0, 0);
        let load = tracker.add_load("events", false);
        let hanging = tracker.add_load("hanging", true);
        let now = Instant::now();
        for event in 1..=6 {
            tracker.accepted(load, id(event), now);
        }
        tracker.accepted(hanging, id(7), now);
        deliver(&tracker, id(1), true);
        deliver(&tracker, id(2), true);
        deliver(&tracker, id(2), true);
        deliver(&tracker, id(3), false);
        deliver(&tracker, id(4), false);
        deliver(&tracker, id(4), true);
        tracker.arrived(id(5));
        deliver(&tracker, id(8), true);
        let expected = Reconciliation {
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
        assert_eq!(tracker.reconcile(), expected);
        assert_eq!(tracker.undelivered(), 4);
    }

    #[test]
    fn an_arrival_before_the_answer_counts_like_one_after() {
        let (early, late) = (EventTracker::new(0, 0), EventTracker::new(0, 0));
        for tracker in [&early, &late] {
            tracker.add_load("events", false);
        }
        let (load, sent) = (LoadId(0), Instant::now());
        deliver(&early, id(1), true);
        early.accepted(load, id(1), sent);
        late.accepted(load, id(1), sent);
        deliver(&late, id(1), true);
        for tracker in [early, late] {
            let stats = tracker.stats(load);
            assert_eq!((stats.accepted.total(), stats.delivered.total()), (1, 1));
            assert_eq!((stats.accept_us.len(), stats.end_to_end_us.len()), (1, 1));
            assert_eq!((tracker.undelivered(), tracker.totals()), (0, (1, 1)));
        }
    }

    #[test]
    fn latency_is_measured_from_the_scheduled_time() {
        let tracker = EventTracker::new(0, 0);
        let load = tracker.add_load("events", false);
        let scheduled = tracker.started;
        while scheduled.elapsed() < Duration::from_millis(15) {
            std::thread::yield_now();
        }
        tracker.accepted(load, id(1), scheduled);
        deliver(&tracker, id(1), true);
        let stats = tracker.stats(load);
        assert!(stats.accept_us.max() >= 15_000, "{}", stats.accept_us.max());
        assert!(stats.end_to_end_us.max() >= 15_000, "{}", stats.end_to_end_us.max());
    }

    #[tokio::test]
    async fn a_slot_is_released_by_an_arrival_a_refusal_or_an_event_not_sent() {
        use futures::FutureExt;

        let tracker = EventTracker::new(0, 1);
        let load = tracker.add_load("events", false);
        tracker.acquire_slot().await;
        assert!(tracker.acquire_slot().now_or_never().is_none(), "one is undelivered");
        tracker.accepted(load, id(1), Instant::now());
        tracker.arrived(id(1));
        tracker.arrived(id(1));
        tracker.acquire_slot().await;
        assert!(tracker.acquire_slot().now_or_never().is_none(), "a repeat releases no slot");
        tracker.refused(load, SendError::Status(503));
        tracker.acquire_slot().await;
        tracker.release_slot();
        tracker.acquire_slot().await;
        let stats = tracker.stats(load);
        assert_eq!((stats.sent, stats.errors[&SendError::Status(503)]), (2, 1));
    }
}
