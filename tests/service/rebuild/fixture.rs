//! A log with something in it, read models that show it, and the program's commands on them.

use std::process::{Output, Stdio};

use aggregates::ids::TenantId;
use hooksentry::event_store::{EventStore, LogNotifier};
use hooksentry::projector::{Projected, Projector};
use projections::{LogPosition, TransactionId};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::postgres::{OwnServer, TestDatabase};
use crate::harness::{WAIT_TIMEOUT, until};

/// A database on a server of its own: transactions of other tests would hold back who reads its log, and their
/// ends would be waited for.
pub(super) struct Ground {
    pub(super) pool: PgPool,
    url: String,
    // The server ends with it.
    _server: OwnServer,
    _database: TestDatabase,
}

/// What the program said at its end.
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) output: String,
    pub(super) errors: String,
}

/// A projector that follows the log within the test.
pub(super) struct Following {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Following {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Ground {
    /// An empty log.
    pub(super) async fn prepare() -> Self {
        let server = OwnServer::start().await;
        let database = server.create_database().await;
        Self { pool: database.pool().await, url: database.url(), _server: server, _database: database }
    }

    /// A log with so many webhook events, delivered, of two tenants, and read models that show them.
    pub(super) async fn with_events(count: i32) -> Self {
        let ground = Self::prepare().await;
        ground.deliver(0, count).await;
        let following = ground.follow();
        ground.until_shown().await;
        following.stop().await;
        ground
    }

    pub(super) fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    /// Writes the facts of webhook events that are accepted and delivered at once.
    pub(super) async fn deliver(&self, from: i32, count: i32) {
        self.deliver_at(from, count, "2026-01-01T00:00:00Z").await;
    }

    /// The same, at a time as facts have it.
    pub(super) async fn deliver_at(&self, from: i32, count: i32, at: &str) {
        sqlx::query(
            r#"
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            SELECT
                'WebhookEvent', lpad(to_hex(number), 32, '0')::uuid::text, sequence, fact, '1.0',
                json_build_object(fact, CASE sequence
                    WHEN 1 THEN json_build_object(
                        'tenantId', tenant, 'destinationId', destination, 'at', at,
                        'payload', json_build_object('sha256', repeat('a', 64), 'bytes', 1)
                    )
                    WHEN 2 THEN json_build_object(
                        'destinationId', destination, 'attempt', 1, 'worker', 'tests', 'at', at,
                        'destinationVersion', 1, 'tenantVersion', 1
                    )
                    ELSE json_build_object(
                        'destinationId', destination, 'attempt', 1, 'failedAttempts', 0, 'at', at,
                        'report', json_build_object('outcome', 'succeeded', 'durationMs', 3)
                    )
                END),
                json_build_object('tenantId', tenant)
            FROM (
                SELECT
                    number,
                    lpad(to_hex(number % 2 + 1), 32, '0')::uuid AS tenant,
                    lpad(to_hex(number % 2 + 11), 32, '0')::uuid AS destination,
                    $3::text AS at
                FROM generate_series($1 + 1, $1 + $2) AS number
            ) AS event
            CROSS JOIN unnest(ARRAY['EventAccepted', 'DeliveryStarted', 'DeliveryAttempted'])
                WITH ORDINALITY AS step (fact, sequence)
            ORDER BY number, sequence
            "#,
        )
        .bind(from)
        .bind(count)
        .bind(at)
        .execute(&self.pool)
        .await
        .expect("the log takes it");
    }

    /// Writes a row of the log as no aggregate would.
    pub(super) async fn smuggle_in(&self, aggregate: &str, stream: u128, sequence: i64, payload: &str) {
        sqlx::query(
            r#"
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            VALUES ($1, $2, $3, 'Smuggled', '1.0', $4::json, '{"tenantId":"00000000-0000-0000-0000-000000000001"}')
            "#,
        )
        .bind(aggregate)
        .bind(Uuid::from_u128(stream).to_string())
        .bind(sequence)
        .bind(payload)
        .execute(&self.pool)
        .await
        .expect("the log takes it");
    }

