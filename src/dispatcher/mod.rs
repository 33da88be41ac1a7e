//! The dispatcher: the process manager that decides when an attempt may start.
//!
//! It follows the log and keeps, for each destination, a lane of the webhook events that are on their
//! way. A job is released to the queue when its time has come and the destination has room: fewer
//! attempts under way than its limit, status active, breaker not open. A job counts as under way from
//! its release until its outcome is in the log, so the limit holds over all workers and however long
//! the queue takes. The backlog waits in Postgres and not in the broker: a destination with a million
//! waiting events holds up nobody, costs the broker nothing and the dispatcher a bounded window.
//!
//! **What it remembers.** [`schedule`] is memory; `due_deliveries` and `dispatch_lanes` are the same
//! thing as of the checkpoint, and move with it in one transaction, a little later. Jobs are released
//! before that flush, because releasing twice is harmless: an attempt starts only by appending
//! `DeliveryStarted` at the version its job carries, and one append wins.
//!
//! **If it dies.** Another process takes the lead ([`crate::leadership`]), which raises the epoch: jobs
//! of the old epoch can start nothing any more. The new leader loads the tables, reads the log past
//! everything that was announced under the old epoch, and then knows exactly which attempts are under
//! way. What was released and not started is released again. Nothing is lost, and the limit holds
//! throughout.
//!
//! **If others die.** A job the queue forgot is published again after a while. An attempt whose worker
//! vanished gets an outcome, `unknown`, and is retried.
//!
//! It also keeps the time for the circuit breakers: it counts failures from the log, and has the
//! destination's aggregate decide what follows.

mod breaker;
mod deadline_queue;
mod due_deliveries;
mod flush;
mod fold;
mod lane;
mod publisher;
mod schedule;
#[cfg(test)]
mod tests;
mod vanished;
mod wakeup_receiver;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use projections::{LogPosition, LoggedFact};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::event_store::group_commit::GroupCommit;
use crate::event_store::log_reader::{self, HeldBack, LogPage};
use crate::event_store::{EventStore, StreamAppendBatch};
use crate::fair_share::Weights;
use crate::leadership::Leadership;
use crate::queue::JobQueue;
use flush::FlushUnderWay;
use publisher::Publisher;
use schedule::Schedule;
use wakeup_receiver::WakeupReceiver;

/// The dispatcher's name in `checkpoints` and `leaderships`. It is data: it never changes.
const READER: &str = "dispatcher";
/// Facts read at once.
const PAGE_FACTS_MAX: usize = 1_000;
/// Rows that may differ from the tables before they are written.
const CHANGES_MAX: usize = 5_000;
/// How long a change may stay unwritten. Longer, and a new leader has more to read; shorter, and more
/// rows are written of events that are delivered at once.
const FLUSH_AFTER: Duration = Duration::from_millis(1_000);
/// Lanes whose windows are filled by one query.
const REFILL_LANES_MAX: usize = 128;
/// How often the log is looked at although nobody says that it has grown, and the lead is confirmed.
const TICK: Duration = Duration::from_secs(1);
/// How long to wait before taking the lead again after it failed.
const LEAD_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the dispatcher goes by.
#[derive(Clone, Debug)]
pub struct DispatcherSettings {
    /// Failed attempts in a row that open a destination's breaker.
    pub breaker_threshold: u32,
    /// After how long without an outcome an attempt's worker counts as vanished: the delivery timeout
    /// and a margin.
    pub vanished_after: Duration,
    /// After how long a released job that did not start is published again.
    pub republish_after: Duration,
    /// The schedule of retries, for attempts whose worker vanished.
    pub backoff: aggregates::backoff::Backoff,
    /// How tenants share what is released.
    pub weights: Weights,
}

/// The dispatcher.
pub struct Dispatcher {
    pool: PgPool,
    store: EventStore,
    outcomes: GroupCommit<StreamAppendBatch>,
    queue: Arc<dyn JobQueue>,
    settings: DispatcherSettings,
    tasks: TaskTracker,
}

