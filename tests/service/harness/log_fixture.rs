//! A log in a database of its own, and the projector that folds it, within the test's process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hooksentry::event_store::{EventStore, LogNotifier, log_reader};
use hooksentry::projector::{Projected, Projector, Term};
use projections::LogPosition;
use sqlx::PgPool;
use uuid::Uuid;

use super::postgres::{OwnServer, TestDatabase};
use super::until;

pub(crate) struct Fixture {
    pub(crate) pool: PgPool,
    pub(crate) store: EventStore,
    database: TestDatabase,
    // Dropped after the database.
    server: Option<OwnServer>,
    numbers: AtomicU64,
}

impl Fixture {
    /// On the server that tests share: transactions of other tests may hold readers of the log back.
    pub(crate) async fn new() -> Self {
        Self::in_database(TestDatabase::create().await, None).await
    }

    /// On a server of its own, where no other transaction holds readers of the log back.
    pub(crate) async fn on_own_server() -> Self {
        let server = OwnServer::start().await;
        let database = server.create_database().await;
        Self::in_database(database, Some(server)).await
    }

    async fn in_database(database: TestDatabase, server: Option<OwnServer>) -> Self {
        let pool = database.pool().await;
        let store = EventStore::new(pool.clone(), LogNotifier::within_process());
        Self { pool, store, database, server, numbers: AtomicU64::new(1) }
    }

    /// Drops the database.
    pub(crate) async fn discard(self) {
        self.pool.close().await;
        self.database.discard().await;
        drop(self.server);
    }

    pub(crate) fn url(&self) -> String {
        self.database.url()
    }

    pub(crate) fn projector(&self) -> Projector {
        Projector::new(self.pool.clone(), self.store.notifier().clone())
    }

    pub(crate) async fn lead(&self) -> Term {
        self.projector().lead().await.expect("the lead")
    }

    /// Inserts a row into the log that no aggregate would append.
    pub(crate) async fn insert_fact(&self, aggregate: &str, stream: Uuid, sequence: i64, payload: &str) {
        sqlx::query(
            r#"
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            VALUES ($1, $2, $3, 'Inserted', '1.0', $4::json, '{"tenantId":"00000000-0000-0000-0000-000000000001"}')
            "#,
        )
        .bind(aggregate)
        .bind(stream.to_string())
        .bind(sequence)
        .bind(payload)
        .execute(&self.pool)
        .await
        .expect("a row of the log");
    }

    /// Returns the position of the log's last fact.
    pub(crate) async fn end_of_log(&self) -> LogPosition {
        let mut connection = self.pool.acquire().await.expect("a connection");
        log_reader::last_committed(&mut connection).await.expect("an answer").expect("a fact")
    }

    /// Steps until all that is committed is applied. Other tests on the same server may hold readers back.
    pub(crate) async fn catch_up(&self, term: &mut Term) {
        let end = self.end_of_log().await;
        let projected = Projected::elsewhere(self.pool.clone());
        until("the read models to catch up", async || {
            term.run_once().await.expect("a step");
            projected.wait(end, Duration::from_millis(50)).await.then_some(())
        })
        .await;
    }

    /// Returns 1, then 2, and so on: numbers for ids.
    pub(crate) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Runs a query that returns one number.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.expect(query)
    }

    /// Executes statements.
    pub(crate) async fn execute(&self, statements: &str) {
        sqlx::raw_sql(statements).execute(&self.pool).await.expect(statements);
    }
}
