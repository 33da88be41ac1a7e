//! The event store on a real PostgreSQL: its guarantees to writers and readers.

mod acceptances;
mod appending;
mod attempt_claims;
mod first_attempts;
mod following;
mod group_commit;
mod leading;
mod notifying;
mod stopped_clients;
mod stream_appends;
mod versions;

use std::time::Duration;

use aggregates::api_key::{ApiKey, ApiKeyCommand};
use aggregates::destination::{Destination, DestinationCommand};
use aggregates::ids::{ApiKeyId, DestinationId, TenantId, UserId, WebhookEventId};
use aggregates::sealed::{Fingerprint, Sealed, TokenHash};
use aggregates::tenant::{Resilience, Retention, Tenant, TenantCommand, WebhookSecret};
use aggregates::webhook_event::Acceptance;
use aggregates_testing::accepted;
use hooksentry::config::TenantWeights;
use hooksentry::event_store::group_commit::{Batch, GroupCommit};
use hooksentry::event_store::{EventStore, LogNotifier, Metadata};
use hooksentry::{clock, identifiers};
use projections::{LoggedFact, Projection, log_rows};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::postgres::{OwnServer, TestDatabase};
use crate::harness::until;

/// Time within which a lock is granted that no other transaction holds.
const LOCK_TIME_MAX: Duration = Duration::from_secs(5);

/// A log for one test.
struct Log {
    database: TestDatabase,
    pool: PgPool,
    store: EventStore,
    tasks: TaskTracker,
}

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StoredFact {
    stream: String,
    sequence: i64,
    event_type: String,
    payload: String,
    transaction: String,
}

impl Log {
    async fn create() -> Self {
        Self::of(TestDatabase::create().await).await
    }

    /// On a server where no transactions of other tests hold readers back.
    async fn create_on(server: &OwnServer) -> Self {
        Self::of(server.create_database().await).await
    }

    async fn of(database: TestDatabase) -> Self {
        let pool = database.pool().await;
        let store = EventStore::new(pool.clone(), LogNotifier::within_process());
        Self { database, pool, store, tasks: TaskTracker::new() }
    }

    /// Starts a group commit to this log.
    fn group_commit<B: Batch>(&self, batch: B) -> GroupCommit<B> {
        let (commits, committer) = GroupCommit::new(batch, &self.pool, TenantWeights::default());
        self.tasks.spawn(committer.run(CancellationToken::new()));
        commits
    }

    async fn discard(self) {
        self.pool.close().await;
        self.database.discard().await;
    }

    /// Returns all facts, in the order of insertion.
    async fn facts(&self) -> Vec<StoredFact> {
        let rows: Vec<(String, i64, String, String, String)> = sqlx::query_as(
            "SELECT aggregate_id, sequence, event_type, payload::text, transaction_id::text
             FROM events ORDER BY position",
        )
        .fetch_all(&self.pool)
        .await
        .expect("the log");
        rows.into_iter()
            .map(|(stream, sequence, event_type, payload, transaction)| StoredFact {
                stream,
                sequence,
                event_type,
                payload,
                transaction,
            })
            .collect()
    }

    /// Returns the names of the facts of a stream.
    async fn stream(&self, id: Uuid) -> Vec<String> {
        sqlx::query_scalar("SELECT event_type FROM events WHERE aggregate_id = $1 ORDER BY sequence")
            .bind(id.to_string())
            .fetch_all(&self.pool)
            .await
            .expect("the log")
    }

    /// Applies all facts to the read models.
    async fn project(&self) {
        let rows = log_rows!("FROM events ORDER BY position").fetch_all(&self.pool).await.expect("the log");
        let facts: Vec<LoggedFact> =
            rows.into_iter().map(|row| row.try_into().expect("a fact that can be read")).collect();
        let mut transaction = self.pool.begin().await.expect("a transaction");
        for projection in Projection::ALL {
            let own: Vec<_> = facts
                .iter()
                .filter(|logged| projection.folds(logged.fact.aggregate_type()))
                .cloned()
                .collect();
            projection.apply(&mut transaction, &own).await.expect("facts that can be folded");
        }
        transaction.commit().await.expect("a commit");
    }

    /// Blocks all appends until the returned transaction ends.
    async fn hold(&self) -> Transaction<'static, Postgres> {
        let mut transaction = self.pool.begin().await.expect("a transaction");
        sqlx::query("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
            .execute(&mut *transaction)
            .await
            .expect("a lock");
        transaction
    }