/// Why a term as leader ended.
#[derive(Debug, thiserror::Error)]
enum TermEnded {
    #[error("the database does not do its part")]
    Database(#[from] sqlx::Error),
    #[error("the lead is lost")]
    Leadership(#[from] crate::leadership::LeadershipFailure),
    #[error("the checkpoint cannot be moved")]
    Checkpoint(#[from] projections::checkpoints::CheckpointFailure),
    #[error("the log holds a fact that this version cannot read")]
    Unreadable(#[from] projections::logged_fact::UnreadableRow),
    #[error("the tables were not written to the end")]
    Flush(#[from] tokio::task::JoinError),
}

impl Dispatcher {
    /// A dispatcher of the log of `store` that publishes to `queue`.
    #[must_use]
    pub fn new(
        store: EventStore,
        outcomes: GroupCommit<StreamAppendBatch>,
        queue: Arc<dyn JobQueue>,
        settings: DispatcherSettings,
        tasks: TaskTracker,
    ) -> Self {
        Self { pool: store.pool().clone(), store, outcomes, queue, settings, tasks }
    }

    /// Leads when it may, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut complained = false;
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                ended = self.term(&stop, &mut complained) => ended,
            };
            if let Err(reason) = ended {
                if !complained {
                    tracing::error!(error = ?anyhow::Error::from(reason), "the dispatcher gave up the lead; it tries again");
                }
                complained = true;
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LEAD_AGAIN_AFTER) => {}
                }
            }
        }
    }

    /// One term as leader: takes the lead, learns what is under way, dispatches until `stop`.
    async fn term(&self, stop: &CancellationToken, complained: &mut bool) -> Result<(), TermEnded> {
        let leadership = Leadership::acquire(&self.pool, READER).await?;
        let term_over = stop.child_token();
        let _ends_with_term = term_over.clone().drop_guard();
        let publisher = Publisher::start(Arc::clone(&self.queue), leadership.epoch(), &self.tasks, term_over);
        let mut term = Term {
            dispatcher: self,
            leadership,
            publisher,
            schedule: Schedule::shared_by(self.settings.weights.clone()),
            position: LogPosition::default(),
            flushed: LogPosition::default(),
            unflushed_since: None,
            flush_under_way: None,
            held_back: HeldBack::default(),
        };
        let mut wakeup_receiver = WakeupReceiver::of(self.store.notifier());
        term.load().await?;
        term.catch_up().await?;
        *complained = false;
        term.dispatch(&mut wakeup_receiver, stop).await
    }
}

/// A term as leader.
struct Term<'a> {
    dispatcher: &'a Dispatcher,
    leadership: Leadership,
    publisher: Publisher,
    schedule: Schedule,
    /// How far the log is folded.
    position: LogPosition,
    /// How far the tables are.
    flushed: LogPosition,
    unflushed_since: Option<tokio::time::Instant>,
    flush_under_way: Option<FlushUnderWay>,
    held_back: HeldBack,
}

