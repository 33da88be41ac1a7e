//! Group commit: appends that arrive during a commit are committed together in the next one.
//!
//! There is no timer. An append that arrives while no commit is running is committed at once and alone; under
//! load a batch collects during the previous commit, so that many appends share the cost of one. Each caller
//! receives the outcome of its own append. When the database rejects a whole batch, its items are tried one
//! by one, so that one invalid item fails alone.
//!
//! Tenants take turns ([`crate::fair_share`]): when more items wait than a batch holds, each tenant gets its
//! share of the next one, however many items the others have.
//!
//! Everything is bounded: the queue (callers wait for a slot), the items and bytes of a batch, and the number
//! of concurrent commits.

use std::sync::Arc;

use aggregates::ids::TenantId;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::config::TenantWeights;
use crate::fair_share::Turns;

/// Maximum number of items in the queue, and of items that wait for their tenant's turn; further callers
/// wait.
const WAITING_MAX: usize = 4_096;
/// Maximum number of items in a batch.
const BATCH_ITEMS_MAX: usize = 512;
/// Approximate maximum size of a batch; a batch holds at least one item of any size.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A kind of append that is committed in batches.
pub trait Batch: Send + Sync + 'static {
    type Item: Send + Sync + 'static;
    type Outcome: Send + 'static;

    /// Returns the tenant whose turn the item takes. By default all items share one turn: those of a worker
    /// come from jobs that the dispatcher has released by turns.
    fn tenant(_item: &Self::Item) -> TenantId {
        TenantId(Uuid::nil())
    }

    /// Returns about how many bytes an item sends to the database.
    fn bytes(item: &Self::Item) -> usize;

    /// Commits all items in one transaction, and returns one outcome for each, in their order.
    fn commit(
        &self,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, sqlx::Error>> + Send;
}

/// Error of an item that was not committed.
#[derive(Debug, Error)]
pub enum CommitFailure {
    #[error("the event log cannot be written")]
    Database(#[source] Arc<sqlx::Error>),
    /// The process is stopping.
    #[error("the event log is closed")]
    Closed,
}

struct Waiting<B: Batch> {
    item: B::Item,
    answer: oneshot::Sender<Result<B::Outcome, CommitFailure>>,
}

/// Handle of a group commit. Clones share it; the committer ends when the last one is dropped.
pub struct GroupCommit<B: Batch> {
    queue: mpsc::Sender<Waiting<B>>,
}

impl<B: Batch> Clone for GroupCommit<B> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<B: Batch> GroupCommit<B> {
    /// Starts a committer that runs at most `commits_max` commits at once and serves tenants by `weights`.
    pub fn start(batch: B, commits_max: usize, weights: TenantWeights, tasks: &TaskTracker) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        tasks.spawn(run(Arc::new(batch), waiting, commits_max, Turns::new(weights), tasks.clone()));
        Self { queue }
    }

    /// Submits an item and waits for its outcome.
    ///
    /// # Errors
    /// [`CommitFailure::Database`] when the commit failed, [`CommitFailure::Closed`] when the process is
    /// stopping.
    pub async fn commit(&self, item: B::Item) -> Result<B::Outcome, CommitFailure> {
        let (answer, outcome) = oneshot::channel();
        self.queue.send(Waiting { item, answer }).await.map_err(|_| CommitFailure::Closed)?;
        outcome.await.map_err(|_| CommitFailure::Closed)?
    }
}

async fn run<B: Batch>(
    batch: Arc<B>,
    mut waiting: mpsc::Receiver<Waiting<B>>,
    commits_max: usize,
    mut turns: Turns<Waiting<B>>,
    tasks: TaskTracker,
) {
    let commits = Arc::new(Semaphore::new(commits_max));
    // The permit is acquired first: items that arrive while all commits are running join the next batch.
    while let Ok(permit) = Arc::clone(&commits).acquire_owned().await {
        let Some(items) = gather(&mut waiting, &mut turns).await else { return };
        let batch = Arc::clone(&batch);
        tasks.spawn(async move {
            commit(&*batch, items).await;
            drop(permit);
        });
    }
}

/// Waits for an item, and returns it in a batch with the other items that wait, tenant by tenant.
async fn gather<B: Batch>(
    waiting: &mut mpsc::Receiver<Waiting<B>>,
    turns: &mut Turns<Waiting<B>>,
) -> Option<Vec<Waiting<B>>> {
    if turns.len() == 0 {
        let first = waiting.recv().await?;
        turns.push(B::tenant(&first.item), first);
    }
    while turns.len() < WAITING_MAX
        && let Ok(next) = waiting.try_recv()
    {
        turns.push(B::tenant(&next.item), next);
    }
    let mut bytes = 0;
    let mut items = Vec::new();
    while items.len() < BATCH_ITEMS_MAX
        && bytes < BATCH_BYTES_MAX
        && let Some(next) = turns.pop()
    {
        bytes += B::bytes(&next.item);
        items.push(next);
    }
    Some(items)
}

async fn commit<B: Batch>(batch: &B, waiting: Vec<Waiting<B>>) {
    let (items, answers): (Vec<_>, Vec<_>) =
        waiting.into_iter().map(|waiting| (waiting.item, waiting.answer)).unzip();
    metrics::histogram!("hooksentry_group_commit_items").record(items.len() as f64);
    match batch.commit(&items).await {
        Ok(outcomes) => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // The caller may have stopped waiting.
                drop(answer.send(Ok(outcome)));
            }
        }
        Err(error @ sqlx::Error::Database(_)) if items.len() > 1 => {
            tracing::warn!(error = %error, items = items.len(), "the database rejected a batch; trying its items one by one");
            for (item, answer) in items.into_iter().zip(answers) {
                drop(answer.send(commit_alone(batch, item).await));
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for answer in answers {
                drop(answer.send(Err(CommitFailure::Database(Arc::clone(&error)))));
            }
        }
    }
}

async fn commit_alone<B: Batch>(batch: &B, item: B::Item) -> Result<B::Outcome, CommitFailure> {
    let outcomes = batch.commit(&[item]).await.map_err(|error| CommitFailure::Database(Arc::new(error)))?;
    outcomes.into_iter().next().ok_or(CommitFailure::Closed)
}
