//! Group commit: appends that arrive while a commit is under way go together in the next one.
//!
//! There is no timer. An append that finds the database idle is committed at once and alone; under load
//! the time a commit takes gathers the next batch by itself, so that the cost of a commit is shared by
//! all who waited for it. Each caller learns its own outcome. When a batch as a whole is refused by the
//! database, its items are tried one by one, so that one poisonous item harms nobody else.
//!
//! Tenants take turns ([`crate::fair_share`]): where more waits than one batch holds, each has its part of
//! the next one, however much the others have waiting.
//!
//! Everything is bounded: the queue in front (callers wait for room), the items and the bytes of a
//! batch, and the number of commits at once.

use std::sync::Arc;

use aggregates::ids::TenantId;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::fair_share::{Turns, Weights};

/// Items that wait for a commit, at most, and as many that wait for their turn; further callers wait for
/// room.
const WAITING_MAX: usize = 4_096;
/// Items of one batch, at most.
const BATCH_ITEMS_MAX: usize = 512;
/// Bytes of one batch, about; a batch holds at least one item, however large.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// One kind of hot append.
pub trait Batch: Send + Sync + 'static {
    /// What a caller hands in.
    type Item: Send + Sync + 'static;
    /// What a caller learns.
    type Outcome: Send + 'static;

    /// Whose turn it takes; nobody's in particular where what arrives is shared out already.
    fn tenant(_item: &Self::Item) -> TenantId {
        TenantId(Uuid::nil())
    }

    /// About how many bytes an item sends to the database.
    fn bytes(item: &Self::Item) -> usize;

    /// Commits all items in one transaction, and answers with one outcome for each, in their order.
    fn commit(
        &self,
        items: &[Self::Item],
    ) -> impl Future<Output = Result<Vec<Self::Outcome>, sqlx::Error>> + Send;
}

/// Why an item was not committed.
#[derive(Debug, Error)]
pub enum CommitFailure {
    /// The database did not do it.
    #[error("the event log cannot be written")]
    Database(#[source] Arc<sqlx::Error>),
    /// The program is stopping.
    #[error("the event log is closed")]
    Closed,
}

struct Waiting<B: Batch> {
    item: B::Item,
    answer: oneshot::Sender<Result<B::Outcome, CommitFailure>>,
}

/// The door to a group commit. Cloned freely; when the last clone is gone, the committer ends.
pub struct GroupCommit<B: Batch> {
    queue: mpsc::Sender<Waiting<B>>,
}

impl<B: Batch> Clone for GroupCommit<B> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<B: Batch> GroupCommit<B> {
    /// Starts the committer, which runs at most `commits_max` commits at once and serves tenants by
    /// `weights`.
    pub fn start(batch: B, commits_max: usize, weights: Weights, tasks: &TaskTracker) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        tasks.spawn(run(Arc::new(batch), waiting, commits_max, Turns::new(weights), tasks.clone()));
        Self { queue }
    }

    /// Hands in an item and waits for its outcome.
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
    // The permit comes first: whoever arrives while all commits are under way joins the next batch.
    while let Ok(permit) = Arc::clone(&commits).acquire_owned().await {
        let Some(items) = gather(&mut waiting, &mut turns).await else { return };
        let batch = Arc::clone(&batch);
        tasks.spawn(async move {
            settle(&*batch, items).await;
            drop(permit);
        });
    }
}

/// The next batch: waits until there is an item, and takes what else is there, tenant by tenant.
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

async fn settle<B: Batch>(batch: &B, waiting: Vec<Waiting<B>>) {
    let (items, answers): (Vec<_>, Vec<_>) =
        waiting.into_iter().map(|waiting| (waiting.item, waiting.answer)).unzip();
    metrics::histogram!("hooksentry_group_commit_items")
        .record(f64::from(u32::try_from(items.len()).unwrap_or(u32::MAX)));
    match batch.commit(&items).await {
        Ok(outcomes) => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // A caller that has gone away no longer needs its outcome.
                drop(answer.send(Ok(outcome)));
            }
        }
        Err(error @ sqlx::Error::Database(_)) if items.len() > 1 => {
            tracing::warn!(error = %error, items = items.len(), "a batch was refused; its items are tried one by one");
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
