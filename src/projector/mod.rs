//! The projector: folds the log into every read model.
//!
//! It reads the log page by page, and each projection folds the page into its rows. Rows and checkpoint are
//! written in one transaction, so a crash at any moment loses nothing and repeats nothing. Every fact is read and
//! parsed once for all projections.
//!
//! **One process writes.** A process that runs the role leads it ([`crate::leadership`]) or waits to. A leader may
//! be paused and replaced, and continue in the middle of a page. So every move of a checkpoint carries the epoch
//! of the lead under which it was made, and a stale epoch rolls the transaction back.
//!
//! **A stream with a gap** ([`projections::quarantine`]) is skipped from the gap on, and reported. It stops nothing
//! else.
//!
//! **Any other fact that cannot be applied** halts the projection that it does not apply to, and no other. Nothing is
//! skipped: a row that misses a fact would stay wrong. The reason is stored with the checkpoint, logged and
//! counted in a metric. The next leader tries again, for example after a restart; a rebuild
//! ([`crate::rebuild`]) lets the projection continue too. Meanwhile, or while a new projection catches up, the
//! others continue: projections at the same position form a cohort that moves together. The front cohort moves
//! first, and cohorts that meet become one.
//!
//! **Expired data is removed here too** ([`retention`]): the projector is the only writer of read models, so
//! removals and folding exclude each other.
//!
//! **Bulk actions are carried out by the leader** ([`bulk_actions`]), next to folding and over connections of the pool. No
//! epoch fences them: a step is stored only if no other one was.
//!
//! **Transactions are short**, because an open one holds back all readers of the log, this one included. A page is
//! read outside the transaction that applies it.
//!
//! **Commits do not wait for the disk** where only webhook events are concerned: should the server lose the last
//! commits, it loses rows and checkpoint together, and the facts are folded again. Commits of other facts wait,
//! because the API has confirmed "this key is revoked" by then.

pub(crate) mod apply_page;
mod bulk_actions;
mod erasures;
mod health;
pub(crate) mod page;
mod page_size;
mod projected;
mod retention;
mod term;

use std::sync::Arc;
use std::time::Duration;

use projections::LogPosition;
use sqlx::PgPool;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::database;
use crate::event_store::{EventStore, LogNotifier, Notification, RecentLog};
use crate::leadership::{self, LeadershipStatus, LedRole, Outage};
use bulk_actions::BulkActions;
pub use health::{Health, ProjectionHealth, ProjectorHealth};
pub use projected::Projected;
pub use retention::Removed;
use retention::StepTimer;
pub use term::{Step, Term, TermEnded};

/// The role in `leaderships`. It is stored, and never changes.
const ROLE: &str = "projector";
/// Default interval between retention passes. Retention is counted in days.
pub(crate) const RETENTION_EVERY_DEFAULT: Duration = Duration::from_secs(600);

/// Folds the log into the read models.
#[derive(Debug)]
pub struct Projector {
    pool: PgPool,
    notifier: LogNotifier,
    /// Facts that other readers in this process have read.
    recent: RecentLog,
    /// Position of the rearmost projection that callers wait for; `None` while another process leads.
    reached: watch::Sender<Option<LogPosition>>,
    /// Notified when a caller begins to wait for the read models.
    awaited: Arc<Notify>,
    /// Interval between retention passes.
    retention_every: Duration,
    status: LeadershipStatus,
}

impl Projector {
    /// Creates a projector of the log in the database of `pool`, woken by `notifier`.
    #[must_use]
    pub fn new(pool: PgPool, notifier: LogNotifier) -> Self {
        Self {
            pool,
            notifier,
            recent: RecentLog::default(),
            reached: watch::Sender::new(None),
            awaited: Arc::default(),
            retention_every: RETENTION_EVERY_DEFAULT,
            status: LeadershipStatus::default(),
        }
    }

    /// Shares `recent` with other readers of the log in this process.
    #[must_use]
    pub fn sharing(self, recent: RecentLog) -> Self {
        Self { recent, ..self }
    }

    /// Sets the interval between retention passes.
    #[must_use]
    pub fn with_retention_every(self, retention_every: Duration) -> Self {
        Self { retention_every, ..self }
    }

    /// Returns the progress of the read models, to wait for.
    #[must_use]
    pub fn projected(&self) -> Projected {
        Projected::new(self.pool.clone(), self.reached.subscribe(), Arc::clone(&self.awaited))
    }

    /// Returns what this process knows about its lead.
    #[must_use]
    pub fn leadership_status(&self) -> &LeadershipStatus {
        &self.status
    }

    /// Waits for the lead and projects, again and again, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        leadership::perform(&self, &stop).await;
    }

    /// Waits for the lead, and takes over the checkpoints.
    ///
    /// # Errors
    ///
    /// When the database fails, or another process takes the lead meanwhile.
    pub async fn lead(&self) -> Result<Term, TermEnded> {
        Term::begin(&self.pool, self.recent.clone(), self.reached.clone(), &self.status).await
    }

    async fn project(
        &self,
        term: &mut Term,
        stop: &CancellationToken,
        outage: &mut Outage,
    ) -> Result<(), TermEnded> {
        let mut notifications = self.notifier.subscribe();
        let mut retention = StepTimer::new(self.retention_every);
        let mut erasures = StepTimer::new(term::POLL_INTERVAL);
        loop {
            // Before reading, so that a notification during the reading wakes this loop again.
            notifications.mark_unchanged();
            let begun = Instant::now();
            let step = database::in_time(database::LONG, term.run_once()).await?;
            let batch_delay = term::batch_delay(begun.elapsed());
            outage.is_over();
            if stop.is_cancelled() {
                return Ok(());
            }
            database::in_time(database::LONG, term.run_periodic_tasks()).await?;
            if retention.is_due() {
                let begun = Instant::now();
                let removed = database::in_time(database::LONG, term.remove_expired(clock::now())).await?;
                retention.record(begun.elapsed(), removed);
            }
            if erasures.is_due() {
                let begun = Instant::now();
                let erased = database::in_time(database::LONG, term.erase_requested(clock::now())).await?;
                erasures.record(begun.elapsed(), erased);
                if erased.payloads > 0 {
                    self.notifier.notify(Notification::Progress);
                }
            }
            if step.more {
                continue;
            }
            if step.facts > 0 {
                // Facts of the next moment are folded together, unless a caller waits for one.
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = self.awaited.notified() => {}
                    () = tokio::time::sleep(batch_delay) => {}
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = notifications.changed() => {}
                () = tokio::time::sleep(step.look_again.unwrap_or(term::POLL_INTERVAL).min(retention.wait()).min(erasures.wait())) => {}
            }
        }
    }
}

impl LedRole for Projector {
    const NAME: &'static str = ROLE;
    type Ended = TermEnded;

    async fn term(&self, stop: &CancellationToken, outage: &mut Outage) -> Result<(), TermEnded> {
        let Some(term) = stop.run_until_cancelled(self.lead()).await else { return Ok(()) };
        let mut term = term?;
        let lost = term.leadership().lost();
        let bulk_actions = BulkActions::new(EventStore::new(self.pool.clone(), self.notifier.clone()));
        // The term is dropped at any await when the lead is lost: what it was writing is fenced.
        let ended = tokio::select! {
            ended = self.project(&mut term, stop, outage) => ended,
            reason = lost => Err(reason.into()),
            never = bulk_actions.run() => match never {},
        };
        self.reached.send_replace(None);
        health::forget_metrics();
        ended
    }
}
