//! Group commit: appends that arrive during a commit are committed together in the next one.
//!
//! An append that arrives while no commit is running is committed at once and alone; under load a batch collects during
//! the previous commit, so that many appends share the cost of one. There is no timer, unless a kind of append pauses
//! after a commit to leave the processors to other work. Each caller receives the outcome of its own append. When the
//! database rejects a batch because of an item, the batch is halved until that item fails alone. Any other failure is that
//! of all items.
//!
//! Tenants take turns ([`crate::fair_share`]): when more items wait than a batch holds, each tenant gets its
//! share of the next one, however many items the others have.
//!
//! **While the database is away**, items are refused at once. Each committer has a connection of its own, and
//! watches the statement on it ([`OwnConnection`]): it finds out within two seconds that there is no database,
//! or that the connection died, and connects again.
//!
//! Everything is bounded: the queue (callers wait for a slot), the items and bytes of a batch, and the time of
//! a commit. A committer has one commit in progress.

mod activity;

use std::sync::Arc;
use std::time::Duration;

use aggregates::ids::TenantId;
use sqlx::{PgConnection, PgPool};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::TenantWeights;
use crate::database::OwnConnection;
use crate::fair_share::Turns;
pub use activity::CommitActivity;

/// Maximum number of items in the queue, and of items that wait for their tenant's turn; further callers
/// wait.
const WAITING_MAX: usize = 4_096;
/// Approximate maximum size of a batch; a batch holds at least one item of any size.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// Interval at which the connection is checked while there is nothing to commit.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Pause between two attempts to connect.
const CONNECT_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// Shortest pause.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// SQLSTATE classes of errors that are the fault of an item: data exception, integrity constraint violation,
/// program limit exceeded.
const ITEM_CLASSES: [&str; 3] = ["22", "23", "54"];

/// A kind of append that is committed in batches.
pub trait Batch: Send + Sync + 'static {
    type Item: Send + Sync + 'static;
    type Outcome: Send + 'static;

    /// Maximum number of items in a batch. Kinds with more get a larger share of the database when all are busy.
    const ITEMS_MAX: usize = 512;

    /// Whether a batch may be committed again when the answer to its commit was lost. The outcomes are those of
    /// the second commit.
    const IS_REPEATABLE: bool = false;

    /// Returns the tenant whose turn the item takes. By default all items share one turn: those of a worker
    /// come from jobs that the dispatcher has released by turns.
    fn tenant(_item: &Self::Item) -> TenantId {
        TenantId(Uuid::nil())
    }

    /// Returns about how many bytes an item sends to the database.
    fn bytes(item: &Self::Item) -> usize;

    /// Returns how long to pause after a commit that took `commit`. What arrives meanwhile is committed together.
    fn pause_after(&self, _commit: Duration) -> Duration {
        Duration::ZERO
    }

    /// Commits all items in one transaction, and returns one outcome for each, in their order.
    fn commit(
        &self,
        connection: &mut PgConnection,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, sqlx::Error>> + Send;
}

/// Error of an item. It may be committed nevertheless when the connection to the database was lost.
#[derive(Debug, Error)]
pub enum CommitFailure {
    #[error("the event log cannot be written")]
    Database(#[source] Arc<sqlx::Error>),
    /// The database is known to be away; nothing was sent to it.
    #[error("the event log cannot be written while the database is away")]
    Away,
    /// The process is stopping.
    #[error("the event log is closed")]
    Closed,
}

type Answer<B> = oneshot::Sender<Result<<B as Batch>::Outcome, CommitFailure>>;

struct Waiting<B: Batch> {
    item: B::Item,
    answer: Answer<B>,
}

/// Handle of a group commit. Clones share it.
pub struct GroupCommit<B: Batch> {
    queue: mpsc::Sender<Waiting<B>>,
    activity: CommitActivity,
}

impl<B: Batch> Clone for GroupCommit<B> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), activity: self.activity.clone() }
    }
}

impl<B: Batch> GroupCommit<B> {
    /// Returns a group commit to the database of `pool` that serves tenants by `weights`, and its committer, which
    /// must run.
    pub fn new(batch: B, pool: &PgPool, weights: TenantWeights) -> (Self, Committer<B>) {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let activity = CommitActivity::default();
        let connection = OwnConnection::to_database_of(pool);
        let turns = Turns::new(weights);
        let committer = Committer { batch, connection, waiting, turns, activity: activity.clone() };
        (Self { queue, activity }, committer)
    }

    /// Submits an item and waits for its outcome.
    ///
    /// # Errors
    /// [`CommitFailure::Database`] when the commit failed, [`CommitFailure::Away`] when the database is away,
    /// [`CommitFailure::Closed`] when the process is stopping.
    pub async fn commit(&self, item: B::Item) -> Result<B::Outcome, CommitFailure> {
        if self.activity.is_away() {
            return Err(CommitFailure::Away);
        }
        let (answer, outcome) = oneshot::channel();
        self.queue.send(Waiting { item, answer }).await.map_err(|_| CommitFailure::Closed)?;
        outcome.await.map_err(|_| CommitFailure::Closed)?
    }

    #[must_use]
    pub fn activity(&self) -> &CommitActivity {
        &self.activity
    }
}

/// The task of a group commit.
pub struct Committer<B: Batch> {
    batch: B,
    connection: OwnConnection,
    waiting: mpsc::Receiver<Waiting<B>>,
    turns: Turns<Waiting<B>>,
    activity: CommitActivity,
}

