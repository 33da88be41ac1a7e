//! Batches of a group commit: their members, order and size.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aggregates::ids::TenantId;
use futures::future::join_all;
use futures::poll;
use hooksentry::config::TenantWeights;
use hooksentry::event_store::group_commit::{Batch, CommitFailure, GroupCommit};
use sqlx::PgConnection;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::Log;
use crate::harness::until;

/// Records batches, whose commits wait for a gate.
struct Recorder {
    gate: Semaphore,
    batches: Mutex<Vec<Vec<usize>>>,
    begun: AtomicUsize,
    bytes_an_item: usize,
}

struct RecordingBatch(Arc<Recorder>);

/// An item with a pretended size.
struct TestItem {
    number: usize,
    bytes: usize,
}

impl Batch for RecordingBatch {
    type Item = TestItem;
    type Outcome = usize;

    /// Each tenant has a thousand numbers.
    fn tenant(item: &TestItem) -> TenantId {
        TenantId(Uuid::from_u128(item.number as u128 / 1_000))
    }

    fn bytes(item: &TestItem) -> usize {
        item.bytes
    }

    async fn commit(&self, _: &mut PgConnection, items: &[TestItem]) -> Result<Vec<usize>, sqlx::Error> {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        self.0.gate.acquire().await.expect("a gate").forget();
        let numbers: Vec<usize> = items.iter().map(|item| item.number).collect();
        self.0.batches.lock().expect("a recorder").push(numbers.clone());
        if numbers.contains(&13) {
            return Err(sqlx::Error::PoolClosed);
        }
        Ok(numbers.into_iter().map(|number| number * 10).collect())
    }
}

impl Recorder {
    fn new(bytes_an_item: usize) -> Arc<Self> {
        Arc::new(Self {
            gate: Semaphore::new(0),
            batches: Mutex::default(),
            begun: AtomicUsize::new(0),
            bytes_an_item,
        })
    }

    fn open(self: &Arc<Self>, log: &Log) -> GroupCommit<RecordingBatch> {
        log.group_commit(RecordingBatch(Arc::clone(self)))
    }

    fn sizes(&self) -> Vec<usize> {
        self.batches.lock().expect("a recorder").iter().map(Vec::len).collect()
    }

    async fn until_begun(&self, commits: usize) {
        until("commits that have begun", async || {
            (self.begun.load(Ordering::SeqCst) >= commits).then_some(())
        })
        .await;
    }
}

/// Submits an item in a task of its own, and counts it when it is in the queue.
fn submit(
    commits: &GroupCommit<RecordingBatch>,
    item: TestItem,
    tasks: &TaskTracker,
    queued: &Arc<AtomicUsize>,
) -> JoinHandle<Result<usize, CommitFailure>> {
    let (commits, queued) = (commits.clone(), Arc::clone(queued));
    tasks.spawn(async move {
        let mut commit = pin!(commits.commit(item));
        assert!(poll!(&mut commit).is_pending());
        queued.fetch_add(1, Ordering::SeqCst);
        commit.await
    })
}

/// Submits items while the commit of another one is running, then opens the gate and returns their outcomes.
async fn outcomes_of(
    log: &Log,
    recorder: &Arc<Recorder>,
    numbers: impl IntoIterator<Item = usize>,
) -> Vec<Result<usize, CommitFailure>> {
    let (tasks, queued) = (TaskTracker::new(), Arc::new(AtomicUsize::new(0)));
    let commits = recorder.open(log);
    let first = submit(&commits, TestItem { number: 1, bytes: 1 }, &tasks, &queued);
    recorder.until_begun(1).await;
    let bytes = recorder.bytes_an_item;
    let submit = |number| self::submit(&commits, TestItem { number, bytes }, &tasks, &queued);
    let rest: Vec<_> = numbers.into_iter().map(submit).collect();
    let expected = rest.len() + 1;
    until("all items to be in the queue", async || (queued.load(Ordering::SeqCst) == expected).then_some(()))
        .await;
    recorder.gate.add_permits(1_000);
    assert_eq!(first.await.expect("a caller").expect("a commit"), 10);
    join_all(rest).await.into_iter().map(|caller| caller.expect("a caller")).collect()
}

