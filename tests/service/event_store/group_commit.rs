//! Who is committed together with whom, and how much at once.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aggregates::ids::TenantId;
use futures::future::join_all;
use futures::poll;
use hooksentry::event_store::group_commit::{Batch, CommitFailure, GroupCommit};
use hooksentry::fair_share::Weights;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::until;

/// Commits into a list, when it is let.
struct Notebook {
    gate: Semaphore,
    batches: Mutex<Vec<Vec<usize>>>,
    begun: AtomicUsize,
    bytes_an_item: usize,
}

struct Page(Arc<Notebook>);

/// A number, and the bytes it pretends to have.
struct Line {
    number: usize,
    bytes: usize,
}

impl Batch for Page {
    type Item = Line;
    type Outcome = usize;

    /// A tenant has a thousand numbers.
    fn tenant(item: &Line) -> TenantId {
        TenantId(Uuid::from_u128(item.number as u128 / 1_000))
    }

    fn bytes(item: &Line) -> usize {
        item.bytes
    }

    async fn commit(&self, items: &[Line]) -> Result<Vec<usize>, sqlx::Error> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.gate.acquire().await.expect("a gate").forget();
        let numbers: Vec<usize> = items.iter().map(|line| line.number).collect();
        self.0.batches.lock().expect("a notebook").push(numbers.clone());
        if numbers.contains(&13) {
            return Err(sqlx::Error::PoolClosed);
        }
        Ok(numbers.into_iter().map(|number| number * 10).collect())
    }
}

impl Notebook {
    fn new(bytes_an_item: usize) -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(0),
            batches: Mutex::default(),
            begun: AtomicUsize::new(0),
            bytes_an_item,
        })
    }

    fn open(self: &Arc<Self>, commits_max: usize, tasks: &TaskTracker) -> GroupCommit<Page> {
        GroupCommit::start(Page(Arc::clone(self)), commits_max, Weights::default(), tasks)
    }

    fn sizes(&self) -> Vec<usize> {
        self.batches.lock().expect("a notebook").iter().map(Vec::len).collect()
    }

    async fn until_begun(&self, commits: usize) {
        until("commits that have begun", async || {
            (self.begun.load(Ordering::SeqCst) >= commits).then_some(())
        })
        .await;
    }
}

/// Hands in a line in a task of its own, and says when it is in the queue.
fn hand_in(
    door: &GroupCommit<Page>,
    line: Line,
    tasks: &TaskTracker,
    queued: &Arc<AtomicUsize>,
) -> JoinHandle<Result<usize, CommitFailure>> {
    let (door, queued) = (door.clone(), Arc::clone(queued));
    tasks.spawn(async move {
        let mut commit = pin!(door.commit(line));
        assert!(poll!(&mut commit).is_pending());
        queued.fetch_add(1, Ordering::SeqCst);
        commit.await
    })
}

/// Has so many lines wait while a commit of another is under way, and then lets everybody go.
async fn outcomes_of(
    notebook: &Arc<Notebook>,
    numbers: impl IntoIterator<Item = usize>,
) -> Vec<Result<usize, CommitFailure>> {
    let (tasks, queued) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
    let door = notebook.open(1, &tasks);
    let first = hand_in(&door, Line { number: 1, bytes: 1 }, &tasks, &queued);
    notebook.until_begun(1).await;
    let bytes = notebook.bytes_an_item;
    let line = |number| hand_in(&door, Line { number, bytes }, &tasks, &queued);
    let rest: Vec<_> = numbers.into_iter().map(line).collect();
    let expected = rest.len() + 1;
    until("all to be in the queue", async || (queued.load(Ordering::SeqCst) == expected).then_some(())).await;
    notebook.gate.add_permits(1_000);
    assert_eq!(first.await.expect("a caller").expect("a commit"), 10);
    join_all(rest).await.into_iter().map(|caller| caller.expect("a caller")).collect()
}