    /// Registers a user, as facts have it.
    pub(super) async fn register_user(&self, number: u128) {
        let registered = format!(
            r#"{{"UserRegistered":{{"tenantId":"{}","email":"user-{number}@example.com","passwordHash":"hash",
            "role":"Viewer","at":"2026-01-01T00:00:00Z"}}}}"#,
            Self::tenant(1),
        );
        self.smuggle_in("User", number, 1, &registered).await;
    }

    /// Starts a projector.
    pub(super) fn follow(&self) -> Following {
        let store = EventStore::new(self.pool.clone(), LogNotifier::within_process());
        let projector = Projector::new(self.pool.clone(), store.notifier().clone());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(projector.run(stop.clone()));
        Following { stop, tasks }
    }

    /// Waits until the read models show the log's end, but for those that have halted.
    pub(super) async fn until_shown(&self) {
        let (transaction_id, position): (TransactionId, i64) = sqlx::query_as(
            "SELECT transaction_id, position FROM events ORDER BY transaction_id DESC, position DESC LIMIT 1",
        )
        .fetch_one(&self.pool)
        .await
        .expect("a log");
        let end = LogPosition { transaction_id, position };
        assert!(
            Projected::elsewhere(self.pool.clone()).wait(end, WAIT_TIMEOUT).await,
            "they do not come so far"
        );
    }

    /// Which table stands under a name: another one after a swap.
    pub(super) async fn table(&self, name: &str) -> i64 {
        self.number(&format!("SELECT '{name}'::regclass::oid::bigint")).await
    }

    pub(super) async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.expect(query)
    }

    pub(super) async fn execute(&self, statement: &str) {
        sqlx::raw_sql(statement).execute(&self.pool).await.expect(statement);
    }

    /// A transaction that reads a table and so keeps it where it is.
    pub(super) async fn read_on(&self, table: &str) -> Transaction<'static, Postgres> {
        let mut reading = self.pool.begin().await.expect("a transaction");
        sqlx::query(&format!("SELECT count(*) FROM {table}")).execute(&mut *reading).await.expect("a count");
        reading
    }

    /// Runs a command of the program to its end.
    pub(super) async fn hooksentry(&self, arguments: &[&str]) -> Said {
        run(arguments, &self.url).await
    }

    /// Runs a command of the program as another user of the database.
    pub(super) async fn hooksentry_as(&self, role: &str, arguments: &[&str]) -> Said {
        let mut url: url::Url = self.url.parse().expect("a URL");
        url.set_username(role).expect("a name");
        run(arguments, url.as_str()).await
    }

    /// Starts a command of the program.
    pub(super) fn start(&self, arguments: &[&str]) -> Child {
        command(arguments, &self.url).spawn().expect("the program starts")
    }

    /// Waits until somebody folds a generation, and answers how far it has come.
    pub(super) async fn until_half_built(&self, projection: &str) -> i64 {
        until("a half-built generation", async || {
            sqlx::query_scalar("SELECT position FROM rebuilds WHERE projection = $1 AND position > 0")
                .bind(projection)
                .fetch_optional(&self.pool)
                .await
                .expect("an answer")
        })
        .await
    }
}

/// Runs a command of the program to its end, on a database.
pub(super) async fn run(arguments: &[&str], database_url: &str) -> Said {
    let child = command(arguments, database_url).spawn().expect("the program starts");
    ended(child).await
}

/// Waits for the end of a command.
pub(super) async fn ended(child: Child) -> Said {
    let output = tokio::time::timeout(WAIT_TIMEOUT, child.wait_with_output()).await.expect("it ends in time");
    let Output { status, stdout, stderr } = output.expect("a child of ours");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said { code: status.code(), output: text(stdout), errors: text(stderr) }
}

/// Presses Ctrl-C.
pub(super) async fn interrupt(child: &Child) {
    let id = child.id().expect("a process that runs").to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill runs").success());
}

fn command(arguments: &[&str], database_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hooksentry"));
    command
        .args(arguments)
        .env_clear()
        .env("DATABASE_URL", database_url)
        .env("HOOKSENTRY_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Said {
    /// The end, which must be a good one.
    #[track_caller]
    pub(super) fn well(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.output, self.errors);
        self
    }

    /// The end, which must be with this code and these words.
    #[track_caller]
    pub(super) fn with(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.output, self.errors);
        let last = self.errors.lines().last().unwrap_or_default();
        for word in words {
            assert!(last.contains(word), "no {word:?} in: {last}");
        }
        self
    }
}
