//! One term as leader: reading pages and applying them, cohort by cohort.

use std::time::Duration;

use chrono::{DateTime, Utc};
use projections::checkpoints::{self, BEHIND_FACTS_MAX, CheckpointFailure, Move};
use projections::{LogPosition, Projection, TransactionId, webhook_events};
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::halting::{Outcome, Unapplied, apply_all, apply_what_can_be};
use super::held_back::HeldBackWatch;
use super::page::Page;
use super::retention::{self, Removed, Retention};
use super::{ROLE, health};
use crate::clock;
use crate::event_store::log_reader::HeldBack;
use crate::event_store::{self, RecentLog};
use crate::leadership::{Leadership, LeadershipFailure};

/// How often the log is looked at although nobody says that it has grown, and the lead is confirmed.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// How long facts gather before they are folded, after others just were. Longer, and lists show
/// deliveries later; shorter, and a busy log is folded in many small transactions.
pub(super) const LINGER: Duration = Duration::from_millis(100);
/// Facts applied in one transaction. More, and the transaction holds back the readers of the log for
/// longer; fewer, and less is folded before it is written.
const PAGE_FACTS_MAX: usize = 2_000;
/// How soon to look again for the end of a hold. It takes moments, and somebody may wait for its read model.
const HELD_LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A term as leader. The connection of its transactions is its own, so that it waits behind nobody.
#[derive(Debug)]
pub struct Term {
    leadership: Leadership,
    connection: PgConnection,
    recent: RecentLog,
    cursors: Vec<Cursor>,
    reached: watch::Sender<Option<LogPosition>>,
    wait: HeldBack,
    held_back: HeldBackWatch,
    tended: Instant,
    /// Whether every webhook event is in the counts.
    counted: bool,
    /// Everything recorded before is in the rows of the front cohort.
    shown_until: DateTime<Utc>,
    retention: Retention,
}

/// Where a projection is.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    projection: Projection,
    position: LogPosition,
    halted: bool,
    /// Somebody is about to replace its rows.
    held: bool,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Facts applied, counted once for each cohort that applied them.
    pub facts: usize,
    /// Whether there is more to apply at once.
    pub more: bool,
    /// How soon to look again without being woken, when facts are committed that must not be read yet.
    pub look_again: Option<Duration>,
}

