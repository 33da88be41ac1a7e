//! The projector on a real log: what it does when a fact does not apply, when its lead changes hands, and
//! when a writer is slow.

use std::time::Duration;

use aggregates::email::Email;
use aggregates::ids::{DestinationId, TenantId, UserId};
use aggregates::role::{Role, UserStatus};
use aggregates::sealed::{Fingerprint, Sealed};
use aggregates::tenant::{Resilience, Retention, Tenant, TenantCommand, WebhookSecret};
use aggregates::user::{User, UserCommand};
use hooksentry::clock;
use hooksentry::event_store::{EventStore, LogNotifier, Metadata};
use hooksentry::projector::{Projected, Projector, ProjectorHealth, Term, TermEnded};
use projections::checkpoints::{self, CheckpointFailure};
use projections::{LogPosition, Projection, tenants, users};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::harness::postgres::{OwnServer, TestDatabase};
use crate::harness::{WAIT_TIMEOUT, until};

/// A log in a database of its own.
struct Ground {
    database: TestDatabase,
    pool: PgPool,
    store: EventStore,
}

impl Ground {
    async fn prepare() -> Self {
        Self::on(TestDatabase::create().await).await
    }

    async fn on(database: TestDatabase) -> Self {
        let pool = database.pool().await;
        let store = EventStore::new(pool.clone(), LogNotifier::within_process());
        Self { database, pool, store }
    }

    async fn clear_away(self) {
        self.pool.close().await;
        self.database.discard().await;
    }

    fn projector(&self) -> Projector {
        Projector::new(self.pool.clone(), self.store.notifier().clone())
    }

    async fn register_tenant(&self, number: u128) -> (TenantId, LogPosition) {
        let id = TenantId(Uuid::from_u128(number));
        let command = TenantCommand::Register {
            name: format!("Tenant {number}"),
            owner: UserId(Uuid::from_u128(number)),
            resilience: Resilience::default(),
            retention: Retention::default(),
            webhook_secret: WebhookSecret {
                sealed: Sealed { data_key: Uuid::from_u128(1), ciphertext: String::new() },
                fingerprint: Fingerprint(String::new()),
            },
            at: clock::now(),
        };
        let executed = self
            .store
            .execute::<Tenant>(id.0, command, &Metadata::of_role(id, "test"))
            .await
            .expect("a tenant");
        (id, executed.position.expect("a fact"))
    }

    async fn register_user(&self, number: u128) -> (UserId, LogPosition) {
        let tenant_id = TenantId(Uuid::from_u128(1));
        let id = UserId(Uuid::from_u128(number));
        let command = UserCommand::Register {
            tenant_id,
            email: Email::parse(&format!("user-{number}@example.com")).expect("an email"),
            password_hash: "hash".to_owned(),
            role: Role::Viewer,
            at: clock::now(),
        };
        let executed = self
            .store
            .execute::<User>(id.0, command, &Metadata::of_role(tenant_id, "test"))
            .await
            .expect("a user");
        (id, executed.position.expect("a fact"))
    }

    /// Writes a row of the log as no aggregate would.
    async fn smuggle_in(&self, aggregate: &str, stream: Uuid, sequence: i64, payload: &str) {
        sqlx::query(
            r#"
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            VALUES ($1, $2, $3, 'Smuggled', '1.0', $4::json, '{"tenantId":"00000000-0000-0000-0000-000000000001"}')
            "#,
        )
        .bind(aggregate)
        .bind(stream.to_string())
        .bind(sequence)
        .bind(payload)
        .execute(&self.pool)
        .await
        .expect("the log takes it");
    }

    async fn tenant_is_shown(&self, id: TenantId) -> bool {
        let mut connection = self.pool.acquire().await.expect("a connection");
        tenants::exists(&mut connection, id).await.expect("an answer")
    }

    async fn user_is_shown(&self, id: UserId) -> bool {
        let mut connection = self.pool.acquire().await.expect("a connection");
        users::owner_of(&mut connection, id).await.expect("an answer").is_some()
    }

    /// The projections that have halted, and why.
    async fn halted(&self) -> Vec<(Projection, String)> {
        let health = ProjectorHealth::new(self.pool.clone()).look().await.expect("an answer");
        let because = |because: &Option<String>| because.clone().unwrap_or_default();
        health.halted().map(|halted| (halted.projection, because(&halted.halted_because))).collect()
    }
}

