//! The dispatcher: the process manager that decides when an attempt may start.
//!
//! The dispatcher follows the log and keeps, for each destination, a lane of the webhook events that have not
//! ended. It releases a job to the queue when the event is due and the destination has a permit: fewer attempts
//! in flight than its limit, status active, breaker not open. A job counts as in flight from its release until
//! its outcome is in the log, so the limit holds over all workers and however long the queue takes. The backlog
//! waits in PostgreSQL and not in the broker: a destination with a million waiting events delays no other, costs
//! the broker nothing and the dispatcher a bounded window.
//!
//! It leases permits of destinations at which nothing waits to the committer of webhooks of its own process, which starts first
//! attempts without a job ([`crate::event_store::PermitLeases`]). A lease counts as in flight, too.
//!
//! **State.** [`schedule`] is memory; `due_deliveries` and `dispatch_lanes` are the same state as of the
//! checkpoint. They are written in the checkpoint's transaction, a little later. Jobs are released before that
//! flush, because releasing twice is harmless: an attempt starts only by appending `DeliveryStarted` at the
//! version its job carries, and one append wins.
//!
//! **If it dies,** another process takes the lead ([`crate::leadership`]) and raises the epoch: jobs of the old
//! epoch can start nothing any more. The new leader loads the tables, reads the log past every claim made under
//! the old epoch, and then knows exactly which attempts are in flight. What was released and not started is
//! released again. Nothing is lost, and the limit holds throughout.
//!
//! **If it cannot reach the broker,** it steps down after some seconds and does not compete for the lead until it
//! is connected again: a standby whose connection works takes over.
//!
//! **If the queue loses jobs** and notices it, every job that has not started is published again at once, and otherwise
//! after a while.
//!
//! **If others die.** A broker delivers the jobs of a worker to others. An attempt whose worker
//! vanished gets the outcome `unknown`, and is retried: its time limit, which its fact names, and a margin are
//! counted from when this leader read of it, by a clock of this machine that is never set.
//!
//! **If a tenant is suspended,** its jobs that have not started are void, and its events wait in the tables with their
//! counts until it is resumed.
//!
//! **If it cannot read a fact** of an event, because a newer process wrote it, it sets that event aside
//! ([`set_aside`]).
//!
//! It also drives the circuit breakers ([`aggregates::circuit_breaker`]): it folds their state from the log, and
//! appends what follows ([`breaker_steps`]).

mod backend;
pub(crate) mod backlog;
mod breaker_steps;
mod deadline_queue;
mod dispatch_core;
mod dispatch_lanes;
mod due_deliveries;
mod fold;
mod lane;
mod page;
mod publisher;
mod schedule;
pub(crate) mod set_aside;
mod suspended_tenants;
mod tenant_windows;
#[cfg(test)]
mod tests;
mod wakeup_receiver;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aggregates::backoff::Backoff;
use projections::{LogRow, TransactionId};
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Present;
use crate::config::{DeliverySettings, Settings};
use crate::database::{self, OwnConnection};
use crate::event_store::held_back::HeldBack;
use crate::event_store::log_reader::{self, LogPage};
use crate::event_store::{self, EventStore};
use crate::leadership::{
    self, LEAD_AGAIN_AFTER, Leadership, LeadershipFailure, LeadershipStatus, LedRole, Outage,
};
use crate::lifecycle::HelperTasks;
use crate::queue::{JobQueue, QueueState};
use backend::ServiceBackend;
use dispatch_core::{DispatchCore, Limits};
use page::Page;
use publisher::Publisher;
use schedule::Schedule;
use set_aside::SET_ASIDE_MAX;
use wakeup_receiver::WakeupReceiver;

/// The dispatcher's name in `checkpoints` and `leaderships`. It is stored, and never changes.
pub(crate) const READER_NAME: &str = "dispatcher";
/// Facts read at once.
const PAGE_FACTS_MAX: usize = 1_000;
/// Interval at which the log is read without a notification.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Delay after stepping down because the broker is out of reach. A standby tries twice a second to take the lead.
const STEP_DOWN_FOR: Duration = Duration::from_secs(3);
/// Interval at which a process without a connection to the broker looks for one before it competes for the lead.
const BROKER_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Deadline of a step, with its reads and the end of the flush before it.
const STEP_TIME_MAX: Duration = Duration::from_secs(30);
/// Delay before reading the log again while a new leader catches up.
const CATCH_UP_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The dispatcher.
pub struct Dispatcher {
    pool: PgPool,
    store: EventStore,
    queue: Arc<dyn JobQueue>,
    settings: DeliverySettings,
    backoff: Backoff,
    helpers: HelperTasks,
    tasks: TaskTracker,
    status: LeadershipStatus,
}