    /// Waits until that many connections wait for a lock.
    async fn until_waiting(&self, connections: i64) {
        until("connections that wait for a lock", async || {
            let waiting: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'",
            )
            .fetch_one(&self.pool)
            .await
            .expect("the server's own view");
            (waiting >= connections).then_some(())
        })
        .await;
    }

    /// Appends a fact to the stream of an event in a transaction that has not ended: who appends the same version waits.
    async fn append_meanwhile(
        &self,
        event: WebhookEventId,
        sequence: i64,
        event_type: &str,
    ) -> Transaction<'static, Postgres> {
        let mut rival = self.pool.begin().await.expect("a transaction");
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ('WebhookEvent', $1, $2, $3, '1.0', '{}', '{}')",
        )
        .bind(event.to_string())
        .bind(sequence)
        .bind(event_type)
        .execute(&mut *rival)
        .await
        .expect("an append");
        rival
    }

    /// Commits `items` in one batch.
    async fn commit_batch<B: Batch>(&self, batch: &B, items: &[B::Item]) -> Vec<B::Outcome> {
        let mut connection = self.pool.acquire().await.expect("a connection");
        batch.commit(&mut connection, items).await.expect("a commit")
    }

    /// Commits `items`, which append that version of `events`, in one batch. Checks that it appends to no other stream while
    /// it waits for the one with the lowest id, as two batches could wait for each other otherwise.
    async fn commit_in_order<B: Batch>(
        &self,
        batch: &B,
        items: &[B::Item],
        events: &[WebhookEventId],
        sequence: i64,
    ) -> Vec<B::Outcome> {
        let lowest = *events.iter().min().expect("an event");
        let held = self.append_meanwhile(lowest, sequence, "Cancelled").await;
        let (outcomes, ()) = tokio::join!(self.commit_batch(batch, items), async {
            self.until_waiting(1).await;
            for event in events.iter().filter(|event| **event != lowest) {
                let append = timeout(LOCK_TIME_MAX, self.append_meanwhile(*event, sequence, "Cancelled"));
                let append = append.await.expect("a version that the batch has not appended");
                append.rollback().await.expect("a rollback");
            }
            held.rollback().await.expect("a rollback");
        });
        outcomes
    }

    async fn register_tenant(&self) -> TenantId {
        let id = TenantId(identifiers::new_id());
        let command = TenantCommand::Register {
            name: "Acme".to_owned(),
            owner: UserId(identifiers::new_id()),
            resilience: Resilience::default(),
            retention: Retention::default(),
            webhook_secret: webhook_secret("first"),
            at: clock::now(),
        };
        self.store.execute::<Tenant>(id.0, command, &metadata_of(id)).await.expect("a tenant");
        id
    }

    async fn register_destination(&self, tenant: TenantId) -> DestinationId {
        self.register_destination_with(tenant, "destination").await
    }

    /// Registers a destination whose ingest token has that name.
    async fn register_destination_with(&self, tenant: TenantId, token_name: &str) -> DestinationId {
        let id = DestinationId(identifiers::new_id());
        let command = DestinationCommand::Register {
            tenant_id: tenant,
            url: "https://shop.example.com/hooks".to_owned(),
            concurrency_limit: 5,
            auth: None,
            ingest_token_hash: token(token_name),
            at: clock::now(),
        };
        self.store.execute::<Destination>(id.0, command, &metadata_of(tenant)).await.expect("a destination");
        id
    }

    async fn issue_key(&self, tenant: TenantId, name: &str) -> ApiKeyId {
        let id = ApiKeyId(identifiers::new_id());
        let command = ApiKeyCommand::Issue {
            tenant_id: tenant,
            name: name.to_owned(),
            key_hash: token(name),
            at: clock::now(),
        };
        self.store.execute::<ApiKey>(id.0, command, &metadata_of(tenant)).await.expect("a key");
        id
    }
}

fn token(name: &str) -> TokenHash {
    TokenHash(format!("hash of {name}"))
}

fn webhook_secret(name: &str) -> WebhookSecret {
    let sealed = Sealed { data_key: Uuid::from_u128(0xda7a), ciphertext: name.to_owned() };
    WebhookSecret { sealed, fingerprint: Fingerprint(name.to_owned()) }
}

fn metadata_of(tenant: TenantId) -> Metadata {
    Metadata::of_role(tenant, "test")
}

/// Metadata that PostgreSQL rejects: its JSON cannot contain this character where a value is read from it.
fn invalid_metadata(tenant: TenantId) -> Metadata {
    Metadata { request_id: Some("\0".to_owned()), ..metadata_of(tenant) }
}

fn acceptance(tenant_id: TenantId, destination_id: DestinationId) -> Acceptance {
    accepted().tenant(tenant_id).destination(destination_id).at(clock::now()).build()
}

fn new_event() -> WebhookEventId {
    identifiers::new_event_id()
}
