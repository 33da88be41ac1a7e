//! One term as leader: reads pages of the log and applies them, cohort by cohort.

use std::time::Duration;

use chrono::{DateTime, Utc};
use projections::checkpoints::{self, BEHIND_FACTS_MAX, CheckpointFailure, Move};
use projections::quarantine::{self, Quarantine};
use projections::{ApplyFailure, LogPosition, Projection, TransactionId, webhook_events};
use sqlx::{Connection, PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::apply_page::{Applied, NotApplied, apply_all, apply_until_failure};
use super::erasures;
use super::page::Page;
use super::retention::{self, Removed, Retention};
use super::{ROLE, health, page_size};
use crate::clock;
use crate::database;
use crate::event_store::held_back::HeldBack;
use crate::event_store::log_reader::LogPage;
use crate::event_store::{self, LogOriginFailure, RecentLog};
use crate::leadership::{Leadership, LeadershipFailure, LeadershipStatus};

/// Interval at which the log is read without a notification.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest delay before folding the next facts, after others were folded. Higher: lists show deliveries later.
/// Lower: a busy log is folded in many small transactions.
const BATCH_DELAY_MIN: Duration = Duration::from_millis(100);
/// Longest delay, if folding is slow.
const BATCH_DELAY_MAX: Duration = Duration::from_secs(1);
/// Ratio of the delay to the time that folding took.
const BATCH_DELAY_FACTOR: u32 = 10;
/// Delay before checking again whether a hold has ended. Holds are short, and callers may wait for the read model.
const HELD_CHECK_AGAIN: Duration = Duration::from_millis(5);

/// A term as leader. It has a connection of its own, so that it never waits for one of the pool.
#[derive(Debug)]
pub struct Term {
    leadership: Leadership,
    connection: PgConnection,
    recent: RecentLog,
    cursors: Vec<Cursor>,
    quarantine: Quarantine,
    reached: watch::Sender<Option<LogPosition>>,
    held_back: HeldBack,
    /// Number of facts to apply in the next transaction, at most.
    page_facts_max: usize,
    periodic_tasks_at: Instant,
    /// Whether every webhook event is in the counts.
    is_recounted: bool,
    /// Every fact recorded before this time is in the rows of the front cohort.
    shown_until: DateTime<Utc>,
    retention: Retention,
}

/// Progress of a projection.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    projection: Projection,
    position: LogPosition,
    halted: bool,
    /// Whether a rebuild is about to replace its rows.
    held: bool,
}

/// Result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Number of facts applied; a fact counts once for each cohort.
    pub facts: usize,
    /// Whether there are more facts to apply at once.
    pub more: bool,
    /// Delay before reading again without a notification, when facts are committed that must not be read yet.
    pub look_again: Option<Duration>,
}

