//! What a leader does with facts and time, without PostgreSQL and the queue.
//!
//! [`DispatchCore`] is the logic of the dispatcher; everything else is behind [`Backend`]. The service runs it on
//! [`super::backend::ServiceBackend`], the tests run the same code on a model.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use projections::LogPosition;
use uuid::Uuid;

use super::breaker_steps::LaneStep;
use super::due_deliveries::{DueDelivery, Window};
use super::fold::Fetched;
use super::lane::LaneState;
use super::page::Page;
use super::schedule::{Changes, Schedule};
use crate::clock::{BootTime, Present};
use crate::config::GIVE_UP_GRACE;
use crate::event_store::AcceptedEvent;

/// Changed rows after which a flush begins.
const CHANGES_MAX: usize = 5_000;
/// Time after which a change is flushed. Higher: a new leader has more of the log to read. Lower: more rows are
/// written of events that are delivered at once.
const FLUSH_AFTER: Duration = Duration::from_millis(1_000);
/// Time without reading the log after which workers may not have been able to write to it either.
const UNREAD_MAX: Duration = Duration::from_secs(5);
/// Shortest time between two publications of what the queue has lost. Higher: jobs that are lost again wait for longer.
/// Lower: an unstable connection to the broker multiplies jobs.
const LOSSES_APART: Duration = Duration::from_secs(1);
/// Lanes whose windows are filled by one query.
const REFILL_LANES_MAX: usize = 128;
/// Queries that fill windows before the events of these lanes are released. After an outage very many lanes may
/// have a backlog.
const REFILLS_PER_STEP: usize = 4;

/// Times and limits that the core works with.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Consecutive failures that open a destination's breaker.
    pub(super) breaker_threshold: u32,
    /// Time after its time limit for which an attempt without an outcome is waited for.
    pub(super) vanished_margin: Duration,
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
    /// Tenants that are suspended.
    pub(super) suspended_tenants: Vec<TenantId>,
    /// Events that still cannot be read.
    pub(super) set_aside: Vec<WebhookEventId>,
    /// Events that were set aside and can be read now, with what is due of them. Their lanes are in `lanes`.
    pub(super) readable: Vec<(WebhookEventId, Option<DueDelivery>)>,
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

    /// Begins to take steps of circuit breakers, when no others are being taken.
    fn begin_breaker_steps(&mut self, steps: Vec<LaneStep>, now: DateTime<Utc>);

    /// Returns the destinations whose step failed; `None` while steps are being taken.
    fn failed_breaker_steps(&mut self) -> Option<Vec<DestinationId>>;

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
    unflushed_since: Option<BootTime>,
    /// When the log was last read.
    read_at: BootTime,
    /// Until then no attempt is given up: workers record the outcomes that they could not record before.
    grace_until: BootTime,
    /// When to publish again what the queue has lost; `None`: it has lost nothing.
    lost_due: Option<BootTime>,
    /// From when on that may be published again.
    lost_not_before: BootTime,
}

impl<B: Backend> DispatchCore<B> {
    /// Creates a core that knows nothing yet; [`Self::load`] comes next.
    pub(super) fn new(backend: B, schedule: Schedule, limits: Limits) -> Self {
        let (start, never) = (LogPosition::default(), BootTime::default());
        Self {
            schedule,
            backend,
            limits,
            position: start,
            flushed: start,
            unflushed_since: None,
            read_at: never,
            grace_until: never,
            lost_due: None,
            lost_not_before: never,
        }
    }

    /// Loads what the previous leader has written. The time limits of all attempts in flight begin at `now`.
    pub(super) async fn load(&mut self, now: Present) -> Result<(), B::Error> {
        self.read_at = now.boot;
        self.grace_until = now.boot + GIVE_UP_GRACE;
        let snapshot = self.backend.load().await?;
        self.position = snapshot.checkpoint;
        self.flushed = snapshot.checkpoint;
        for id in snapshot.suspended_tenants {
            self.schedule.keep_suspended(id);
        }
        for (id, state) in snapshot.lanes {
            self.schedule.add_lane(id, state);
        }
        for delivery in snapshot.in_flight {
            self.schedule.add_in_flight(delivery, now.boot);
        }
        for event_id in snapshot.set_aside {
            self.schedule.keep_aside(event_id);
        }
        for (event_id, due) in snapshot.readable {
            self.schedule.restore(event_id, due, now);
        }
        Ok(())
    }

    /// Returns the position of the last fact that was folded.
    pub(super) fn position(&self) -> LogPosition {
        self.position
    }

    /// Folds the page that follows [`Self::position`] in the log; an empty one if nothing follows.
    pub(super) async fn fold(&mut self, page: Page, now: Present) -> Result<(), B::Error> {
        if now.boot.since(self.read_at) > UNREAD_MAX {
            self.grace_until = now.boot + GIVE_UP_GRACE;
        }
        self.read_at = now.boot;
        let Some(position) = page.position else { return Ok(()) };
        let (events, lanes) = self.schedule.missing(&page.facts);
        let fetched = self.fetch(&events, &lanes).await?;
        for fact in &page.facts {
            self.schedule.fold(fact, &fetched, now);
        }
        for event in page.unreadable {
            self.schedule.set_aside(event);
        }
        self.schedule.forget_unconfirmed(position);
        self.position = position;
        self.unflushed_since.get_or_insert(now.boot);
        Ok(())
    }