/// Steps until all that is committed is applied. Other tests on the same server hold readers back.
async fn catch_up(ground: &Ground, term: &mut Term, position: LogPosition) {
    let projected = Projected::elsewhere(ground.pool.clone());
    until("the read models to catch up", async || {
        term.run_once().await.expect("a step");
        projected.wait(position, Duration::from_millis(50)).await.then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_command_that_waited_finds_its_facts_shown() {
    let ground = Ground::prepare().await;
    let projector = ground.projector();
    let (here, elsewhere) = (projector.projected(), Projected::elsewhere(ground.pool.clone()));
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    tasks.spawn(projector.run(stop.clone()));
    for number in 1..20 {
        let (tenant, position) = ground.register_tenant(number).await;
        let projected = if number % 2 == 0 { &here } else { &elsewhere };
        assert!(projected.wait(position, WAIT_TIMEOUT).await);
        assert!(ground.tenant_is_shown(tenant).await);
    }
    stop.cancel();
    tasks.close();
    tasks.wait().await;

    // Nobody projects any more: the wait has an end, and says how it ended.
    let (tenant, position) = ground.register_tenant(20).await;
    assert!(!here.wait(position, Duration::from_millis(50)).await);
    assert!(!elsewhere.wait(position, Duration::from_millis(50)).await);
    assert!(!ground.tenant_is_shown(tenant).await);
    ground.clear_away().await;
}

#[tokio::test]
async fn a_fact_that_does_not_follow_halts_its_projection_and_no_other() {
    let ground = Ground::prepare().await;
    let mut term = ground.projector().lead().await.expect("the lead");
    let (before, _) = ground.register_tenant(1).await;
    // An attempt of an event that was never accepted.
    let started = format!(
        r#"{{"DeliveryStarted":{{"destinationId":"{}","attempt":1,"worker":"w","destinationVersion":1,
        "tenantVersion":1,"at":"2026-01-01T00:00:00Z"}}}}"#,
        DestinationId(Uuid::from_u128(9)),
    );
    ground.smuggle_in("WebhookEvent", Uuid::from_u128(77), 5, &started).await;
    let (after, position) = ground.register_tenant(2).await;
    catch_up(&ground, &mut term, position).await;

    assert!(ground.tenant_is_shown(before).await);
    assert!(ground.tenant_is_shown(after).await);
    let halted = ground.halted().await;
    assert_eq!(halted.len(), 1, "{halted:?}");
    let (projection, because) = &halted[0];
    assert_eq!(*projection, Projection::WebhookEvents);
    assert!(because.contains("version 5"), "{because}");
    assert!(because.contains(&Uuid::from_u128(77).to_string()), "{because}");

    // The others go on, and nobody waits for the one that stands still.
    let (later, position) = ground.register_tenant(3).await;
    catch_up(&ground, &mut term, position).await;
    assert!(ground.tenant_is_shown(later).await);
    ground.clear_away().await;
}

