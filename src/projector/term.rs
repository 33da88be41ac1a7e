//! One term as leader: reading pages and applying them, cohort by cohort.

use std::time::Duration;

use projections::checkpoints::{self, CheckpointFailure, Move};
use projections::{LogPosition, Projection};
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::halting::{Outcome, Unapplied, apply_all, apply_what_can_be};
use super::held_back::HeldBackWatch;
use super::page::Page;
use super::{ROLE, health};
use crate::event_store::log_reader::{self, HeldBack};
use crate::leadership::{Leadership, LeadershipFailure};

/// How often the log is looked at although nobody says that it has grown, and the lead is confirmed.
pub(super) const TICK: Duration = Duration::from_secs(1);
/// How long facts gather before they are folded, after others just were. Longer, and lists show
/// deliveries later; shorter, and a busy log is folded in many small transactions.
pub(super) const LINGER: Duration = Duration::from_millis(15);
/// Facts applied in one transaction. More, and the transaction holds back the readers of the log for
/// longer; fewer, and less is folded before it is written.
const PAGE_FACTS_MAX: i64 = 500;

/// A term as leader. The connection of its transactions is its own, so that it waits behind nobody.
#[derive(Debug)]
pub struct Term {
    leadership: Leadership,
    connection: PgConnection,
    cursors: Vec<Cursor>,
    reached: watch::Sender<Option<LogPosition>>,
    wait: HeldBack,
    held_back: HeldBackWatch,
    tended: Instant,
}

/// Where a projection is.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    projection: Projection,
    position: LogPosition,
    halted: bool,
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
                set_config('synchronous_commit', 'off', false) AS commit
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
                Some(Cursor { projection, position: checkpoint.position, halted: false })
            })
            .collect();
        let term = Self {
            leadership,
            connection,
            cursors,
            reached,
            wait: HeldBack::default(),
            held_back: HeldBackWatch::default(),
            tended: Instant::now(),
        };
        term.tell();
        Ok(term)
    }

    /// Applies the next page to the front cohort, and one to the hindmost of the others, if there are.
    pub async fn run_once(&mut self) -> Result<Step, TermEnded> {
        let Some(front) = self.live().map(|cursor| cursor.position).max() else {
            return Ok(Step { facts: 0, more: false, look_again: None });
        };
        let hindmost = self.live().map(|cursor| cursor.position).min().filter(|position| *position < front);

        let read = log_reader::read_after(&mut self.connection, front, PAGE_FACTS_MAX).await?;
        let look_again = self.wait.after(&read);
        self.held_back.note(read.held_back);
        let mut more = usize::try_from(PAGE_FACTS_MAX) == Ok(read.rows.len());
        let page = Page::parse(read.rows);
        let mut facts = page.len();
        self.apply(front, &page).await?;

        if let Some(hindmost) = hindmost {
            let mut rows = log_reader::read_after(&mut self.connection, hindmost, PAGE_FACTS_MAX).await?.rows;
            // Not beyond the front, so that the two meet there.
            rows.retain(|row| row.log_position() <= front);
            let page = Page::parse(rows);
            facts += page.len();
            more |= page.len() > 0;
            self.apply(hindmost, &page).await?;
        }
        Ok(Step { facts, more, look_again })
    }

    /// Does what is due about once a second: confirms the lead, measures the lag.
    pub(super) async fn tend(&mut self) -> Result<(), TermEnded> {
        if self.tended.elapsed() < TICK {
            return Ok(());
        }
        self.leadership.confirm().await?;
        self.held_back.complain(&mut self.connection).await?;
        health::measure(&mut self.connection).await?;
        self.tended = Instant::now();
        Ok(())
    }

    fn live(&self) -> impl Iterator<Item = &Cursor> {
        self.cursors.iter().filter(|cursor| !cursor.halted)
    }

    /// Applies a page to the projections that stand at `from`, with their checkpoints, in one
    /// transaction.
    async fn apply(&mut self, from: LogPosition, page: &Page) -> Result<(), TermEnded> {
        if page.len() == 0 {
            return Ok(());
        }
        let cohort: Vec<Projection> =
            self.live().filter(|cursor| cursor.position == from).map(|cursor| cursor.projection).collect();
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
        checkpoints::advance_all(&mut transaction, epoch, &moves).await?;
        transaction.commit().await?;

        metrics::counter!("hooksentry_projected_facts_total").increment(page.len() as u64);
        for outcome in outcomes {
            self.arrive(outcome);
        }
        self.tell();
        Ok(())
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

    /// Tells this process how far the hindmost projection is.
    fn tell(&self) {
        let hindmost = self.live().map(|cursor| cursor.position).min();
        // With all of them halted there is nothing to wait for.
        let end = LogPosition { transaction_id: u64::MAX, position: i64::MAX };
        self.reached.send_replace(Some(hindmost.unwrap_or(end)));
    }
}

/// Begins the transaction of a page.
async fn begin<'c>(
    connection: &'c mut PgConnection,
    page: &Page,
) -> Result<sqlx::Transaction<'c, sqlx::Postgres>, sqlx::Error> {
    let mut transaction = connection.begin().await?;
    if !page.is_deliveries_only() {
        sqlx::query!("SELECT set_config('synchronous_commit', 'on', true) AS commit")
            .fetch_one(&mut *transaction)
            .await?;
    }
    Ok(transaction)
}