/// Why a term as leader ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TermEnded {
    #[error("database error")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    LogOrigin(#[from] event_store::LogOriginFailure),
    #[error("the lead is lost")]
    Leadership(#[from] LeadershipFailure),
    #[error("the checkpoint cannot be moved")]
    Checkpoint(#[from] projections::checkpoints::CheckpointFailure),
    #[error("the log holds a fact that this version cannot read")]
    Unreadable(#[from] projections::logged_fact::UnreadableRow),
    #[error("more than {SET_ASIDE_MAX} events have facts that this version cannot read")]
    TooManySetAside,
    #[error("the flush was cancelled or panicked")]
    Flush(#[from] tokio::task::JoinError),
    #[error("the broker is out of reach")]
    BrokerOutOfReach,
}

impl Dispatcher {
    /// Creates a dispatcher of the log of `store` that publishes to `queue`.
    #[must_use]
    pub fn new(
        store: EventStore,
        queue: Arc<dyn JobQueue>,
        settings: &Settings,
        helpers: HelperTasks,
    ) -> Self {
        Self {
            pool: store.pool().clone(),
            store,
            queue,
            settings: settings.delivery.clone(),
            backoff: settings.retries.backoff(),
            tasks: helpers.tracker().clone(),
            helpers,
            status: LeadershipStatus::default(),
        }
    }

    /// Returns what this process knows about its lead.
    #[must_use]
    pub fn leadership_status(&self) -> &LeadershipStatus {
        &self.status
    }

    /// Waits for the lead and dispatches, again and again, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        leadership::perform(&self, &stop).await;
    }

    /// Waits for a connection to the broker, and then for the lead.
    async fn acquire_leadership(&self) -> Result<Leadership, LeadershipFailure> {
        while self.queue.state() == QueueState::Disconnected {
            tokio::time::sleep(BROKER_CHECK_INTERVAL).await;
        }
        Leadership::acquire(&self.pool, READER_NAME, &self.status).await
    }
}

impl LedRole for Dispatcher {
    const NAME: &'static str = READER_NAME;
    type Ended = TermEnded;

    /// Takes the lead, loads what is in flight, dispatches until `stop`.
    async fn term(&self, stop: &CancellationToken, outage: &mut Outage) -> Result<(), TermEnded> {
        let Some(leadership) = stop.run_until_cancelled(self.acquire_leadership()).await else {
            return Ok(());
        };
        let leadership = leadership?;
        self.store.recent().clear();
        database::in_time(database::SHORT, async {
            event_store::require_own_log(&mut *self.pool.acquire().await?).await.map_err(TermEnded::from)
        })
        .await?;
        let term_over = stop.child_token();
        let _ends_with_term = term_over.clone().drop_guard();
        let mut losses = self.queue.losses();
        losses.mark_unchanged();
        let publisher = Publisher::start(Arc::clone(&self.queue), &self.helpers, term_over);
        let broker_out_of_reach = publisher.broker_out_of_reach();
        let backend = ServiceBackend::new(self, publisher, leadership.epoch());
        let concurrency_max = Some(self.settings.destination_concurrency_max);
        let schedule = Schedule::shared_by(self.settings.tenant_weights.clone(), concurrency_max);
        let limits = Limits {
            breaker_threshold: self.settings.breaker_threshold,
            vanished_margin: self.settings.vanished_margin,
            republish_after: self.settings.republish_after,
        };
        let core = DispatchCore::new(backend, schedule, limits);
        let connection = OwnConnection::to_database_of(&self.pool);
        let held_back = HeldBack::new(READER_NAME);
        let term = Term { dispatcher: self, core, held_back, connection, losses };
        // The term is dropped at any await when the lead is lost: what it was writing is fenced.
        tokio::select! {
            ended = term.serve(stop, outage) => ended,
            reason = leadership.lost() => Err(reason.into()),
            () = broker_out_of_reach => Err(TermEnded::BrokerOutOfReach),
        }
    }

    fn pause_after(reason: &TermEnded) -> Duration {
        match reason {
            TermEnded::BrokerOutOfReach => STEP_DOWN_FOR,
            _ => LEAD_AGAIN_AFTER,
        }
    }
}

/// A term as leader.
struct Term<'a> {
    dispatcher: &'a Dispatcher,
    core: DispatchCore<ServiceBackend<'a>>,
    held_back: HeldBack,
    /// Reads the log.
    connection: OwnConnection,
    /// Changes when the queue has lost jobs.
    losses: watch::Receiver<u64>,
}

impl Term<'_> {
    /// Loads what is in flight and dispatches until `stop`, then flushes.
    async fn serve(mut self, stop: &CancellationToken, outage: &mut Outage) -> Result<(), TermEnded> {
        let mut wakeup_receiver = WakeupReceiver::of(self.dispatcher.store.notifier());
        let begun = async {
            database::in_time(database::LONG, self.core.load(Present::read())).await?;
            self.catch_up().await
        };
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            begun = begun => begun?,
        }
        outage.is_over();
        self.dispatch(&mut wakeup_receiver, stop).await
    }

    /// Folds every claim that was made before this term began, and releases nothing until then.
    async fn catch_up(&mut self) -> Result<(), TermEnded> {
        let pool = &self.dispatcher.pool;
        let barrier = database::in_time(database::SHORT, async {
            log_reader::barrier(&mut *pool.acquire().await?).await
        });
        let barrier = barrier.await?;
        loop {
            let (page, wait, horizon) = self.read(barrier).await?;
            let complete = page.rows.len() < PAGE_FACTS_MAX;
            self.fold(page.rows).await?;
            if self.core.has_many_changes() {
                self.core.flush().await?;
            }
            if complete && horizon >= barrier {
                return Ok(());
            }
            if complete {
                tokio::time::sleep(wait.unwrap_or(CATCH_UP_AGAIN_AFTER)).await;
            }
        }
    }

    async fn dispatch(
        &mut self,
        wakeup_receiver: &mut WakeupReceiver,
        stop: &CancellationToken,
    ) -> Result<(), TermEnded> {
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let store = &self.dispatcher.store;
        let mut accepted = store.accepted_events().receive();
        let lessor = store.first_attempts().leases().begin_term(self.core.backend.epoch);
        self.core.schedule.begin_leases(lessor);
        loop {
            // Before reading, so that a notification during the reading wakes this loop again.
            wakeup_receiver.mark_unchanged();
            let (page, look_again, _) = self.read(TransactionId::default()).await?;
            let has_more = page.rows.len() >= PAGE_FACTS_MAX;
            self.fold(page.rows).await?;
            self.step().await?;
            if stop.is_cancelled() {
                return self.core.flush().await;
            }
            if has_more || self.core.wants_refill() {
                continue;
            }
            // Facts that are held back may be work, and are not notified again.
            let is_awaited = look_again.is_some() || self.core.schedule.waits_for_attempts();
            let mut woken = pin!(wakeup_receiver.wait(is_awaited));
            loop {
                let sleep = self.sleep_for(look_again);
                let publisher = &self.core.backend.publisher;
                let breaker_steps = &self.core.backend.breaker_steps;
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = &mut woken => break,
                    Some(events) = accepted.recv() => {
                        let all_folded = self.core.fold_ahead_of_log(&events, Present::read());
                        self.step().await?;
                        if !all_folded || (self.core.schedule.waits_for_attempts() && !is_awaited) {
                            break;
                        }
                    }
                    () = self.core.schedule.lease_returned() => self.step().await?,
                    () = publisher.ready(), if !publisher.can_publish() => break,
                    () = breaker_steps.ended() => break,
                    Ok(()) = self.losses.changed() => {
                        self.core.note_loss(Present::read().boot);
                        break;
                    }
                    () = tokio::time::sleep(sleep) => break,
                    _ = poll.tick() => break,
                }
            }
        }
    }

    /// Does what is due.
    async fn step(&mut self) -> Result<(), TermEnded> {
        let now = Present::read();
        database::in_time(STEP_TIME_MAX, self.core.step(now)).await?;
        let schedule = &self.core.schedule;
        metrics::gauge!("hooksentry_jobs_outstanding").set(schedule.outstanding() as f64);
        self.dispatcher.store.accepted_events().note_not_started(schedule.about_to_start(now.boot));
        Ok(())
    }

    /// Reads the next page. Returns it with the pause after which to read again without a notification, and the
    /// horizon. A horizon below `barrier` counts as holding the page back.
    async fn read(
        &mut self,
        barrier: TransactionId,
    ) -> Result<(LogPage, Option<Duration>, TransactionId), TermEnded> {
        // An error ends the term, and the connection with it.
        database::in_time(database::SHORT, async {
            let connection = self.connection.opened().await?;
            let horizon = match barrier == TransactionId::default() {
                true => barrier,
                false => log_reader::horizon(connection, self.held_back.elsewhere()).await?,
            };
            let (recent, position) = (self.dispatcher.store.recent(), self.core.position());
            let elsewhere = self.held_back.elsewhere();
            let mut page = recent.read_after(connection, position, PAGE_FACTS_MAX, elsewhere).await?;
            page.held_back |= horizon < barrier;
            let wait = self.held_back.after(&page);
            self.held_back.look(connection).await?;
            Ok((page, wait, horizon))
        })
        .await
    }

    async fn fold(&mut self, rows: Vec<LogRow>) -> Result<(), TermEnded> {
        let page = Page::read(rows, |event_id| self.core.schedule.is_set_aside(event_id))?;
        for event in &page.unreadable {
            tracing::error!(
                event.id = %event.event_id,
                reason = event.reason,
                "an event is set aside because one of its facts cannot be read; a newer version may read it"
            );
        }
        database::in_time(STEP_TIME_MAX, self.core.fold(page, Present::read())).await?;
        let set_aside = self.core.schedule.set_aside_len();
        metrics::gauge!("hooksentry_set_aside_events").set(set_aside as f64);
        metrics::gauge!("hooksentry_suspended_tenants")
            .set(self.core.schedule.suspended_tenants_len() as f64);
        if set_aside > SET_ASIDE_MAX { Err(TermEnded::TooManySetAside) } else { Ok(()) }
    }

    /// Returns how long to sleep when nothing arrives.
    fn sleep_for(&self, look_again: Option<Duration>) -> Duration {
        let deadline = self.core.next_deadline(Present::read());
        // The clock counts whole milliseconds: without the minimum this would spin within one.
        let shortest = look_again.into_iter().chain(deadline).min();
        shortest.unwrap_or(POLL_INTERVAL).max(Duration::from_millis(1))
    }
}