#[tokio::test]
async fn items_that_arrive_during_a_commit_join_the_next_and_get_their_own_outcomes() {
    let (log, recorder) = (Log::create().await, Recorder::new(1));
    let outcomes = outcomes_of(&log, &recorder, 100..164).await;
    let outcomes: Vec<usize> = outcomes.into_iter().map(|outcome| outcome.expect("a commit")).collect();
    assert_eq!(outcomes, (100..164).map(|number| number * 10).collect::<Vec<_>>());
    assert_eq!(recorder.sizes(), [1, 64]);
    log.discard().await;
}

#[tokio::test]
async fn a_batch_is_bounded_in_items_and_in_bytes() {
    let log = Log::create().await;
    for (bytes, items, sizes) in
        [(1, 600, vec![1, 512, 88]), (1 << 20, 10, vec![1, 4, 4, 2]), (9 << 20, 2, vec![1, 1, 1])]
    {
        let recorder = Recorder::new(bytes);
        outcomes_of(&log, &recorder, 100..100 + items).await;
        assert_eq!(recorder.sizes(), sizes, "{items} items of {bytes} bytes");
    }
    log.discard().await;
}

#[tokio::test]
async fn a_burst_of_one_tenant_does_not_delay_another() {
    let (log, recorder) = (Log::create().await, Recorder::new(1));
    let (burst, another) = (10_000..10_600, 20_000..20_002);
    outcomes_of(&log, &recorder, burst.chain(another)).await;
    let batches = recorder.batches.lock().expect("a recorder").clone();
    assert_eq!(batches[1][..5], [10_000, 20_000, 10_001, 20_001, 10_002], "they take turns");
    assert_eq!(batches[2].len(), 90, "the rest of the burst");
    log.discard().await;
}

#[tokio::test]
async fn a_failure_of_the_database_is_reported_to_all_callers_of_the_batch() {
    let (log, recorder) = (Log::create().await, Recorder::new(1));
    for outcome in outcomes_of(&log, &recorder, 10..20).await {
        assert!(matches!(outcome, Err(CommitFailure::Database(_))), "{outcome:?}");
    }
    assert_eq!(recorder.sizes(), [1, 10], "items are not tried alone");
    log.discard().await;
}

#[tokio::test]
async fn a_cancelled_caller_does_not_affect_others() {
    let (log, recorder) = (Log::create().await, Recorder::new(1));
    let commits = recorder.open(&log);
    {
        let cancelled = commits.commit(TestItem { number: 1, bytes: 1 });
        tokio::select! {
            _ = cancelled => panic!("nothing is committed yet"),
            () = recorder.until_begun(1) => {}
        }
    }
    recorder.gate.add_permits(2);
    assert_eq!(commits.commit(TestItem { number: 2, bytes: 1 }).await.expect("a commit"), 20);
    log.discard().await;
}

/// A statement that is planned again each time, for how many rows it is executed with.
struct PlannedBatch;

impl Batch for PlannedBatch {
    type Item = ();
    /// Number of plans that were made for one execution only.
    type Outcome = i64;

    fn bytes((): &()) -> usize {
        1
    }

    async fn commit(&self, connection: &mut PgConnection, items: &[()]) -> Result<Vec<i64>, sqlx::Error> {
        for number in 0..10 {
            sqlx::query("SELECT count(*) FROM unnest($1::bigint[]) AS planned")
                .bind(vec![number])
                .execute(&mut *connection)
                .await?;
        }
        let plans = sqlx::query_scalar(
            "SELECT custom_plans FROM pg_prepared_statements WHERE statement LIKE '%unnest($1%AS planned'",
        );
        Ok(vec![plans.fetch_one(connection).await?; items.len()])
    }
}

#[tokio::test]
async fn statements_are_not_planned_for_one_execution() {
    let log = Log::create().await;
    assert_eq!(log.group_commit(PlannedBatch).commit(()).await.expect("a commit"), 0);
    log.discard().await;
}