    /// Folds what this process has accepted, ahead of the log. Returns whether it folded all of it: the rest is to be
    /// read from the log.
    pub(super) fn fold_ahead_of_log(&mut self, accepted: &[AcceptedEvent], now: Present) -> bool {
        let mut all = true;
        // The others were folded with the log.
        for event in accepted.iter().filter(|event| event.position > self.position) {
            all &= self.schedule.fold_ahead_of_log(event, now.wall);
        }
        all
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
    pub(super) async fn step(&mut self, now: Present) -> Result<(), B::Error> {
        self.schedule.advance_to(now.wall);
        self.schedule.take_returned();
        self.take_breaker_steps(now);
        self.refill(now.wall).await?;
        if self.backend.can_publish() {
            let mut due = self.unstarted(now.boot);
            due.extend(self.schedule.release(now.boot));
            self.publish(due);
        }
        if self.may_give_up(now.boot) {
            let vanished = self.schedule.vanished(now.boot - self.limits.vanished_margin);
            if !vanished.is_empty() {
                self.backend.give_up(&vanished, now.wall).await;
            }
        }
        if self.is_flush_due(now.boot) {
            self.begin_flush().await
        } else if self.backend.is_write_over() {
            self.backend.end_write().await
        } else {
            Ok(())
        }
    }

    /// Notes at `now` that the queue may have lost jobs: what has not started is published again soon.
    pub(super) fn note_loss(&mut self, now: BootTime) {
        self.lost_due.get_or_insert(now.max(self.lost_not_before));
    }

    /// Returns jobs that have not started and are to be published again.
    fn unstarted(&mut self, now: BootTime) -> Vec<DueDelivery> {
        if self.lost_due.is_none_or(|due| due > now) {
            return self.schedule.unstarted(self.limits.republish_after, now);
        }
        self.lost_due = None;
        self.lost_not_before = now + LOSSES_APART;
        let lost = self.schedule.all_unstarted(now);
        if !lost.is_empty() {
            tracing::info!(jobs = lost.len(), "publishing again what the queue may have lost");
        }
        lost
    }

    /// Whether an attempt without an outcome in memory has none in the log. It may have one that was not read, or
    /// its worker could not record it, if the log was not read for a while.
    fn may_give_up(&self, now: BootTime) -> bool {
        now >= self.grace_until && now.since(self.read_at) <= UNREAD_MAX
    }

    fn take_breaker_steps(&mut self, now: Present) {
        // Also while steps of others are being taken: a lane whose breaker is to open releases nothing from now on.
        self.schedule.find_breaker_steps(self.limits.breaker_threshold, now);
        let Some(failed) = self.backend.failed_breaker_steps() else { return };
        for id in failed {
            self.schedule.retry_breaker_step(id, now.boot);
        }
        let steps = self.schedule.breaker_steps(self.limits.breaker_threshold, now);
        if !steps.is_empty() {
            self.backend.begin_breaker_steps(steps, now.wall);
        }
    }

    /// Fills the windows of lanes that run dry, of some more with each step. The tables are flushed first, so that they hold everything
    /// that memory does not.
    async fn refill(&mut self, now: DateTime<Utc>) -> Result<(), B::Error> {
        for _ in 0..REFILLS_PER_STEP {
            let windows = self.schedule.refills(REFILL_LANES_MAX);
            if windows.is_empty() {
                break;
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
        Ok(())
    }

    /// Whether there are lanes that run dry, for the next step.
    pub(super) fn wants_refill(&self) -> bool {
        self.schedule.wants_refill()
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

    fn is_flush_due(&self, now: BootTime) -> bool {
        let is_late = |since| now.since(since) >= FLUSH_AFTER;
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

    /// Returns after which time [`Self::step`] has something to do although no fact arrives.
    pub(super) fn next_deadline(&self, now: Present) -> Option<Duration> {
        // While the queue takes nothing, nothing is published again either.
        let can_publish = self.backend.can_publish();
        let oldest_published = self.schedule.oldest_published().filter(|_| can_publish);
        let vanished = self.schedule.first_time_limit().map(|at| at + self.limits.vanished_margin);
        let durations = [
            oldest_published.map(|at| at + self.limits.republish_after),
            self.lost_due.filter(|_| can_publish),
            vanished.map(|at| at.max(self.grace_until)),
            self.schedule.next_failed_step(),
            self.unflushed_since.map(|at| at + FLUSH_AFTER),
        ];
        let durations = durations.into_iter().flatten().map(|at| at.since(now.boot));
        let times = self.schedule.next_deadline();
        let times = times.map(|at| (at - now.wall).to_std().unwrap_or(Duration::ZERO));
        durations.chain(times).min()
    }
}
