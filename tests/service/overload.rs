//! Overload: a tenant that sends more than is accepted is refused, others are not, and nothing is afterwards.

use std::time::Duration;

use futures::future::join_all;
use sqlx::{PgPool, Postgres, Transaction};
use tokio::task::JoinSet;

use crate::harness::api::{Answer, Api, send};
use crate::harness::postgres::TestDatabase;
use crate::harness::process::{Launch, Process};
use crate::harness::tenant::User;
use crate::harness::{client, until};

/// `HOOKSENTRY_INGEST_WAITING` of the tests, its minimum: as many as a tenant may have in any case.
const WAITING_MAX: usize = 64;

/// A tenant that sends webhooks.
#[derive(Clone)]
struct Source {
    owner: User,
    key: String,
    token: String,
}

impl Source {
    async fn register(program: &Process) -> Self {
        let owner = User::owner(&Api::at(program.base())).await;
        let (key, (_, token)) = (owner.api_key().await, owner.destination().await);
        let source = Self { owner, key, token };
        // What is looked up with the first webhook is in memory for the others.
        source.send().await.expect(202);
        source
    }

    async fn send(&self) -> Answer {
        send(self.owner.ingest(&self.key, &self.token, "{}")).await
    }

    /// Sends webhooks at once, whose answers are waited for later.
    fn begin(&self, count: usize, answers: &mut JoinSet<Answer>) {
        for _ in 0..count {
            let source = self.clone();
            answers.spawn(async move { source.send().await });
        }
    }
}

async fn serve(database: &TestDatabase, refusal_delay: &str) -> Process {
    Launch::serve("api,projector", &database.url())
        .with("HOOKSENTRY_INGEST_WAITING", &WAITING_MAX.to_string())
        .with("HOOKSENTRY_INGEST_REFUSAL_DELAY", refusal_delay)
        .ready()
        .await
}

/// Keeps the committer of webhooks waiting.
async fn hold_commits(pool: &PgPool) -> Transaction<'_, Postgres> {
    let mut held = pool.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE payloads IN SHARE MODE").execute(&mut *held).await.expect("a lock");
    held
}

/// Returns a metric of a process; 0 if it has none of this name.
async fn metric(program: &Process, name: &str) -> usize {
    let text = client().get(format!("{}/metrics", program.base())).send().await.expect("an answer");
    let text = text.text().await.expect("metrics");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    value.unwrap_or_default() as usize
}

async fn until_waiting(program: &Process, count: usize) {
    until(&format!("{count} webhooks to wait"), async || {
        (metric(program, "hooksentry_webhooks_waiting").await == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_loud_tenant_is_refused_and_a_quiet_one_is_not() {
    let database = TestDatabase::create().await;
    let program = serve(&database, "0s").await;
    let (loud, quiet) = (Source::register(&program).await, Source::register(&program).await);
    let pool = database.pool().await;
    let held = hold_commits(&pool).await;
    let mut answers = JoinSet::new();
    loud.begin(WAITING_MAX, &mut answers);
    until_waiting(&program, WAITING_MAX).await;

    // More is accepted until webhooks have waited for too long.
    let refusal = until("a refusal", async || {
        // A webhook waits with the others even if its client does not.
        tokio::time::timeout(Duration::from_millis(200), loud.send()).await.ok()
    })
    .await
    .expect(429);
    let detail = refusal.text_of("detail");
    assert!(detail.contains("HOOKSENTRY_INGEST_DELAY") && detail.contains("HOOKSENTRY_INGEST_WAITING"));
    assert!(metric(&program, "hooksentry_http_refused_total{limit=\"ingest_delay\"}").await > 0);

    let waiting = metric(&program, "hooksentry_webhooks_waiting").await;
    quiet.begin(WAITING_MAX - 1, &mut answers);
    until_waiting(&program, waiting + WAITING_MAX - 1).await;
    held.rollback().await.expect("a rollback");
    for answer in answers.join_all().await {
        answer.expect(202);
    }
    until_waiting(&program, 0).await;
    for answer in join_all((0..2 * WAITING_MAX).map(|_| loud.send())).await {
        answer.expect(202);
    }
    pool.close().await;
    assert!(program.stop().await.success());
    database.discard().await;
}

#[tokio::test]
async fn a_refusal_is_held_back_without_a_place() {
    let database = TestDatabase::create().await;
    let program = Launch::serve("api,projector", &database.url())
        .with("HOOKSENTRY_INGEST_REQUESTS", "2")
        .with("HOOKSENTRY_INGEST_REFUSAL_DELAY", "10s")
        .ready()
        .await;
    let (busy, other) = (Source::register(&program).await, Source::register(&program).await);
    let pool = database.pool().await;
    let held = hold_commits(&pool).await;
    let mut answers = JoinSet::new();
    busy.begin(1, &mut answers);
    until_waiting(&program, 1).await;
    busy.begin(1, &mut answers);
    let refused = "hooksentry_http_refused_total{limit=\"ingest\"}";
    until("a refusal", async || (metric(&program, refused).await == 1).then_some(())).await;
    other.begin(1, &mut answers);
    until_waiting(&program, 2).await;
    assert!(answers.try_join_next().is_none(), "the refusal is held back");
    held.rollback().await.expect("a rollback");
    for _ in 0..2 {
        answers.join_next().await.expect("a request").expect("a task").expect(202);
    }
    pool.close().await;
    program.kill().await;
    database.discard().await;
}
