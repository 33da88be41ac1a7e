//! Notifications of readers, in this process and in others.

use hooksentry::event_store::{LogNotifier, Notification};
use hooksentry::lifecycle::HelperTasks;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Log;
use crate::harness::proxy::proxied;
use crate::harness::{WAIT_TIMEOUT, until};

async fn notified(receiver: &mut watch::Receiver<u64>) {
    tokio::time::timeout(WAIT_TIMEOUT, receiver.changed())
        .await
        .expect("a notification in time")
        .expect("a sender");
}

/// Waits until notifications of other processes are received: the first one says that they are.
async fn until_listening(receiver: &mut watch::Receiver<u64>) {
    notified(receiver).await;
}

#[tokio::test]
async fn a_notification_reaches_this_process_and_the_others() {
    let log = Log::create().await;
    let other_pool = log.database.pool().await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let helpers = HelperTasks::tracked_by(tasks.clone());
    let here = LogNotifier::between_processes(&log.pool, &helpers, &stop);
    let there = LogNotifier::between_processes(&other_pool, &helpers, &stop);
    let (mut all_here, mut all_there) = (here.subscribe(), there.subscribe());
    let (work_here, mut work_there) = (here.subscribe_to_new_work(), there.subscribe_to_new_work());
    until_listening(&mut all_here).await;
    until_listening(&mut all_there).await;

    here.notify(Notification::NewWork);
    assert!(all_here.has_changed().expect("a sender"), "at once, without the database");
    notified(&mut all_there).await;

    all_here.mark_unchanged();
    there.notify(Notification::NewWork);
    notified(&mut all_here).await;
    assert!(work_here.has_changed().expect("a sender"));

    // A process that learns of another one sends it new work once more.
    until("a notification of progress without new work", async || {
        all_there.mark_unchanged();
        work_there.mark_unchanged();
        here.notify(Notification::Progress);
        notified(&mut all_there).await;
        (!work_there.has_changed().expect("a sender")).then_some(())
    })
    .await;

    stop.cancel();
    tasks.close();
    tokio::time::timeout(WAIT_TIMEOUT, tasks.wait()).await.expect("both end when stopped");
    other_pool.close().await;
    log.discard().await;
}

#[tokio::test]
async fn a_listener_whose_connection_was_closed_listens_again() {
    let log = Log::create().await;
    let other_pool = log.database.pool().await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let helpers = HelperTasks::tracked_by(tasks.clone());
    let here = LogNotifier::within_process();
    let there = LogNotifier::between_processes(&other_pool, &helpers, &stop);
    let mut receiver = there.subscribe();
    until_listening(&mut receiver).await;

    sqlx::query(
        "SELECT pg_terminate_backend(pid)
         FROM pg_locks
         WHERE locktype = 'advisory'
           AND mode = 'ShareLock'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .execute(&log.pool)
    .await
    .expect("the server closes it");
    until_listening(&mut receiver).await;
    sqlx::query("SELECT pg_notify('hooksentry_log', '')").execute(&log.pool).await.expect("a notification");
    notified(&mut receiver).await;

    drop(here);
    stop.cancel();
    tasks.close();
    tokio::time::timeout(WAIT_TIMEOUT, tasks.wait()).await.expect("it ends when stopped");
    other_pool.close().await;
    log.discard().await;
}

#[tokio::test]
async fn a_notification_during_a_read_is_not_missed() {
    let notifier = LogNotifier::within_process();
    let mut receiver = notifier.subscribe();
    receiver.mark_unchanged();
    // While the log is read, facts are appended twice.
    notifier.notify(Notification::NewWork);
    notifier.notify(Notification::NewWork);
    notified(&mut receiver).await;
    assert!(!receiver.has_changed().expect("a sender"), "two notifications cause one read");
}

#[tokio::test]
async fn a_listener_whose_connection_died_silently_listens_again() {
    let log = Log::create().await;
    let through_proxy = proxied(&log.database.url()).await;
    let pool = PgPoolOptions::new().connect(&through_proxy.url).await.expect("the test database");
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let there = LogNotifier::between_processes(&pool, &HelperTasks::tracked_by(tasks.clone()), &stop);
    let mut receiver = there.subscribe();
    until_listening(&mut receiver).await;

    through_proxy.proxy.abandon();
    until_listening(&mut receiver).await;
    sqlx::query("SELECT pg_notify('hooksentry_log', '')").execute(&log.pool).await.expect("a notification");
    notified(&mut receiver).await;
    stop.cancel();
    log.discard().await;
}