impl<B: Batch> Committer<B> {
    /// Commits until `stop`, and then what waits.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                items = self.next_batch() => match items {
                    Some(items) => {
                        let begun = Instant::now();
                        self.commit(items).await;
                        self.pause(begun.elapsed(), &stop).await;
                    }
                    // All handles were dropped.
                    None => return stop.cancelled().await,
                },
                () = stop.cancelled() => return,
                () = sleep(CHECK_INTERVAL), if self.connection.is_open() => {
                    // An error leaves the connection closed.
                    drop(self.connection.check().await);
                }
            }
            if self.connection.is_lost() {
                tokio::select! {
                    () = self.wait_for_database() => {}
                    () = stop.cancelled() => return,
                }
            }
        }
    }

    /// Waits for an item, and returns it in a batch with the other items that wait, tenant by tenant.
    async fn next_batch(&mut self) -> Option<Vec<Waiting<B>>> {
        if self.turns.len() == 0 {
            let first = self.waiting.recv().await?;
            self.turns.push(B::tenant(&first.item), first);
        }
        while self.turns.len() < WAITING_MAX
            && let Ok(next) = self.waiting.try_recv()
        {
            self.turns.push(B::tenant(&next.item), next);
        }
        let mut bytes = 0;
        let mut items = Vec::new();
        while items.len() < B::ITEMS_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some(next) = self.turns.pop()
        {
            bytes += B::bytes(&next.item);
            items.push(next);
        }
        Some(items)
    }

    /// Pauses after a commit that took `commit`, unless `stop` is cancelled. Timers count whole milliseconds.
    async fn pause(&self, commit: Duration, stop: &CancellationToken) {
        let pause = self.batch.pause_after(commit);
        if pause >= PAUSE_MIN {
            metrics::histogram!("hooksentry_group_commit_pause_seconds").record(pause.as_secs_f64());
            stop.run_until_cancelled(sleep(pause)).await;
        }
    }

    async fn commit(&mut self, waiting: Vec<Waiting<B>>) {
        metrics::histogram!("hooksentry_group_commit_items").record(waiting.len() as f64);
        self.activity.begin_commit();
        let mut parts = vec![waiting.into_iter().map(|waiting| (waiting.item, waiting.answer)).unzip()];
        while let Some((items, answers)) = parts.pop() {
            let (mut items, mut answers): (Vec<B::Item>, Vec<Answer<B>>) = (items, answers);
            match self.commit_part(&items).await {
                Ok(outcomes) => {
                    // Before the callers know: what an item holds is released when its outcome is there.
                    drop(items);
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        // The caller may have stopped waiting.
                        drop(answer.send(Ok(outcome)));
                    }
                }
                Err(error) if items.len() > 1 && is_fault_of_an_item(&error) => {
                    tracing::warn!(%error, items = items.len(), "the database rejected a batch; halving it");
                    let middle = items.len() / 2;
                    parts.push((items.split_off(middle), answers.split_off(middle)));
                    parts.push((items, answers));
                }
                Err(error) => {
                    let error = Arc::new(error);
                    for answer in answers {
                        drop(answer.send(Err(CommitFailure::Database(Arc::clone(&error)))));
                    }
                }
            }
        }
        self.activity.end_commit();
    }

    /// Commits `items`. Commits them again if the answer was lost with the connection and the batch allows it.
    async fn commit_part(&mut self, items: &[B::Item]) -> Result<Vec<B::Outcome>, sqlx::Error> {
        let committed = self.try_commit(items).await;
        match &committed {
            Err(error) if B::IS_REPEATABLE && self.connection.is_lost() && !is_timeout(error) => {
                tracing::debug!(%error, "the answer to a commit was lost; committing again");
                self.try_commit(items).await
            }
            _ => committed,
        }
    }

    async fn try_commit(&mut self, items: &[B::Item]) -> Result<Vec<B::Outcome>, sqlx::Error> {
        let committed = match self.connection.watched().await {
            Ok((connection, watch)) => tokio::select! {
                committed = self.batch.commit(connection, items) => committed,
                error = watch.lost() => Err(error),
            },
            Err(error) => Err(error),
        };
        if let Err(error) = &committed {
            self.connection.note(error);
        }
        committed
    }

    /// Refuses everything until the database answers.
    async fn wait_for_database(&mut self) {
        self.activity.set_away(true);
        let mut is_logged = false;
        loop {
            self.refuse_waiting();
            let Err(error) = self.connection.open().await else { break };
            if !is_logged {
                tracing::warn!(%error, "the database is away; appends are refused until it answers");
            }
            is_logged = true;
            sleep(CONNECT_AGAIN_AFTER).await;
        }
        self.activity.set_away(false);
        if is_logged {
            tracing::info!("the database answers again");
        }
    }

    fn refuse_waiting(&mut self) {
        let from_turns = std::iter::from_fn(|| self.turns.pop());
        for waiting in from_turns.chain(std::iter::from_fn(|| self.waiting.try_recv().ok())) {
            drop(waiting.answer.send(Err(CommitFailure::Away)));
        }
    }
}

fn is_fault_of_an_item(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.code().is_some_and(|code| ITEM_CLASSES.iter().any(|class| code.starts_with(class)))
}

/// Whether the database did not answer on any connection: to ask it again would only take more time.
fn is_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut)
}
