//! Lists have connections of their own, of which one tenant gets few.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::harness::api::{Answer, Api, send};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;
use crate::harness::until;

#[tokio::test]
async fn slow_lists_of_one_tenant_delay_neither_webhooks_nor_lists_of_others() {
    const LISTS: usize = 30;
    let database = TestDatabase::create().await;
    // A process of its own: the lock stops the projector as well, with the connections that it has.
    let projector = Launch::serve("projector", &database.url()).ready().await;
    let program = Launch::serve("api", &database.url())
        .with("HOOKSENTRY_DATABASE_CONNECTIONS", "5")
        .with("HOOKSENTRY_LIST_CONNECTIONS", "3")
        .ready()
        .await;
    let api = Api::at(program.base());
    let (busy, other) = (User::owner(&api).await, User::owner(&api).await);
    let (key, (_, token)) = (other.api_key().await, other.destination().await);

    // Lists of events count first, and wait for this lock; others do not.
    let pool = database.pool().await;
    let mut lock = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE webhook_event_counts IN ACCESS EXCLUSIVE MODE")
        .execute(&mut *lock)
        .await
        .expect("a lock");
    let (tasks, busy) = (TaskTracker::new(), Arc::new(busy));
    let lists: Vec<_> = (0..LISTS)
        .map(|_| {
            let busy = Arc::clone(&busy);
            tasks.spawn(async move { busy.get("/api/v1/events?CpOrd=payload").await })
        })
        .collect();
    until("lists that wait for the lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%webhook_event_counts%'
             AND datname = current_database()",
        )
        .fetch_one(&pool)
        .await
        .expect("a count");
        (waiting >= 2).then_some(())
    })
    .await;
    send(other.ingest(&key, &token, "{}")).await.expect(202);
    other.get("/api/v1/apikeys").await.expect(200);

    let mut answers: Vec<Answer> = Vec::new();
    for list in lists {
        answers.push(list.await.expect("an answer"));
    }
    lock.rollback().await.expect("a rollback");
    assert!(answers.iter().all(|answer| matches!(answer.status, 429 | 503)), "{answers:?}");
    assert!(answers.iter().all(|answer| answer.headers.contains_key("retry-after")), "{answers:?}");
    let refused = |text: &str| answers.iter().any(|answer| answer.text.contains(text));
    assert!(refused("Narrow it: filter by destination"), "{answers:?}");
    assert!(refused("HOOKSENTRY_LISTS_PER_TENANT"), "{answers:?}");
    busy.get("/api/v1/events?CpOrd=payload").await.expect(200);
    pool.close().await;
    program.kill().await;
    projector.kill().await;
    database.discard().await;
}
