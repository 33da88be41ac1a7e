//! Leader election: one process leads a role, and another takes over when its connection is closed.

use hooksentry::event_store::leader_is_connected;
use hooksentry::leadership::{Leadership, LeadershipStatus};
use sqlx::PgPool;
use tokio::time::timeout;

use super::Log;
use crate::harness::{WAIT_TIMEOUT, until};

const ROLE: &str = "dispatcher";

async fn lead(pool: &PgPool) -> Leadership {
    lead_role(pool, ROLE).await
}

async fn lead_role(pool: &PgPool, role: &'static str) -> Leadership {
    Leadership::acquire(pool, role, &LeadershipStatus::default()).await.expect("leadership, eventually")
}

/// Waits until a second process has tried to acquire leadership.
async fn until_contended(pool: &PgPool) {
    until("a second contender", async || {
        let contenders: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND state = 'idle' AND query LIKE '%pg_try_advisory_lock%'",
        )
        .fetch_one(pool)
        .await
        .expect("the server's own view");
        (contenders > 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_two_contenders_one_leads_and_the_other_takes_over_after_it() {
    let log = Log::create().await;
    let other_process = log.database.pool().await;
    let first = lead(&log.pool).await;
    let epoch = first.epoch();

    let second = lead(&other_process);
    tokio::pin!(second);
    tokio::select! {
        _ = &mut second => panic!("two leaders"),
        () = until_contended(&log.pool) => {}
    }
    drop(first);
    assert_eq!(second.await.epoch(), epoch + 1);
    other_process.close().await;
    log.discard().await;
}

#[tokio::test]
async fn a_leader_whose_connection_was_closed_detects_it_and_another_leads() {
    let log = Log::create().await;
    let first = lead(&log.pool).await;
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
         WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .execute(&log.pool)
    .await
    .expect("the server closes it");
    let second = lead(&log.pool).await;
    timeout(WAIT_TIMEOUT, first.lost()).await.expect("the loss is noticed");
    assert!(second.epoch() > first.epoch());
    log.discard().await;
}

#[tokio::test]
async fn different_roles_are_led_by_different_processes() {
    let log = Log::create().await;
    let dispatcher = lead(&log.pool).await;
    let projector = lead_role(&log.pool, "projector").await;
    assert_eq!((dispatcher.epoch(), projector.epoch()), (1, 1));
    log.discard().await;
}

/// As on a server that has taken over by a failover: it has the row of the leader, but not its session.
#[tokio::test]
async fn a_leader_is_connected_only_where_its_session_holds_the_lock() {
    let log = Log::create().await;
    let mut connection = log.pool.acquire().await.expect("a connection");
    let first = lead(&log.pool).await;
    assert!(leader_is_connected(&mut connection, ROLE).await.expect("an answer"));
    assert!(!leader_is_connected(&mut connection, "projector").await.expect("an answer"));
    drop(first);
    until("its session to end", async || {
        (!leader_is_connected(&mut connection, ROLE).await.expect("an answer")).then_some(())
    })
    .await;
    // The next leader has the lock, and its epoch has not begun.
    let mut next = log.pool.acquire().await.expect("a connection");
    sqlx::query("SELECT pg_advisory_lock(hashtext('hooksentry.leadership'), hashtext($1))")
        .bind(ROLE)
        .execute(&mut *next)
        .await
        .expect("the lock");
    assert!(!leader_is_connected(&mut connection, ROLE).await.expect("an answer"));
    drop((connection, next));
    log.discard().await;
}