#[tokio::test]
async fn whoever_comes_during_a_commit_joins_the_next_and_gets_an_outcome_of_their_own() {
    let notebook = Notebook::new(1);
    let outcomes = outcomes_of(&notebook, 100..164).await;
    let outcomes: Vec<usize> = outcomes.into_iter().map(|outcome| outcome.expect("a commit")).collect();
    assert_eq!(outcomes, (100..164).map(|number| number * 10).collect::<Vec<_>>());
    assert_eq!(notebook.sizes(), [1, 64]);
}

#[tokio::test]
async fn a_batch_is_bounded_in_items_and_in_bytes() {
    for (bytes, items, sizes) in
        [(1, 600, vec![1, 512, 88]), (1 << 20, 10, vec![1, 4, 4, 2]), (9 << 20, 2, vec![1, 1, 1])]
    {
        let notebook = Notebook::new(bytes);
        outcomes_of(&notebook, 100..100 + items).await;
        assert_eq!(notebook.sizes(), sizes, "{items} items of {bytes} bytes");
    }
}

#[tokio::test]
async fn a_burst_of_one_tenant_does_not_queue_in_front_of_another() {
    let notebook = Notebook::new(1);
    let (burst, another) = (10_000..10_600, 20_000..20_002);
    outcomes_of(&notebook, burst.chain(another)).await;
    let batches = notebook.batches.lock().expect("a notebook");
    assert_eq!(batches[1][..5], [10_000, 20_000, 10_001, 20_001, 10_002], "they take turns");
    assert_eq!(batches[2].len(), 90, "what is left of the burst");
}

#[tokio::test]
async fn so_many_commits_run_at_once_as_are_allowed() {
    let (notebook, tasks) = (Notebook::new(1), TaskTracker::new());
    let door = notebook.open(2, &tasks);
    let one_by_one = async {
        notebook.until_begun(1).await;
        let second = door.commit(Line { number: 2, bytes: 1 });
        let others = async {
            notebook.until_begun(2).await;
            let third = door.commit(Line { number: 3, bytes: 1 });
            let check = async {
                assert_eq!(notebook.begun.load(Ordering::SeqCst), 2, "the third waits");
                notebook.gate.add_permits(3);
            };
            tokio::join!(third, check).0
        };
        tokio::join!(second, others)
    };
    let (first, (second, third)) = tokio::join!(door.commit(Line { number: 1, bytes: 1 }), one_by_one);
    assert_eq!([first, second, third].map(|outcome| outcome.expect("a commit")), [10, 20, 30]);
}

#[tokio::test]
async fn when_the_database_is_away_everybody_in_the_batch_learns_it() {
    let notebook = Notebook::new(1);
    for outcome in outcomes_of(&notebook, 10..20).await {
        assert!(matches!(outcome, Err(CommitFailure::Database(_))), "{outcome:?}");
    }
    assert_eq!(notebook.sizes(), [1, 10], "there is no use in trying each alone");
}

#[tokio::test]
async fn a_caller_that_goes_away_harms_nobody() {
    let (notebook, tasks) = (Notebook::new(1), TaskTracker::new());
    let door = notebook.open(1, &tasks);
    {
        let gone = door.commit(Line { number: 1, bytes: 1 });
        tokio::select! {
            _ = gone => panic!("nothing is committed yet"),
            () = notebook.until_begun(1) => {}
        }
    }
    notebook.gate.add_permits(2);
    assert_eq!(door.commit(Line { number: 2, bytes: 1 }).await.expect("a commit"), 20);
}

#[tokio::test]
async fn the_committer_ends_with_its_last_door_after_everything_is_committed() {
    let (notebook, tasks) = (Notebook::new(1), TaskTracker::new());
    let door = notebook.open(1, &tasks);
    let last = door.clone();
    drop(door);
    notebook.gate.add_permits(1);
    assert_eq!(last.commit(Line { number: 7, bytes: 1 }).await.expect("a commit"), 70);
    drop(last);
    tasks.close();
    tasks.wait().await;
    assert_eq!(notebook.sizes(), [1]);
}