#[tokio::test]
async fn the_committer_commits_what_waits_before_it_stops() {
    let (log, recorder) = (Log::create().await, Recorder::new(1));
    let batch = RecordingBatch(Arc::clone(&recorder));
    let (commits, committer) = GroupCommit::new(batch, &log.pool, TenantWeights::default());
    let stop = CancellationToken::new();
    let running = log.tasks.spawn(committer.run(stop.clone()));
    let queued = Arc::new(AtomicUsize::new(0));
    let waiting = submit(&commits, TestItem { number: 7, bytes: 1 }, &log.tasks, &queued);
    recorder.until_begun(1).await;
    stop.cancel();
    recorder.gate.add_permits(1);
    assert_eq!(waiting.await.expect("a caller").expect("a commit"), 70);
    running.await.expect("the committer ends");
    let late = commits.commit(TestItem { number: 8, bytes: 1 }).await;
    assert!(matches!(late, Err(CommitFailure::Closed)), "{late:?}");
    log.discard().await;
}

/// Pauses after each commit, and records when commits begin.
struct Pausing {
    pause: Duration,
    begun: Arc<Mutex<Vec<Instant>>>,
}

impl Batch for Pausing {
    type Item = ();
    type Outcome = ();

    fn bytes((): &()) -> usize {
        1
    }

    fn pause_after(&self, _commit: Duration) -> Duration {
        self.pause
    }

    async fn commit(&self, _: &mut PgConnection, items: &[()]) -> Result<Vec<()>, sqlx::Error> {
        self.begun.lock().expect("times").push(Instant::now());
        Ok(items.to_vec())
    }
}

#[tokio::test]
async fn a_committer_that_pauses_begins_the_next_commit_later() {
    let log = Log::create().await;
    let (pause, begun) = (Duration::from_millis(100), Arc::<Mutex<Vec<Instant>>>::default());
    let commits = log.group_commit(Pausing { pause, begun: Arc::clone(&begun) });
    for _ in 0..2 {
        commits.commit(()).await.expect("a commit");
    }
    let begun = begun.lock().expect("times").clone();
    assert!(begun[1] - begun[0] >= pause, "{begun:?}");
    log.discard().await;
}

#[tokio::test]
async fn a_committer_that_stops_does_not_pause() {
    let log = Log::create().await;
    let batch = Pausing { pause: Duration::from_secs(3_600), begun: Arc::default() };
    let (commits, committer) = GroupCommit::new(batch, &log.pool, TenantWeights::default());
    let stop = CancellationToken::new();
    let running = log.tasks.spawn(committer.run(stop.clone()));
    commits.commit(()).await.expect("a commit");
    let mut waiting = pin!(commits.commit(()));
    assert!(poll!(&mut waiting).is_pending());
    stop.cancel();
    waiting.await.expect("a commit");
    running.await.expect("the committer ends");
    log.discard().await;
}

/// Raises an error with this SQLSTATE when a batch has item 13, and counts commits.
struct Raising {
    code: &'static str,
    commits: Arc<AtomicUsize>,
}

impl Batch for Raising {
    type Item = usize;
    type Outcome = usize;

    fn bytes(_: &usize) -> usize {
        1
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        items: &[usize],
    ) -> Result<Vec<usize>, sqlx::Error> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if items.contains(&13) {
            let raise = format!("DO $$ BEGIN RAISE 'for a test' USING ERRCODE = '{}'; END $$", self.code);
            sqlx::query(&raise).execute(connection).await?;
        }
        Ok(items.to_vec())
    }
}

/// Commits 16 items, of which one is at fault, in one batch behind another. Returns how many succeeded, and the
/// number of commits of the batch.
async fn commit_with_error(log: &Log, code: &'static str) -> (usize, usize) {
    let commits = Arc::new(AtomicUsize::new(0));
    let group = log.group_commit(Raising { code, commits: Arc::clone(&commits) });
    // All are in the queue when the committer, which shares this thread, takes the first.
    let outcomes = join_all((0..16).map(|item| group.commit(item))).await;
    let succeeded = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    (succeeded, commits.load(Ordering::SeqCst))
}

#[tokio::test]
async fn only_a_batch_with_an_item_at_fault_is_halved() {
    let log = Log::create().await;
    // 16 items, then 8, 4, 2 and 1, each with its other half.
    for code in ["22P02", "23514", "54000"] {
        assert_eq!(commit_with_error(&log, code).await, (15, 9), "{code}");
    }
    // Timeout, disk full, read-only, deadlock.
    for code in ["57014", "53100", "25006", "40P01"] {
        assert_eq!(commit_with_error(&log, code).await, (0, 1), "{code}");
    }
    log.discard().await;
}