/// Why a term as leader ended.
#[derive(Debug, Error)]
pub enum TermEnded {
    /// The database failed.
    #[error("the database does not do its part")]
    Database(#[from] sqlx::Error),
    /// The lead is gone.
    #[error("the lead is lost")]
    Leadership(#[from] LeadershipFailure),
    /// Another process writes the read models.
    #[error("the checkpoints cannot be moved")]
    Checkpoint(#[from] CheckpointFailure),
}

impl Term {
    /// Waits for the lead, and takes over the checkpoints.
    pub(super) async fn begin(
        pool: &PgPool,
        recent: RecentLog,
        reached: watch::Sender<Option<LogPosition>>,
    ) -> Result<Self, TermEnded> {
        let leadership = Leadership::acquire(pool, ROLE).await?;
        let mut connection = PgConnection::connect_with(&pool.connect_options()).await?;
        // A process that is paused within a transaction holds back every reader of the log.
        sqlx::query!(
            r#"
            SELECT
                set_config('statement_timeout', '60s', false) AS statement,
                set_config('idle_in_transaction_session_timeout', '10s', false) AS idle,
                set_config('synchronous_commit', 'off', false) AS commit,
                -- Rows are looked up by their keys and by nothing else. While a table is young its
                -- statistics say that it is small; plans that scan it would be kept while it grows.
                set_config('enable_seqscan', 'off', false) AS scans
            "#
        )
        .fetch_one(&mut connection)
        .await?;
        let mut transaction = connection.begin().await?;
        let names = Projection::ALL.map(Projection::name);
        let taken = checkpoints::take_over_all(&mut transaction, &names, leadership.epoch()).await?;
        transaction.commit().await?;
        let cursors = taken
            .into_iter()
            .filter_map(|checkpoint| {
                let projection = Projection::from_name(&checkpoint.reader)?;
                let (position, held) = (checkpoint.position, checkpoint.held);
                Some(Cursor { projection, position, halted: false, held })
            })
            .collect();
        let term = Self {
            leadership,
            connection,
            recent,
            cursors,
            reached,
            wait: HeldBack::default(),
            held_back: HeldBackWatch::default(),
            tended: Instant::now(),
            counted: false,
            shown_until: DateTime::UNIX_EPOCH,
            retention: Retention::default(),
        };
        term.tell();
        Ok(term)
    }

    /// Applies the next page to the front cohort, and one to the hindmost of the others, if there are.
    pub async fn run_once(&mut self) -> Result<Step, TermEnded> {
        if self.cursors.iter().any(|cursor| cursor.held) {
            self.look_at_checkpoints().await?;
        }
        let Some(front) = self.free().map(|cursor| cursor.position).max() else {
            let look_again = self.live().next().map(|_| HELD_LOOK_AGAIN);
            return Ok(Step { facts: 0, more: false, look_again });
        };
        let hindmost = self.free().map(|cursor| cursor.position).min().filter(|position| *position < front);

        let read = self.recent.read_after(&mut self.connection, front, PAGE_FACTS_MAX).await?;
        let look_again = self.wait.after(&read);
        self.held_back.note(read.held_back);
        let mut more = read.rows.len() == PAGE_FACTS_MAX;
        let page = Page::parse(read.rows);
        let mut facts = page.len();
        let applied = self.apply(front, &page).await?;
        more |= !applied;
        match page.recorded_until() {
            _ if !applied => {}
            Some(recorded_at) => self.shown_until = recorded_at,
            None if !self.held_back.lasts() => self.shown_until = clock::now(),
            None => {}
        }

        if let Some(hindmost) = hindmost {
            let mut rows = self.recent.read_after(&mut self.connection, hindmost, PAGE_FACTS_MAX).await?.rows;
            // Not beyond the front, so that the two meet there.
            rows.retain(|row| row.log_position() <= front);
            let page = Page::parse(rows);
            facts += page.len();
            more |= page.len() > 0;
            more |= !self.apply(hindmost, &page).await?;
        }
        if !self.counted {
            more |= self.count().await?;
        }
        let is_held = self.live().any(|cursor| cursor.held);
        let look_again = if is_held { Some(HELD_LOOK_AGAIN) } else { look_again };
        Ok(Step { facts, more, look_again })
    }

    /// Counts some of the webhook events that were there before their counts. Answers whether any are left.
    async fn count(&mut self) -> Result<bool, TermEnded> {
        let Some(cursor) = self.free().find(|cursor| cursor.projection == Projection::WebhookEvents).copied()
        else {
            return Ok(false);
        };
        let epoch = self.leadership.epoch();
        let mut transaction = self.connection.begin().await?;
        event_store::mark_non_appending(&mut transaction).await?;
        let left = webhook_events::recount(&mut transaction).await?;
        // It stays where it is; but whoever lost the lead counts nothing, and what is held stays as it is.
        match checkpoints::advance(&mut transaction, cursor.projection.name(), epoch, cursor.position).await {
            Err(CheckpointFailure::Held) => {
                transaction.rollback().await?;
                self.look_at_checkpoints().await?;
                return Ok(false);
            }
            moved => moved?,
        }
        transaction.commit().await?;
        self.counted = !left;
        Ok(left)
    }

    /// Does what is due about once a second: confirms the lead, measures the lag.
    pub(super) async fn tend(&mut self) -> Result<(), TermEnded> {
        if self.tended.elapsed() < TICK {
            return Ok(());
        }
        self.leadership.confirm().await?;
        if self.cursors.iter().any(|cursor| cursor.halted) {
            self.look_at_checkpoints().await?;
        }
        self.held_back.print_error(&mut self.connection).await?;
        health::measure(&mut self.connection).await?;
        self.tended = Instant::now();
        Ok(())
    }

    /// Removes a little of what need not be kept any longer at `now`, by the clock that accepts events.
    pub async fn retain(&mut self, now: DateTime<Utc>) -> Result<Removed, TermEnded> {
        let stands_at = |wanted: Projection| {
            let cursor = self.live().find(|cursor| cursor.projection == wanted);
            cursor.map(|cursor| cursor.position)
        };
        let front = self.live().map(|cursor| cursor.position).max();
        // An event that the rows do not show yet would be passed over; rows of one read model that another
        // does not know of would be left.
        let together = retention::READ_MODELS.into_iter().all(|projection| stands_at(projection) == front);
        if !together || self.shown_until < now - retention::LAG_MAX {
            return Ok(Removed::default());
        }
        let epoch = self.leadership.epoch();
        Ok(self.retention.step(&mut self.connection, epoch, now).await?)
    }

    fn live(&self) -> impl Iterator<Item = &Cursor> {
        self.cursors.iter().filter(|cursor| !cursor.halted)
    }

    /// Those that are not held either.
    fn free(&self) -> impl Iterator<Item = &Cursor> {
        self.live().filter(|cursor| !cursor.held)
    }

    /// Learns which checkpoints are held, and which of the halted read models were built anew and go on.
    async fn look_at_checkpoints(&mut self) -> Result<(), TermEnded> {
        let names = Projection::ALL.map(Projection::name);
        for checkpoint in checkpoints::load(&mut self.connection, &names).await? {
            let cursor = self.cursors.iter_mut().find(|cursor| cursor.projection.name() == checkpoint.reader);
            let Some(cursor) = cursor else { continue };
            cursor.held = checkpoint.held;
            if cursor.halted && checkpoint.halted_because.is_none() {
                cursor.halted = false;
                cursor.position = checkpoint.position;
            }
        }
        self.tell();
        Ok(())
    }

    /// Applies a page to the projections that stand at `from`, with their checkpoints, in one
    /// transaction. Applies nothing, and answers `false`, when one of them turns out to be held.
    async fn apply(&mut self, from: LogPosition, page: &Page) -> Result<bool, TermEnded> {
        if page.len() == 0 {
            return Ok(true);
        }
        let cohort: Vec<Projection> =
            self.free().filter(|cursor| cursor.position == from).map(|cursor| cursor.projection).collect();
        let epoch = self.leadership.epoch();

        let mut transaction = begin(&mut self.connection, page).await?;
        let outcomes = match apply_all(&mut transaction, &cohort, page).await {
            Ok(outcomes) => outcomes,
            Err(Unapplied::Failure(error)) => return Err(error.into()),
            Err(Unapplied::Fact) => {
                transaction.rollback().await?;
                transaction = begin(&mut self.connection, page).await?;
                apply_what_can_be(&mut transaction, &cohort, from, page).await?
            }
        };
        let moves: Vec<Move> = outcomes.iter().map(Outcome::as_move).collect();
        match checkpoints::advance_all(&mut transaction, epoch, &moves).await {
            Err(CheckpointFailure::Held) => {
                transaction.rollback().await?;
                self.look_at_checkpoints().await?;
                return Ok(false);
            }
            moved => moved?,
        }
        transaction.commit().await?;

        metrics::counter!("hooksentry_projected_facts_total").increment(page.len() as u64);
        for outcome in outcomes {
            self.arrive(outcome);
        }
        self.tell();
        Ok(true)
    }

    fn arrive(&mut self, outcome: Outcome) {
        if let Some(because) = &outcome.halted_because {
            tracing::error!(
                projection = outcome.projection.name(),
                because,
                "a projection halts: a fact does not apply to it; it is tried again after a restart"
            );
        }
        let cursor = self.cursors.iter_mut().find(|cursor| cursor.projection == outcome.projection);
        if let Some(cursor) = cursor {
            cursor.position = outcome.reached;
            cursor.halted = outcome.halted_because.is_some();
        }
    }

    /// Tells this process how far the hindmost projection is that is worth waiting for.
    fn tell(&self) {
        let front = self.live().map(|cursor| cursor.position.position).max().unwrap_or_default();
        let hindmost = self
            .live()
            .map(|cursor| cursor.position)
            .filter(|here| here.position >= front - BEHIND_FACTS_MAX)
            .min();
        // With all of them halted there is nothing to wait for.
        let end = LogPosition { transaction_id: TransactionId(u64::MAX), position: i64::MAX };
        self.reached.send_replace(Some(hindmost.unwrap_or(end)));
    }
}

/// Begins the transaction of a page.
async fn begin<'c>(
    connection: &'c mut PgConnection,
    page: &Page,
) -> Result<sqlx::Transaction<'c, sqlx::Postgres>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    event_store::mark_non_appending(&mut transaction).await?;
    if !page.is_deliveries_only() {
        sqlx::query!("SELECT set_config('synchronous_commit', 'on', true) AS commit")
            .fetch_one(&mut *transaction)
            .await?;
    }
    Ok(transaction)
}
