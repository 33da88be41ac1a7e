//! Whoever follows the log is woken, in this process and in others.

use hooksentry::event_store::{LogNotifier, Notification};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Log;
use crate::harness::WAIT_TIMEOUT;

async fn woken(ear: &mut watch::Receiver<u64>) {
    tokio::time::timeout(WAIT_TIMEOUT, ear.changed()).await.expect("a wake-up in time").expect("a sender");
}

/// Waits until it hears what others announce: it looks once when it begins to listen.
async fn until_listening(ear: &mut watch::Receiver<u64>) {
    woken(ear).await;
}

#[tokio::test]
async fn an_announcement_wakes_this_process_and_the_others() {
    let log = Log::create().await;
    let other_pool = log.database.pool().await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let here = LogNotifier::between_processes(&log.pool, &tasks, &stop);
    let there = LogNotifier::between_processes(&other_pool, &tasks, &stop);
    let (mut ear_here, mut ear_there) = (here.subscribe(), there.subscribe());
    let (work_here, mut work_there) = (here.subscribe_to_work(), there.subscribe_to_work());
    until_listening(&mut ear_here).await;
    until_listening(&mut ear_there).await;

    here.announce(Notification::Work);
    assert!(ear_here.has_changed().expect("a sender"), "at once, without the database");
    woken(&mut ear_there).await;

    ear_here.mark_unchanged();
    there.announce(Notification::Work);
    woken(&mut ear_here).await;
    assert!(work_here.has_changed().expect("a sender"));

    ear_there.mark_unchanged();
    work_there.mark_unchanged();
    here.announce(Notification::Progress);
    woken(&mut ear_there).await;
    assert!(!work_there.has_changed().expect("a sender"), "there is nothing to do");

    stop.cancel();
    tasks.close();
    tokio::time::timeout(WAIT_TIMEOUT, tasks.wait()).await.expect("both end when told to");
    other_pool.close().await;
    log.discard().await;
}

#[tokio::test]
async fn a_listener_whose_connection_was_cut_listens_again() {
    let log = Log::create().await;
    let other_pool = log.database.pool().await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let here = LogNotifier::within_process();
    let there = LogNotifier::between_processes(&other_pool, &tasks, &stop);
    let mut ear = there.subscribe();
    until_listening(&mut ear).await;

    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'")
        .execute(&log.pool)
        .await
        .expect("the server cuts it");
    until_listening(&mut ear).await;
    sqlx::query("SELECT pg_notify('hooksentry_log', '')").execute(&log.pool).await.expect("a wake-up");
    woken(&mut ear).await;

    drop(here);
    stop.cancel();
    tasks.close();
    tokio::time::timeout(WAIT_TIMEOUT, tasks.wait()).await.expect("it ends when told to");
    other_pool.close().await;
    log.discard().await;
}

#[tokio::test]
async fn a_wake_up_that_comes_during_the_look_is_not_missed() {
    let notifier = LogNotifier::within_process();
    let mut ear = notifier.subscribe();
    ear.mark_unchanged();
    // Here the log is read; meanwhile it grows, twice.
    notifier.announce(Notification::Work);
    notifier.announce(Notification::Work);
    woken(&mut ear).await;
    assert!(!ear.has_changed().expect("a sender"), "two announcements are one look");
}
