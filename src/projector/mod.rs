//! The projector: folds the log into every read model.
//!
//! It reads the log page by page and has each projection fold the page into its rows; rows and checkpoint
//! move in one transaction, so a crash at any moment loses nothing and repeats nothing. Every fact is
//! read and parsed once, whatever the number of projections.
//!
//! **One writes.** A process that runs the role leads it ([`crate::leadership`]) or waits to. The lead
//! proves nothing by itself: its holder may be paused, and replaced, and wake up in the middle of a page.
//! So every move of a checkpoint carries the epoch of the lead it was made under, and a stale one rolls
//! its transaction back.
//!
//! **A fact that cannot be applied** stops the projection it does not fit, at that fact, and no other.
//! Nothing is skipped: a row that misses a fact would be wrong for ever. The projection says so in its
//! checkpoint, in the log and in a metric, and is tried again with the next lead, which a restart brings,
//! or goes on once it was built anew ([`crate::generations`]).
//! While it stands still, or while a projection that is new catches up, the others go on: projections at
//! the same place in the log form a cohort that moves together, the front one first, and cohorts that
//! meet become one.
//!
//! **What is old is removed here too**: as the projector alone writes rows, nothing else may take them away
//! while it holds them in hand. [`retention`] says how.
//!
//! **Transactions are short**, because an open one holds back all readers of the log, this one included.
//! A page is read outside the transaction that applies it.
//!
//! **Commits need not wait for the disk** where only deliveries moved: should the server lose the last
//! of them, it loses rows and checkpoint together, and they are folded again. Facts about configuration
//! are waited for, because "this key is revoked" has been answered by then.

pub(crate) mod halting;
mod health;
mod held_back;
pub(crate) mod page;
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
use crate::event_store::{LogNotifier, RecentLog};
pub use health::{Health, ProjectionHealth, ProjectorHealth};
pub use projected::Projected;
use retention::Pacing;
pub use retention::Removed;
pub use term::{Step, Term, TermEnded};

/// The role in `leaderships`. It is data: it never changes.
const ROLE: &str = "projector";
/// How often it is looked what need not be kept any longer, unless somebody says otherwise. Retention is
/// counted in days.
pub(crate) const RETENTION_EVERY_DEFAULT: Duration = Duration::from_secs(600);
/// How long to wait before taking the lead again after it failed.
const LEAD_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Follows the log and keeps the read models.
#[derive(Debug)]
pub struct Projector {
    pool: PgPool,
    notifier: LogNotifier,
    /// What other followers in this process have read.
    recent: RecentLog,
    /// How far the hindmost projection is that is waited for, while this process leads.
    reached: watch::Sender<Option<LogPosition>>,
    /// Somebody waits for the read models.
    awaited: Arc<Notify>,
    /// How often it is looked what need not be kept any longer.
    retention_every: Duration,
}

impl Projector {
    /// A projector of the log in the database of `pool`, woken by `notifier`.
    #[must_use]
    pub fn new(pool: PgPool, notifier: LogNotifier) -> Self {
        Self {
            pool,
            notifier,
            recent: RecentLog::default(),
            reached: watch::Sender::new(None),
            awaited: Arc::default(),
            retention_every: RETENTION_EVERY_DEFAULT,
        }
    }

    /// Reads what other followers in this process have read from `recent`.
    #[must_use]
    pub fn sharing(self, recent: RecentLog) -> Self {
        Self { recent, ..self }
    }

    /// The same, looking this often what need not be kept any longer.
    #[must_use]
    pub fn with_retention_every(self, retention_every: Duration) -> Self {
        Self { retention_every, ..self }
    }

    /// What waits for its read models.
    #[must_use]
    pub fn projected(&self) -> Projected {
        Projected::beside(self.pool.clone(), self.reached.subscribe(), Arc::clone(&self.awaited))
    }

    /// Leads when it may, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut complained = false;
        while !stop.is_cancelled() {
            let ended = tokio::select! {
                () = stop.cancelled() => return,
                term = self.lead() => match term {
                    Ok(term) => self.serve(term, &stop, &mut complained).await,
                    Err(reason) => Err(reason),
                },
            };
            self.reached.send_replace(None);
            health::forget_metrics();
            let Err(reason) = ended else { return };
            if !complained {
                tracing::error!(error = ?anyhow::Error::from(reason), "the projector gave up the lead; it tries again");
            }
            complained = true;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LEAD_AGAIN_AFTER) => {}
            }
        }
    }

    /// Waits for the lead, and takes over the checkpoints.
    pub async fn lead(&self) -> Result<Term, TermEnded> {
        Term::begin(&self.pool, self.recent.clone(), self.reached.clone()).await
    }

    /// One term as leader. It ends in peace only with `stop`.
    async fn serve(
        &self,
        mut term: Term,
        stop: &CancellationToken,
        complained: &mut bool,
    ) -> Result<(), TermEnded> {
        let mut grown = self.notifier.subscribe();
        let mut rhythm = Pacing::every(self.retention_every);
        loop {
            // Marked seen before the look, so that what comes during the look wakes us again.
            grown.mark_unchanged();
            let step = term.run_once().await?;
            *complained = false;
            if stop.is_cancelled() {
                return Ok(());
            }
            term.tend().await?;
            if rhythm.is_due() {
                let begun = Instant::now();
                let retained = term.retain(clock::now()).await?;
                rhythm.rest(begun.elapsed(), retained);
            }
            if step.more {
                continue;
            }
            if step.facts > 0 {
                // What comes in the next moment is folded together, unless somebody waits for it.
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = self.awaited.notified() => {}
                    () = tokio::time::sleep(term::LINGER) => {}
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = grown.changed() => {}
                () = tokio::time::sleep(step.look_again.unwrap_or(term::TICK).min(rhythm.wait())) => {}
            }
        }
    }
}
