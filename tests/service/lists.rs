//! Lists have connections of their own, of which one tenant gets few.

use std::sync::Arc;

use sqlx::{PgPool, Postgres, Transaction};
use tokio_util::task::TaskTracker;

use crate::harness::api::{Answer, Api, send};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::tenant::User;
use crate::harness::until;

struct Installation {
    database: TestDatabase,
    /// A process of its own: the lock stops the projector as well, with the connections that it has.
    projector: Process,
    program: Process,
    pool: PgPool,
    busy: Arc<User>,
    other: User,
}

impl Installation {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create().await;
        let projector = Launch::serve("projector", &database.url()).ready().await;
        let launch = Launch::serve("api", &database.url()).with("HOOKSENTRY_DATABASE_CONNECTIONS", "5");
        let launch = settings.iter().fold(launch, |launch, (name, value)| launch.with(name, value));
        let program = launch.ready().await;
        let api = Api::at(program.base());
        let (busy, other) = (Arc::new(User::owner(&api).await), User::owner(&api).await);
        let pool = database.pool().await;
        Self { database, projector, program, pool, busy, other }
    }

    /// Lists of events count first, and wait for this lock; others do not.
    async fn lock_lists(&self) -> Transaction<'static, Postgres> {
        let mut lock = self.pool.begin().await.expect("a transaction");
        sqlx::query("LOCK TABLE webhook_event_counts IN ACCESS EXCLUSIVE MODE")
            .execute(&mut *lock)
            .await
            .expect("a lock");
        lock
    }

    async fn discard(self) {
        self.pool.close().await;
        self.program.kill().await;
        self.projector.kill().await;
        self.database.discard().await;
    }
}

#[tokio::test]
async fn slow_lists_of_one_tenant_delay_neither_webhooks_nor_lists_of_others() {
    const LISTS: usize = 30;
    let installation = Installation::start(&[("HOOKSENTRY_LIST_CONNECTIONS", "3")]).await;
    let Installation { pool, busy, other, .. } = &installation;
    let (key, (_, token)) = (other.api_key().await, other.destination().await);
    let lock = installation.lock_lists().await;
    let tasks = TaskTracker::new();
    let lists: Vec<_> = (0..LISTS)
        .map(|_| {
            let busy = Arc::clone(busy);
            tasks.spawn(async move { busy.get("/api/v1/events?CpOrd=payload").await })
        })
        .collect();
    until("lists that wait for the lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%webhook_event_counts%'
             AND datname = current_database()",
        )
        .fetch_one(pool)
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
    installation.discard().await;
}

#[tokio::test]
async fn a_tenant_whose_lists_take_long_gets_its_share_of_the_time() {
    let limits = [("HOOKSENTRY_LIST_TIME_PERCENT", "1"), ("HOOKSENTRY_LIST_TIMEOUT", "2500ms")];
    let installation = Installation::start(&limits).await;
    let Installation { busy, other, .. } = &installation;
    let lock = installation.lock_lists().await;
    // It waits for the lock until the timeout of the statement, which is longer than a tenant may query at once.
    busy.get("/api/v1/events").await.expect(503);
    lock.rollback().await.expect("a rollback");

    let refused = busy.get("/api/v1/events").await.expect(429);
    assert!(refused.text_of("detail").contains("HOOKSENTRY_LIST_TIME_PERCENT"), "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    other.get("/api/v1/events").await.expect(200);
    busy.get(&format!("/api/v1/tenants/{}", busy.tenant_id)).await.expect(200);
    installation.discard().await;
}
