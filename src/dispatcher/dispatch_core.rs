//! What a leader does with facts and time, without PostgreSQL and the queue.
//!
//! [`DispatchCore`] is the logic of the dispatcher; everything else is behind [`Backend`]. The service runs it on
//! [`super::backend::ServiceBackend`], the tests run the same code on a model.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use aggregates::circuit_breaker::BreakerStep;
use aggregates::ids::DestinationId;
use chrono::{DateTime, TimeDelta, Utc};
use projections::{LogPosition, LoggedFact};
use uuid::Uuid;

use super::due_deliveries::{DueDelivery, Window};
use super::fold::Fetched;
use super::lane::LaneState;
use super::schedule::{Changes, Schedule};

/// Changed rows after which a flush begins.
const CHANGES_MAX: usize = 5_000;
/// Time after which a change is flushed. Higher: a new leader has more of the log to read. Lower: more rows are
/// written of events that are delivered at once.
const FLUSH_AFTER: Duration = Duration::from_millis(1_000);
/// Lanes whose windows are filled by one query.
const REFILL_LANES_MAX: usize = 128;

/// Times and limits that the core works with.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Consecutive failures that open a destination's breaker.
    pub(super) breaker_threshold: u32,
    /// Time without an outcome after which an attempt's worker counts as vanished.
    pub(super) vanished_after: Duration,
    /// Time after which a released job that has not started is published again.
    pub(super) republish_after: Duration,
}

/// The tables as of the checkpoint, as far as a new leader needs them.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) checkpoint: LogPosition,
    pub(super) in_flight: Vec<DueDelivery>,
    /// The lanes of `in_flight`, and every lane that has waiting events or is suspended.
    pub(super) lanes: Vec<(DestinationId, LaneState)>,
}

/// The next due events of some lanes, from the table.
#[derive(Debug)]
pub(super) struct DueEvents {
    /// In the order in which they became due.
    pub(super) due: Vec<DueDelivery>,
    /// When the next event of a lane becomes due, for lanes that have one.
    pub(super) next_due: HashMap<DestinationId, DateTime<Utc>>,
}

/// The dispatcher's tables, the streams that it appends to, and the queue.
pub(super) trait Backend: Send {
    type Error: Send;

    /// Loads the tables.
    fn load(&mut self) -> impl Future<Output = Result<Snapshot, Self::Error>> + Send;

    /// Loads the rows of those `events` that have one.
    fn deliveries(
        &mut self,
        events: &[Uuid],
    ) -> impl Future<Output = Result<Vec<DueDelivery>, Self::Error>> + Send;

    /// Loads the rows of those `destinations` that have one.
    fn lanes(
        &mut self,
        destinations: &[Uuid],
    ) -> impl Future<Output = Result<Vec<(DestinationId, LaneState)>, Self::Error>> + Send;

    /// Loads events that are due at `now`, without those `in_memory`.
    fn due_events(
        &mut self,
        windows: &[Window],
        in_memory: &[Uuid],
        now: DateTime<Utc>,
    ) -> impl Future<Output = Result<DueEvents, Self::Error>> + Send;

    /// Begins to write `changes` and to move the checkpoint to `position`, in one transaction.
    fn begin_write(&mut self, changes: Changes, position: LogPosition);

