//! Logs with webhook events, and the program's commands on them.

use aggregates::ids::TenantId;
use hooksentry::projector::Projected;
use sqlx::{Postgres, Transaction};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::log_fixture::Fixture;
use crate::harness::process::{self, CommandOutput, run};
use crate::harness::{WAIT_TIMEOUT, until};

/// A projector within the test's process.
pub(super) struct RunningProjector {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl RunningProjector {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Fixture {
    /// A log with `count` delivered webhook events of two tenants, and read models that show them.
    pub(super) async fn with_events(count: i32) -> Self {
        let fixture = Self::on_own_server().await;
        fixture.deliver(0, count).await;
        let projector = fixture.start_projector();
        fixture.until_shown().await;
        projector.stop().await;
        fixture
    }

    pub(super) fn tenant(number: u128) -> TenantId {
        TenantId(Uuid::from_u128(number))
    }

    /// Inserts the facts of webhook events that are accepted and delivered at once.
    pub(super) async fn deliver(&self, from: i32, count: i32) {
        self.deliver_at(from, count, "2026-01-01T00:00:00Z").await;
    }

    /// Does the same at the time `at` (RFC 3339).
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

    /// Inserts the fact of a registered user.
    pub(super) async fn insert_registered_user(&self, number: u128) {
        let registered = format!(
            r#"{{"UserRegistered":{{"tenantId":"{}","email":"","passwordHash":"",
            "role":"Viewer","at":"2026-01-01T00:00:00Z"}}}}"#,
            Self::tenant(1),
        );
        self.insert_fact("User", Uuid::from_u128(number), 1, &registered).await;
    }

    /// Starts a projector.
    pub(super) fn start_projector(&self) -> RunningProjector {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(self.projector().run(stop.clone()));
        RunningProjector { stop, tasks }
    }

    /// Waits until all read models that have not halted show the log's end.
    pub(super) async fn until_shown(&self) {
        let (end, projected) = (self.end_of_log().await, Projected::elsewhere(self.pool.clone()));
        assert!(projected.wait(end, WAIT_TIMEOUT).await, "the read models do not catch up");
    }

    /// Returns the oid of a table, which changes with a swap.
    pub(super) async fn table(&self, name: &str) -> i64 {
        self.number(&format!("SELECT '{name}'::regclass::oid::bigint")).await
    }

    /// Begins a transaction that has read a table, and so prevents its replacement.
    pub(super) async fn read_on(&self, table: &str) -> Transaction<'static, Postgres> {
        let mut reading = self.pool.begin().await.expect("a transaction");
        sqlx::query(&format!("SELECT count(*) FROM {table}")).execute(&mut *reading).await.expect("a count");
        reading
    }

    /// Runs a command of the program to its end.
    pub(super) async fn hooksentry(&self, arguments: &[&str]) -> CommandOutput {
        run(arguments, &self.url()).await
    }

    /// Runs a command of the program as another user of the database.
    pub(super) async fn hooksentry_as(&self, role: &str, arguments: &[&str]) -> CommandOutput {
        let mut url: url::Url = self.url().parse().expect("a URL");
        url.set_username(role).expect("a name");
        run(arguments, url.as_str()).await
    }

    /// Starts a command of the program.
    pub(super) fn start(&self, arguments: &[&str]) -> Child {
        process::start(arguments, &self.url())
    }

    /// Waits for an unfinished rebuild. Returns its position.
    pub(super) async fn until_unfinished(&self, projection: &str) -> i64 {
        until("an unfinished rebuild", async || {
            sqlx::query_scalar("SELECT position FROM rebuilds WHERE projection = $1 AND position > 0")
                .bind(projection)
                .fetch_optional(&self.pool)
                .await
                .expect("an answer")
        })
        .await
    }
}

/// Sends SIGINT.
pub(super) async fn interrupt(child: &Child) {
    let id = child.id().expect("a process that runs").to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill runs").success());
}