impl Term<'_> {
    /// Folds what was announced before this term began, and releases nothing until it is all in.
    async fn catch_up(&mut self) -> Result<(), TermEnded> {
        let mut connection = self.dispatcher.pool.acquire().await?;
        let barrier = log_reader::barrier(&mut connection).await?;
        drop(connection);
        loop {
            self.leadership.keep().await?;
            let mut connection = self.dispatcher.pool.acquire().await?;
            let horizon = log_reader::horizon(&mut connection).await?;
            drop(connection);
            let page = self.read().await?;
            let complete = page.rows.len() < PAGE_FACTS_MAX;
            let wait = self.held_back.after(&page);
            self.fold(page).await?;
            if self.schedule.changes_len() >= CHANGES_MAX {
                self.flush().await?;
            }
            if complete && horizon >= barrier {
                return Ok(());
            }
            if complete {
                tokio::time::sleep(wait.unwrap_or(Duration::from_millis(5))).await;
            }
        }
    }

    async fn dispatch(
        &mut self,
        wakeup_receiver: &mut WakeupReceiver,
        stop: &CancellationToken,
    ) -> Result<(), TermEnded> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.leadership.keep().await?;
            // Marked seen before the look, so that what comes during the look wakes us again.
            wakeup_receiver.mark_unchanged();
            let page = self.read().await?;
            let more = page.rows.len() >= PAGE_FACTS_MAX;
            let look_again = self.held_back.after(&page);
            self.fold(page).await?;
            self.step().await?;
            if stop.is_cancelled() {
                return self.flush().await;
            }
            if more {
                continue;
            }
            let wake = self.sleep_for(look_again);
            // What is held back may be work, and be told no more.
            let is_awaited = look_again.is_some() || self.schedule.is_short_of_room();
            tokio::select! {
                () = stop.cancelled() => {}
                () = wakeup_receiver.wait(is_awaited) => {}
                () = self.publisher.ready(), if self.publisher.is_blocked() => {}
                () = tokio::time::sleep(wake) => {}
                _ = tick.tick() => {}
            }
        }
    }

    /// Does everything that is due now.
    async fn step(&mut self) -> Result<(), TermEnded> {
        let now = clock::now();
        self.schedule.wake(now);
        self.take_breaker_steps(now).await;
        self.refill(now).await?;
        if let Some(room) = self.publisher.room() {
            let settings = &self.dispatcher.settings;
            let mut jobs = self.schedule.forgotten(before(now, settings.republish_after), now);
            jobs.extend(self.schedule.release(now));
            let jobs: Vec<_> = jobs
                .into_iter()
                .map(|job| {
                    let stage_version = self.schedule.stage_version(job.destination_id);
                    (job, stage_version)
                })
                .collect();
            room.publish(&jobs);
        }
        self.give_up_vanished(now).await;
        metrics::gauge!("hooksentry_jobs_outstanding")
            .set(f64::from(u32::try_from(self.schedule.outstanding()).unwrap_or(u32::MAX)));
        let is_late = self.unflushed_since.is_some_and(|since| since.elapsed() >= FLUSH_AFTER);
        if is_late || self.schedule.changes_len() >= CHANGES_MAX {
            self.begin_flush().await?;
        } else if self.flush_under_way.as_ref().is_some_and(FlushUnderWay::is_over) {
            self.end_flush().await?;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<LogPage, TermEnded> {
        let mut connection = self.dispatcher.pool.acquire().await?;
        Ok(self.dispatcher.store.recent().read_after(&mut connection, self.position, PAGE_FACTS_MAX).await?)
    }

    async fn fold(&mut self, page: LogPage) -> Result<(), TermEnded> {
        let Some(last) = page.rows.last().map(projections::LogRow::log_position) else { return Ok(()) };
        let facts = page.rows.into_iter().map(LoggedFact::try_from).collect::<Result<Vec<_>, _>>()?;
        let (events, lanes) = self.schedule.missing(&facts);
        let fetched = self.fetch(&events, &lanes).await?;
        let now = clock::now();
        for fact in &facts {
            self.schedule.fold(fact, &fetched, now);
        }
        self.position = last;
        self.unflushed_since.get_or_insert_with(tokio::time::Instant::now);
        Ok(())
    }

    /// How long to sleep when nothing arrives.
    fn sleep_for(&self, look_again: Option<Duration>) -> Duration {
        let now = clock::now();
        let until = |at: DateTime<Utc>| (at - now).to_std().unwrap_or(Duration::ZERO);
        let after = |at: DateTime<Utc>, wait: Duration| until(at) + wait;
        let settings = &self.dispatcher.settings;
        let (released, started) = self.schedule.oldest();
        // While the queue takes nothing, nothing is published again either.
        let released = released.filter(|_| !self.publisher.is_blocked());
        [
            look_again,
            self.schedule.next_wake().map(until),
            released.map(|at| after(at, settings.republish_after)),
            started.map(|at| after(at, settings.vanished_after)),
            self.unflushed_since.map(|since| FLUSH_AFTER.saturating_sub(since.elapsed())),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(TICK)
        // The clock counts milliseconds: never spin within one.
        .max(Duration::from_millis(1))
    }
}

/// The time that lies `ago` before `now`.
fn before(now: DateTime<Utc>, ago: Duration) -> DateTime<Utc> {
    TimeDelta::from_std(ago)
        .ok()
        .and_then(|ago| now.checked_sub_signed(ago))
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}