    /// Waits for the write that was begun last. Until then the tables may lack what memory no longer holds.
    fn end_write(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether the write that was begun last has ended, and [`Self::end_write`] would return at once.
    fn is_write_over(&self) -> bool;

    /// Executes steps of circuit breakers. Returns the destinations whose step failed.
    fn execute_breaker_steps(
        &mut self,
        steps: Vec<(DestinationId, LaneState, BreakerStep)>,
        now: DateTime<Utc>,
    ) -> impl Future<Output = Vec<DestinationId>> + Send;

    /// Records the outcome `unknown` for attempts whose worker has vanished.
    fn give_up(&mut self, vanished: &[DueDelivery], now: DateTime<Utc>) -> impl Future<Output = ()> + Send;

    /// Whether the queue takes jobs now.
    fn can_publish(&self) -> bool;

    /// Publishes a job for each delivery, with the version at which its destination entered its stage.
    fn publish(&mut self, deliveries: Vec<(DueDelivery, u64)>);
}

/// The dispatcher's logic for one term.
pub(super) struct DispatchCore<B> {
    pub(super) schedule: Schedule,
    pub(super) backend: B,
    limits: Limits,
    /// The last fact that was folded.
    position: LogPosition,
    /// The position of the last flush.
    flushed: LogPosition,
    /// When the first fact after the last flush was folded.
    unflushed_since: Option<DateTime<Utc>>,
}

impl<B: Backend> DispatchCore<B> {
    /// Creates a core that knows nothing yet; [`Self::load`] comes next.
    pub(super) fn new(backend: B, schedule: Schedule, limits: Limits) -> Self {
        let start = LogPosition::default();
        Self { schedule, backend, limits, position: start, flushed: start, unflushed_since: None }
    }

    /// Loads what the previous leader has written.
    pub(super) async fn load(&mut self) -> Result<(), B::Error> {
        let snapshot = self.backend.load().await?;
        self.position = snapshot.checkpoint;
        self.flushed = snapshot.checkpoint;
        for (id, state) in snapshot.lanes {
            self.schedule.add_lane(id, state);
        }
        for delivery in snapshot.in_flight {
            self.schedule.add_in_flight(delivery);
        }
        Ok(())
    }

    /// Returns the position of the last fact that was folded.
    pub(super) fn position(&self) -> LogPosition {
        self.position
    }

    /// Folds the facts that follow [`Self::position`] in the log.
    pub(super) async fn fold(&mut self, facts: &[LoggedFact], now: DateTime<Utc>) -> Result<(), B::Error> {
        let Some(last) = facts.last() else { return Ok(()) };
        let (events, lanes) = self.schedule.missing(facts);
        let fetched = self.fetch(&events, &lanes).await?;
        for fact in facts {
            self.schedule.fold(fact, &fetched, now);
        }
        self.position = last.position;
        self.unflushed_since.get_or_insert(now);
        Ok(())
    }

    /// Loads what facts refer to and memory does not hold.
    async fn fetch(&mut self, events: &[Uuid], lanes: &[Uuid]) -> Result<Fetched, B::Error> {
        if events.is_empty() && lanes.is_empty() {
            return Ok(Fetched::new());
        }
        self.backend.end_write().await?;
        if !lanes.is_empty() {
            for (id, state) in self.backend.lanes(lanes).await? {
                self.schedule.add_lane(id, state);
            }
        }
        if events.is_empty() {
            return Ok(Fetched::new());
        }
        let rows = self.backend.deliveries(events).await?;
        Ok(rows.into_iter().map(|delivery| (delivery.event_id, delivery)).collect())
    }

    /// Does everything that is due at `now`.
    pub(super) async fn step(&mut self, now: DateTime<Utc>) -> Result<(), B::Error> {
        self.schedule.advance_to(now);
        self.take_breaker_steps(now).await;
        self.refill(now).await?;
        if self.backend.can_publish() {
            let mut due = self.schedule.unstarted(before(now, self.limits.republish_after), now);
            due.extend(self.schedule.release(now));
            self.publish(due);
        }
        let vanished = self.schedule.vanished(before(now, self.limits.vanished_after));
        if !vanished.is_empty() {
            self.backend.give_up(&vanished, now).await;
        }
        if self.is_flush_due(now) {
            self.begin_flush().await
        } else if self.backend.is_write_over() {
            self.backend.end_write().await
        } else {
            Ok(())
        }
    }