#[tokio::test]
async fn a_fact_that_nobody_can_read_halts_whoever_must_fold_it() {
    let ground = Ground::prepare().await;
    let mut term = ground.projector().lead().await.expect("the lead");
    let (user, _) = ground.register_user(1).await;
    ground.smuggle_in("User", Uuid::from_u128(50), 1, r#"{"UserKnighted":{}}"#).await;
    ground.smuggle_in("Spaceship", Uuid::from_u128(51), 1, r#"{"Launched":{}}"#).await;
    ground.smuggle_in("User", Uuid::from_u128(52), 1, r#"{"UserKnighted":{}}"#).await;
    let (unseen, _) = ground.register_user(2).await;
    let (tenant, position) = ground.register_tenant(1).await;
    catch_up(&ground, &mut term, position).await;

    let halted = ground.halted().await;
    assert_eq!(halted.iter().map(|(projection, _)| *projection).collect::<Vec<_>>(), [Projection::Users]);
    let because = &halted[0].1;
    assert!(because.contains(&Uuid::from_u128(50).to_string()), "{because}");
    assert!(because.contains("UserKnighted"), "{because}");
    assert!(ground.user_is_shown(user).await, "what comes before the fact is shown");
    assert!(!ground.user_is_shown(unseen).await, "nothing is skipped");
    assert!(ground.tenant_is_shown(tenant).await);
    ground.clear_away().await;
}

#[tokio::test]
async fn a_halted_projection_is_tried_again_by_the_next_leader_and_misses_nothing() {
    let ground = Ground::prepare().await;
    let mut term = ground.projector().lead().await.expect("the lead");
    let constrain = "ALTER TABLE users ADD CONSTRAINT no_second CHECK (email <> 'user-2@example.com')";
    sqlx::query(constrain).execute(&ground.pool).await.expect("a constraint");
    let mut positions = vec![];
    for number in 1..=3 {
        positions.push(ground.register_user(number).await);
    }
    let (tenant, position) = ground.register_tenant(1).await;
    catch_up(&ground, &mut term, position).await;
    assert!(ground.tenant_is_shown(tenant).await);
    assert_eq!(ground.halted().await.len(), 1);
    assert!(ground.user_is_shown(positions[0].0).await);
    assert!(!ground.user_is_shown(positions[2].0).await);
    // Further facts leave its checkpoint where it halted.
    let (_, position) = ground.register_tenant(2).await;
    catch_up(&ground, &mut term, position).await;
    drop(term);

    sqlx::query("ALTER TABLE users DROP CONSTRAINT no_second").execute(&ground.pool).await.expect("no more");
    let mut term = ground.projector().lead().await.expect("the lead");
    assert!(ground.halted().await.is_empty());
    catch_up(&ground, &mut term, position).await;
    for (user, _) in positions {
        assert!(ground.user_is_shown(user).await);
    }
    ground.clear_away().await;
}

#[tokio::test]
async fn a_projection_that_is_behind_catches_up_beside_the_others() {
    let ground = Ground::prepare().await;
    let mut term = ground.projector().lead().await.expect("the lead");
    let (user, _) = ground.register_user(1).await;
    for number in 2..1_200 {
        ground.smuggle_in("Spaceship", Uuid::from_u128(number), 1, r#"{"Launched":{}}"#).await;
    }
    let (_, position) = ground.register_tenant(1).await;
    catch_up(&ground, &mut term, position).await;
    drop(term);

    // As after an upgrade that brings a projection of its own.
    sqlx::query("TRUNCATE users").execute(&ground.pool).await.expect("no rows");
    sqlx::query("DELETE FROM checkpoints WHERE reader = 'users'")
        .execute(&ground.pool)
        .await
        .expect("no row");
    let (tenant, position) = ground.register_tenant(2).await;
    let mut term = ground.projector().lead().await.expect("the lead");
    until("the front to move", async || {
        term.run_once().await.expect("a step");
        ground.tenant_is_shown(tenant).await.then_some(())
    })
    .await;
    assert!(!ground.users_reached(position).await, "one page does not bring it here");
    catch_up(&ground, &mut term, position).await;
    assert!(ground.user_is_shown(user).await);

    // Met at the front, they move together: one step brings a fact to all.
    let (next, position) = ground.register_user(3).await;
    catch_up(&ground, &mut term, position).await;
    assert!(ground.user_is_shown(next).await);
    ground.clear_away().await;
}

#[tokio::test]
async fn nobody_waits_for_a_projection_that_has_a_long_log_before_it() {
    // A server of its own: each step that is held back would bring the projection nearer.
    let server = OwnServer::start().await;
    let ground = Ground::on(server.create_database().await).await;
    let (_, position) = ground.register_tenant(1).await;
    sqlx::query(
        r#"
        INSERT INTO events
            (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        SELECT 'Spaceship', gen_random_uuid()::text, 1, 'Launched', '1.0', '{}', '{}'
        FROM generate_series(1, 30000)
        "#,
    )
    .execute(&ground.pool)
    .await
    .expect("the log takes it");
    let mut term = ground.projector().lead().await.expect("the lead");
    catch_up(&ground, &mut term, position).await;
    let (_, position) = ground.register_tenant(2).await;
    catch_up(&ground, &mut term, position).await;
    drop(term);

    sqlx::query("DELETE FROM checkpoints WHERE reader = 'users'")
        .execute(&ground.pool)
        .await
        .expect("no row");
    let projector = ground.projector();
    let (here, elsewhere) = (projector.projected(), Projected::elsewhere(ground.pool.clone()));
    let mut term = projector.lead().await.expect("the lead");
    let (tenant, position) = ground.register_tenant(3).await;
    until("the front to move", async || {
        term.run_once().await.expect("a step");
        ground.tenant_is_shown(tenant).await.then_some(())
    })
    .await;
    assert!(!ground.users_reached(position).await);
    assert!(here.wait(position, WAIT_TIMEOUT).await);
    assert!(elsewhere.wait(position, WAIT_TIMEOUT).await);
    ground.clear_away().await;
}

#[tokio::test]
async fn the_others_go_on_while_a_projection_is_held() {
    let ground = Ground::prepare().await;
    let mut term = ground.projector().lead().await.expect("the lead");
    let (_, position) = ground.register_tenant(1).await;
    catch_up(&ground, &mut term, position).await;

    let mut holder = ground.pool.acquire().await.expect("a connection");
    checkpoints::hold(&mut holder, Projection::Users.name(), Duration::from_secs(3_600))
        .await
        .expect("a hold");
    let (user, _) = ground.register_user(1).await;
    let (tenant, position) = ground.register_tenant(2).await;
    until("the front to move", async || {
        term.run_once().await.expect("a step");
        ground.tenant_is_shown(tenant).await.then_some(())
    })
    .await;
    assert!(!ground.user_is_shown(user).await);
    assert!(
        !Projected::elsewhere(ground.pool.clone()).wait(position, Duration::from_millis(20)).await,
        "what is held for a moment is waited for"
    );
    checkpoints::release(&mut holder, Projection::Users.name()).await.expect("its end");
    catch_up(&ground, &mut term, position).await;
    assert!(ground.user_is_shown(user).await);
    drop(holder);
    ground.clear_away().await;
}

impl Ground {
    async fn users_reached(&self, position: LogPosition) -> bool {
        let mut connection = self.pool.acquire().await.expect("a connection");
        checkpoints::have_reached(&mut connection, &[Projection::Users.name()], position)
            .await
            .expect("an answer")
    }
}

#[tokio::test]
async fn a_leader_that_lost_its_lead_writes_nothing_more() {
    let ground = Ground::prepare().await;
    let mut old = ground.projector().lead().await.expect("the lead");
    let (_, position) = ground.register_tenant(1).await;
    catch_up(&ground, &mut old, position).await;

    // The server ends the session that holds the lead, as it does when a machine does not answer.
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_locks
         WHERE locktype = 'advisory'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .execute(&ground.pool)
    .await
    .expect("its end");
    let mut new = tokio::time::timeout(WAIT_TIMEOUT, ground.projector().lead())
        .await
        .expect("a lead that is free")
        .expect("the lead");

    let (tenant, position) = ground.register_tenant(2).await;
    let refusal = until("the old leader to see the fact", async || old.run_once().await.err()).await;
    assert!(matches!(refusal, TermEnded::Checkpoint(CheckpointFailure::Fenced)), "{refusal:?}");
    assert!(!ground.tenant_is_shown(tenant).await);
    catch_up(&ground, &mut new, position).await;
    assert!(ground.tenant_is_shown(tenant).await);
    ground.clear_away().await;
}

#[tokio::test]
async fn when_the_leader_goes_another_process_takes_over() {
    let ground = Ground::prepare().await;
    let (stop_one, stop_two, tasks) =
        (CancellationToken::new(), CancellationToken::new(), TaskTracker::new());
    tasks.spawn(ground.projector().run(stop_one.clone()));
    let projected = Projected::elsewhere(ground.pool.clone());
    let (_, position) = ground.register_tenant(1).await;
    assert!(projected.wait(position, WAIT_TIMEOUT).await);
    tasks.spawn(ground.projector().run(stop_two.clone()));

    stop_one.cancel();
    for number in 2..5 {
        let (_, position) = ground.register_tenant(number).await;
        assert!(projected.wait(position, WAIT_TIMEOUT).await);
    }
    stop_two.cancel();
    tasks.close();
    tasks.wait().await;
    ground.clear_away().await;
}

#[tokio::test]
async fn a_slow_writers_fact_is_not_passed_over() {
    // A server of its own: what other tests leave open would hold readers back too.
    let server = OwnServer::start().await;
    let ground = Ground::on(server.create_database().await).await;
    let mut term = ground.projector().lead().await.expect("the lead");
    let (user, _) = ground.register_user(1).await;

    // Its position is drawn now, and its commit comes later.
    let mut slow = ground.pool.begin().await.expect("a transaction");
    sqlx::query(
        r#"
        INSERT INTO events
            (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        VALUES ('User', $1, 2, 'UserDeactivated', '1.0',
                '{"UserDeactivated":{"at":"2026-01-01T00:00:00Z"}}',
                '{"tenantId":"00000000-0000-0000-0000-000000000001"}')
        "#,
    )
    .bind(user.to_string())
    .execute(&mut *slow)
    .await
    .expect("the log takes it");
    let (tenant, position) = ground.register_tenant(1).await;

    // What was committed after it has to wait for it.
    while term.run_once().await.expect("a step").facts > 0 {}
    assert!(ground.user_is_shown(user).await);
    assert!(!ground.tenant_is_shown(tenant).await);
    slow.commit().await.expect("a commit");
    catch_up(&ground, &mut term, position).await;
    assert!(ground.tenant_is_shown(tenant).await);
    let status: i16 =
        sqlx::query_scalar("SELECT status FROM users").fetch_one(&ground.pool).await.expect("a row");
    assert_eq!(status, UserStatus::Inactive.number());
    ground.clear_away().await;
}