/// Why a term as leader ended.
#[derive(Debug, Error)]
pub enum TermEnded {
    /// The database failed.
    #[error("database error")]
    Database(#[from] sqlx::Error),
    /// A page was not applied, and may be applied later.
    #[error("the read models cannot be written")]
    Page(#[source] ApplyFailure),
    /// The log must not be continued.
    #[error(transparent)]
    LogOrigin(#[from] LogOriginFailure),
    /// The lead is lost.
    #[error("the lead is lost")]
    Leadership(#[from] LeadershipFailure),
    /// Another process writes the read models.
    #[error("the checkpoints cannot be moved")]
    Checkpoint(#[from] CheckpointFailure),
}

impl From<ApplyFailure> for TermEnded {
    fn from(failure: ApplyFailure) -> Self {
        match failure {
            ApplyFailure::Database(error) => Self::Database(error),
            failure => Self::Page(failure),
        }
    }
}

impl Term {
    /// Waits for the lead, and takes over the checkpoints.
    pub(super) async fn begin(
        pool: &PgPool,
        recent: RecentLog,
        reached: watch::Sender<Option<LogPosition>>,
        status: &LeadershipStatus,
    ) -> Result<Self, TermEnded> {
        let leadership = Leadership::acquire(pool, ROLE, status).await?;
        recent.clear();
        let begun = Self::with_leadership(leadership, pool, recent, reached);
        database::in_time(database::SHORT, begun).await
    }

    async fn with_leadership(
        leadership: Leadership,
        pool: &PgPool,
        recent: RecentLog,
        reached: watch::Sender<Option<LogPosition>>,
    ) -> Result<Self, TermEnded> {
        let mut connection = database::open(&pool.connect_options()).await?;
        // Should this process be paused within a transaction, it would hold back every reader of the log.
        sqlx::query!(
            r#"
            SELECT
                set_config('statement_timeout', '60s', false) AS statement,
                set_config('idle_in_transaction_session_timeout', '10s', false) AS idle,
                set_config('synchronous_commit', 'off', false) AS commit,
                -- Rows are looked up by their keys and by nothing else. While a table is young its
                -- statistics say that it is small; plans that scan it would be kept while it grows.
                set_config('enable_seqscan', 'off', false) AS scans,
                -- A plan for the size of each page is no better, and making it takes longer than a small page.
                set_config('plan_cache_mode', 'force_generic_plan', false) AS plans
            "#
        )
        .fetch_one(&mut connection)
        .await?;
        event_store::require_own_log(&mut connection).await?;
        let mut transaction = connection.begin().await?;
        let names = Projection::ALL.map(Projection::name);
        let taken = checkpoints::take_over_all(&mut transaction, &names, leadership.epoch()).await?;
        transaction.commit().await?;
        let quarantine = Quarantine::load(&mut connection).await?;
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
            quarantine,
            reached,
            held_back: HeldBack::new(ROLE),
            page_facts_max: page_size::after(&[]),
            periodic_tasks_at: Instant::now(),
            is_recounted: false,
            shown_until: DateTime::UNIX_EPOCH,
            retention: Retention::default(),
        };
        term.publish_progress();
        Ok(term)
    }

    /// Applies the next page to the front cohort, and one to the rearmost of the others, if there are any.
    ///
    /// # Errors
    ///
    /// When the database fails, or another process has taken the lead.
    pub async fn run_once(&mut self) -> Result<Step, TermEnded> {
        if self.cursors.iter().any(|cursor| cursor.held) {
            self.read_holds().await?;
        }
        let Some(front) = self.free().map(|cursor| cursor.position).max() else {
            let look_again = self.live().next().map(|_| HELD_CHECK_AGAIN);
            return Ok(Step { facts: 0, more: false, look_again });
        };
        let rearmost = self.free().map(|cursor| cursor.position).min().filter(|position| *position < front);

        let read = self.read_after(front).await?;
        let is_held_back = read.held_back;
        let look_again = self.held_back.after(&read);
        self.held_back.look(&mut self.connection).await?;
        let mut more = read.rows.len() == self.page_facts_max;
        let mut page = Page::parse(read.rows);
        let mut facts = page.len();
        if page.len() > 0 {
            self.page_facts_max = page_size::after(page.facts());
        }
        let applied = self.apply(front, &mut page).await?;
        more |= !applied;
        match page.recorded_until() {
            _ if !applied => {}
            Some(recorded_at) => self.shown_until = recorded_at,
            None if !is_held_back => self.shown_until = clock::now(),
            None => {}
        }

        if let Some(rearmost) = rearmost {
            let mut rows = self.read_after(rearmost).await?.rows;
            // Not beyond the front, so that the two cohorts meet there.
            rows.retain(|row| row.log_position() <= front);
            let mut page = Page::parse(rows);
            facts += page.len();
            more |= page.len() > 0;
            more |= !self.apply(rearmost, &mut page).await?;
        }
        if !self.is_recounted {
            more |= self.recount().await?;
        }
        let is_held = self.live().any(|cursor| cursor.held);
        let look_again = if is_held { Some(HELD_CHECK_AGAIN) } else { look_again };
        Ok(Step { facts, more, look_again })
    }

    async fn read_after(&mut self, position: LogPosition) -> Result<LogPage, sqlx::Error> {
        let elsewhere = self.held_back.elsewhere();
        self.recent.read_after(&mut self.connection, position, self.page_facts_max, elsewhere).await
    }

    /// Counts some of the webhook events that are older than the table of counts. Returns whether any are left.
    async fn recount(&mut self) -> Result<bool, TermEnded> {
        let Some(cursor) = self.free().find(|cursor| cursor.projection == Projection::WebhookEvents).copied()
        else {
            return Ok(false);
        };
        let epoch = self.leadership.epoch();
        let mut transaction = self.connection.begin().await?;
        event_store::mark_non_appending(&mut transaction).await?;
        let left = webhook_events::recount(&mut transaction).await?;
        // The position does not change: this refuses a leader that was replaced, and a checkpoint that is held.
        match checkpoints::advance(&mut transaction, cursor.projection.name(), epoch, cursor.position).await {
            Err(CheckpointFailure::Held) => {
                transaction.rollback().await?;
                self.read_holds().await?;
                return Ok(false);
            }
            moved => moved?,
        }
        transaction.commit().await?;
        self.is_recounted = !left;
        Ok(left)
    }

    pub(super) fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// Measures the lag, once per [`POLL_INTERVAL`].
    pub(super) async fn run_periodic_tasks(&mut self) -> Result<(), TermEnded> {
        if self.periodic_tasks_at.elapsed() < POLL_INTERVAL {
            return Ok(());
        }
        if self.cursors.iter().any(|cursor| cursor.halted) {
            self.read_holds().await?;
        }
        health::measure(&mut self.connection).await?;
        self.periodic_tasks_at = Instant::now();
        Ok(())
    }

    /// Runs one step of retention: removes a bounded number of payloads or events that have expired at `now`, which
    /// is a time of the clock that accepts events. Removes nothing while the read models are behind.
    ///
    /// # Errors
    ///
    /// When another process has taken the lead. Other failures are logged, and end the pass.
    pub async fn remove_expired(&mut self, now: DateTime<Utc>) -> Result<Removed, TermEnded> {
        if self.common_front().is_none() || self.shown_until < now - retention::LAG_MAX {
            return Ok(Removed::default());
        }
        let epoch = self.leadership.epoch();
        Ok(self.retention.step(&mut self.connection, epoch, now).await?)
    }

    /// Runs one step of an erasure on request, if one is in progress: erases a bounded number of payloads. `now` is the time
    /// in its facts.
    ///
    /// # Errors
    ///
    /// When another process has taken the lead. Other failures are logged, and the step is repeated.
    pub async fn erase_requested(&mut self, now: DateTime<Utc>) -> Result<Removed, TermEnded> {
        let Some(shown) = self.common_front() else { return Ok(Removed::default()) };
        let epoch = self.leadership.epoch();
        Ok(erasures::step(&mut self.connection, epoch, shown, now).await?)
    }

    /// Returns the position that the read models of events have reached. `None`: one of them is behind the others, so that
    /// an event without a row yet would be missed, or rows of one would be left whose event the other does not have yet.
    fn common_front(&self) -> Option<LogPosition> {
        let position_of = |wanted: Projection| {
            let cursor = self.live().find(|cursor| cursor.projection == wanted);
            cursor.map(|cursor| cursor.position)
        };
        let front = self.live().map(|cursor| cursor.position).max();
        retention::READ_MODELS.into_iter().all(|model| position_of(model) == front).then_some(front).flatten()
    }

    /// Returns the projections that have not halted.
    fn live(&self) -> impl Iterator<Item = &Cursor> {
        self.cursors.iter().filter(|cursor| !cursor.halted)
    }

    /// Returns the projections that have not halted and are not held.
    fn free(&self) -> impl Iterator<Item = &Cursor> {
        self.live().filter(|cursor| !cursor.held)
    }

    /// Reads which checkpoints are held, and which of the halted read models were rebuilt and continue.
    async fn read_holds(&mut self) -> Result<(), TermEnded> {
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
        self.publish_progress();
        Ok(())
    }

    /// Applies a page to the projections whose position is `from`, and moves their checkpoints, in one transaction.
    /// Applies nothing and returns `false` when one of the checkpoints is held. Facts of quarantined streams are
    /// removed from the page.
    async fn apply(&mut self, from: LogPosition, page: &mut Page) -> Result<bool, TermEnded> {
        if page.len() == 0 {
            return Ok(true);
        }
        page.skip(&self.quarantine);
        let cohort: Vec<Projection> =
            self.free().filter(|cursor| cursor.position == from).map(|cursor| cursor.projection).collect();
        let epoch = self.leadership.epoch();

        let mut transaction = begin(&mut self.connection, page).await?;
        let applied = match apply_all(&mut transaction, &cohort, page).await {
            Ok(applied) => applied,
            Err(NotApplied::Transient(failure)) => return Err(failure.into()),
            Err(reason) => {
                transaction.rollback().await?;
                if matches!(reason, NotApplied::Gap) {
                    quarantine_gaps(&mut self.quarantine, &mut self.connection, page).await?;
                }
                transaction = begin(&mut self.connection, page).await?;
                apply_until_failure(&mut transaction, &cohort, from, page).await?
            }
        };
        let moves: Vec<Move> = applied.iter().map(Applied::as_move).collect();
        match checkpoints::advance_all(&mut transaction, epoch, &moves).await {
            Err(CheckpointFailure::Held) => {
                transaction.rollback().await?;
                self.read_holds().await?;
                return Ok(false);
            }
            moved => moved?,
        }
        transaction.commit().await?;

        metrics::counter!("hooksentry_projected_facts_total").increment(page.len() as u64);
        for applied in applied {
            self.update_cursor(applied);
        }
        self.publish_progress();
        Ok(true)
    }

    fn update_cursor(&mut self, applied: Applied) {
        if let Some(because) = &applied.halted_because {
            tracing::error!(
                projection = applied.projection.name(),
                because,
                "a projection has halted because a fact does not apply, will retry after a restart"
            );
        }
        let cursor = self.cursors.iter_mut().find(|cursor| cursor.projection == applied.projection);
        if let Some(cursor) = cursor {
            cursor.position = applied.reached;
            cursor.halted = applied.halted_because.is_some();
        }
    }

    /// Publishes within this process the position of the rearmost projection that callers wait for.
    fn publish_progress(&self) {
        let front = self.live().map(|cursor| cursor.position.position).max().unwrap_or_default();
        let rearmost = self
            .live()
            .map(|cursor| cursor.position)
            .filter(|here| here.position >= front - BEHIND_FACTS_MAX)
            .min();
        // While all have halted there is nothing to wait for.
        let end = LogPosition { transaction_id: TransactionId(u64::MAX), position: i64::MAX };
        self.reached.send_replace(Some(rearmost.unwrap_or(end)));
    }
}

/// Returns the delay before folding the next facts, after a step that took this long.
///
/// While an old snapshot is held, for example by a backup, no version of a row can be removed, and each transaction
/// has to pass all earlier versions of the rows that it updates: the current statistics, counts and checkpoints.
/// Fewer and larger transactions make fewer versions.
pub(super) fn batch_delay(took: Duration) -> Duration {
    (took * BATCH_DELAY_FACTOR).clamp(BATCH_DELAY_MIN, BATCH_DELAY_MAX)
}

/// Puts the streams of a page that the log has with a gap into quarantine, and removes their facts from the page.
async fn quarantine_gaps(
    quarantine: &mut Quarantine,
    connection: &mut PgConnection,
    page: &mut Page,
) -> Result<(), TermEnded> {
    let gaps = quarantine.find(connection, page.facts()).await?;
    if gaps.is_empty() {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    event_store::mark_non_appending(&mut transaction).await?;
    quarantine::record(&mut transaction, &gaps).await?;
    transaction.commit().await?;
    for gap in gaps {
        tracing::error!(
            aggregate = gap.aggregate_type,
            stream.id = %gap.stream_id,
            missing_sequence = gap.missing_sequence,
            "the log has a stream with a gap; read models skip its later facts"
        );
    }
    page.skip(quarantine);
    Ok(())
}

/// Begins the transaction that applies `page`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_folding_makes_larger_batches() {
        let delay = |took_ms| batch_delay(Duration::from_millis(took_ms)).as_millis();
        assert_eq!([0, 5, 10].map(delay), [100; 3]);
        assert_eq!([30, 70].map(delay), [300, 700]);
        assert_eq!([100, 60_000].map(delay), [1_000; 2]);
    }
}