    async fn take_breaker_steps(&mut self, now: DateTime<Utc>) {
        let steps = self.schedule.breaker_steps(self.limits.breaker_threshold, now);
        if !steps.is_empty() {
            for failed in self.backend.execute_breaker_steps(steps, now).await {
                self.schedule.retry_breaker_step(failed);
            }
        }
    }

    /// Fills the windows of lanes that run dry. The tables are flushed first, so that they hold everything
    /// that memory does not.
    async fn refill(&mut self, now: DateTime<Utc>) -> Result<(), B::Error> {
        loop {
            let windows = self.schedule.refills(REFILL_LANES_MAX);
            if windows.is_empty() {
                return Ok(());
            }
            self.flush().await?;
            let in_memory: Vec<Uuid> =
                windows.iter().flat_map(|window| self.schedule.in_memory(window.destination_id)).collect();
            let DueEvents { due, next_due } = self.backend.due_events(&windows, &in_memory, now).await?;
            let mut due_of: HashMap<DestinationId, Vec<DueDelivery>> = HashMap::new();
            for delivery in due {
                due_of.entry(delivery.destination_id).or_default().push(delivery);
            }
            for Window { destination_id: id, rows_max } in windows {
                let due = due_of.remove(&id).unwrap_or_default();
                let complete = due.len() < rows_max;
                self.schedule.fill_window(id, due, complete, next_due.get(&id).copied());
            }
        }
    }

    pub(super) fn publish(&mut self, due: Vec<DueDelivery>) {
        if due.is_empty() {
            return;
        }
        let jobs = due.into_iter().map(|delivery| {
            let stage_version = self.schedule.stage_version(delivery.destination_id);
            (delivery, stage_version)
        });
        let jobs = jobs.collect();
        self.backend.publish(jobs);
    }

    /// Whether there are so many changes that a flush should not wait.
    pub(super) fn has_many_changes(&self) -> bool {
        self.schedule.changes_len() >= CHANGES_MAX
    }

    fn is_flush_due(&self, now: DateTime<Utc>) -> bool {
        // The clock may have been set back.
        let is_late = |since| now < since || now >= after(since, FLUSH_AFTER);
        self.has_many_changes() || self.unflushed_since.is_some_and(is_late)
    }

    /// Writes what differs from the tables, with the checkpoint.
    pub(super) async fn flush(&mut self) -> Result<(), B::Error> {
        self.begin_flush().await?;
        self.backend.end_write().await
    }

    /// Begins a flush after the previous one has ended, and does not wait for it: jobs are released meanwhile.
    async fn begin_flush(&mut self) -> Result<(), B::Error> {
        self.backend.end_write().await?;
        self.unflushed_since = None;
        if self.position != self.flushed || self.schedule.changes_len() > 0 {
            self.flushed = self.position;
            let changes = self.schedule.take_changes();
            self.backend.begin_write(changes, self.position);
        }
        Ok(())
    }

    /// Returns when [`Self::step`] has something to do although no fact arrives.
    pub(super) fn next_deadline(&self) -> Option<DateTime<Utc>> {
        // While the queue takes nothing, nothing is published again either.
        let oldest_published = self.schedule.oldest_published().filter(|_| self.backend.can_publish());
        [
            self.schedule.next_deadline(),
            oldest_published.map(|at| after(at, self.limits.republish_after)),
            self.schedule.oldest_started().map(|at| after(at, self.limits.vanished_after)),
            self.unflushed_since.map(|at| after(at, FLUSH_AFTER)),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

/// Returns the time `ago` before `now`.
fn before(now: DateTime<Utc>, ago: Duration) -> DateTime<Utc> {
    let ago = TimeDelta::from_std(ago).ok();
    ago.and_then(|ago| now.checked_sub_signed(ago)).unwrap_or(DateTime::<Utc>::MIN_UTC)
}

/// Returns the time `wait` after `at`.
fn after(at: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    let wait = TimeDelta::from_std(wait).ok();
    wait.and_then(|wait| at.checked_add_signed(wait)).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
