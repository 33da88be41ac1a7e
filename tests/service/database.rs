//! Settings of sessions. Migration of the schema by concurrent processes, and by users without the right to change
//! it.

use hooksentry::database::{self, DatabaseFailure, OwnConnection, migrate};
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use url::Url;

use crate::harness::client;
use crate::harness::postgres::OwnServer;
use crate::harness::process::Launch;
use crate::harness::rabbitmq::SharedBroker;
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;

const RUNTIME_ROLE: &str = include_str!("../../docker/runtime-role.sql");
const WORKER_ROLE: &str = include_str!("../../docker/worker-role.sql");

/// Creates a user without the right to change the schema.
async fn create_reader(pool: &PgPool) -> (PgConnectOptions, String) {
    let name = format!("reader_{:016x}", rand::random::<u64>());
    pool.execute(format!("CREATE ROLE {name} LOGIN").as_str()).await.expect("a role");
    pool.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await.expect("a closed schema");
    ((*pool.connect_options()).clone().username(&name), name)
}

#[sqlx::test(migrations = false)]
async fn several_processes_may_migrate_at_once(options: sqlx::postgres::PgPoolOptions, to: PgConnectOptions) {
    drop(options);
    let migrating = (0..4).map(|_| async {
        let mut connection = PgConnection::connect_with(&to).await.expect("a connection");
        migrate(&mut connection).await.expect("a schema")
    });
    let missing = futures::future::join_all(migrating).await;
    assert!(missing.iter().any(|missing| *missing > 0));
    let mut connection = PgConnection::connect_with(&to).await.expect("a connection");
    assert_eq!(migrate(&mut connection).await.expect("a schema"), 0);
    sqlx::query("SELECT 1 FROM events").execute(&mut connection).await.expect("the log");
}

#[sqlx::test(migrations = false)]
async fn a_user_who_may_not_change_the_schema_can_start_when_it_is_current(pool: PgPool) {
    let (options, role) = create_reader(&pool).await;
    let mut reader = PgConnection::connect_with(&options).await.expect("a connection");
    let behind = migrate(&mut reader).await.expect_err("no right");
    assert!(matches!(behind, DatabaseFailure::MigrationsForbidden { .. }), "{behind:?}");
    assert!(behind.to_string().contains("run `hooksentry migrate`"), "{behind}");

    migrate(&mut pool.acquire().await.expect("a connection")).await.expect("a schema");
    pool.execute(format!("GRANT SELECT ON _sqlx_migrations TO {role}").as_str()).await.expect("a grant");
    assert_eq!(migrate(&mut reader).await.expect("nothing to do"), 0);
    reader.close().await.expect("closed");
    pool.execute(format!("DROP OWNED BY {role}").as_str()).await.expect("no rights left");
    pool.execute(format!("DROP ROLE {role}").as_str()).await.expect("no role left");
}

#[sqlx::test]
async fn a_migration_that_was_changed_afterwards_is_refused_and_a_newer_schema_is_not(pool: PgPool) {
    let mut connection = pool.acquire().await.expect("a connection");
    sqlx::query("INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'newer', true, '', 0)")
        .execute(&mut *connection)
        .await
        .expect("a row");
    assert_eq!(migrate(&mut connection).await.expect("nothing to do"), 0);
    sqlx::query("UPDATE _sqlx_migrations SET checksum = 'other' WHERE version = 1")
        .execute(&mut *connection)
        .await
        .expect("a change");
    let refused = migrate(&mut connection).await.expect_err("a changed migration");
    assert!(matches!(refused, DatabaseFailure::Schema(_)), "{refused:?}");
}

#[sqlx::test(migrations = false)]
async fn a_connection_that_accepts_webhooks_has_memory_for_large_ones(pool: PgPool) {
    let work_mem = async |configured: &str| -> String {
        let options = (*pool.connect_options()).clone().options([("work_mem", configured)]);
        let pool = PgPool::connect_lazy_with(options);
        let mut own = OwnConnection::to_database_of(&pool);
        let connection = own.opened().await.expect("a connection");
        sqlx::query_scalar("SHOW work_mem").fetch_one(connection).await.expect("a setting")
    };
    assert_eq!(work_mem("4MB").await, "16MB");
    assert_eq!(work_mem("1GB").await, "1GB", "more than that is kept");
}

/// On its own server, because the role belongs to all databases of a server.
#[tokio::test]
async fn the_role_of_the_service_may_use_tables_of_later_migrations() {
    let server = OwnServer::start().await;
    let database = server.create_database().await;
    let owner = database.pool().await;
    // It may be run again.
    for _ in 0..2 {
        owner.execute(RUNTIME_ROLE.replace(":password", "'secret'").as_str()).await.expect("a role");
    }
    owner
        .execute("CREATE TABLE later (tenant_id uuid NOT NULL); SELECT scope_to_tenant('later')")
        .await
        .expect("a later migration");
    let options = (*owner.connect_options()).clone().username("hooksentry_runtime");
    let mut service = PgConnection::connect_with(&options).await.expect("a connection");
    service.execute("INSERT INTO later VALUES (gen_random_uuid())").await.expect("a row");
    let rows: i64 =
        sqlx::query_scalar("SELECT count(*) FROM later").fetch_one(&mut service).await.expect("rows");
    assert_eq!(rows, 1);
    let refused = service.execute("DELETE FROM events").await.expect_err("no right");
    assert_eq!(refused.as_database_error().and_then(|error| error.code()).as_deref(), Some("42501"));
}

/// A worker talks to servers of strangers, so its role reads no accounts.
#[tokio::test]
async fn the_roles_of_the_service_and_of_workers_suffice_to_deliver() {
    let (server, broker) = (OwnServer::start().await, SharedBroker::connect().await);
    let database = server.create_database().await;
    let owner = database.pool().await;
    // They may be created again.
    for role in [RUNTIME_ROLE, WORKER_ROLE, RUNTIME_ROLE, WORKER_ROLE] {
        owner.execute(role.replace(":password", "'secret'").as_str()).await.expect("a role");
    }
    let url_of = |user: &str| {
        let mut url = Url::parse(&database.url()).expect("a URL");
        url.set_username(user).expect("a user");
        String::from(url)
    };
    let launch = |roles: &str, user: &str| Launch::serve(roles, &url_of(user)).through(&broker).ready();
    let service = launch("api,projector,dispatcher", "hooksentry_runtime").await;
    let worker = launch("worker", "hooksentry_worker").await;
    let receiver = Receiver::answering(500).await;
    let tenant = Tenant::register(service.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let event_id = tenant.ingest(&destination, &json!({ "number": 1 })).await;
    tenant.until_event(&event_id, "WaitingRetry").await;

    let ready = client().get(format!("{}/health/ready", worker.base())).send().await.expect("an answer");
    let ready: Value = ready.json().await.expect("JSON");
    assert!(ready["backlog"].is_object(), "{ready}");

    let options: PgConnectOptions = url_of("hooksentry_worker").parse().expect("a URL");
    let mut connection = PgConnection::connect_with(&options).await.expect("a connection");
    for forbidden in [
        "SELECT FROM users",
        "SELECT FROM sessions",
        "SELECT FROM api_keys",
        "SELECT FROM ingest_routes",
        "UPDATE destinations SET version = 0",
        "DELETE FROM events",
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('User', 'a', 1, 'UserCreated', '1', '{}', '{}')",
    ] {
        let refused = connection.execute(forbidden).await.expect_err(forbidden);
        let code = refused.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("42501"), "{forbidden}: {refused}");
    }
    let kinds = sqlx::query_scalar("SELECT DISTINCT aggregate_type FROM events ORDER BY 1");
    let kinds: Vec<String> = kinds.fetch_all(&mut connection).await.expect("the log");
    assert_eq!(kinds, ["Destination", "Tenant", "WebhookEvent"]);
    connection.close().await.expect("closed");
    for process in [service, worker] {
        assert!(process.stop().await.success());
    }
}

#[sqlx::test(migrations = false)]
async fn sessions_set_what_the_log_relies_on_and_keep_stronger_commits(pool: PgPool) {
    let options = pool.connect_options();
    let database = options.get_database().expect("a database");
    for (default, used) in [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")] {
        for setting in [
            format!("ALTER DATABASE \"{database}\" SET synchronous_commit = {default}"),
            format!("ALTER DATABASE \"{database}\" SET default_transaction_isolation = serializable"),
        ] {
            pool.execute(setting.as_str()).await.expect("a default");
        }
        let mut session = database::open(&options).await.expect("a session");
        let settings: (String, String) = sqlx::query_as(
            "SELECT current_setting('synchronous_commit'), current_setting('transaction_isolation')",
        )
        .fetch_one(&mut session)
        .await
        .expect("settings");
        assert_eq!(settings, (used.to_owned(), "read committed".to_owned()), "{default}");
    }
}

/// The first plan is made while the table is empty.
#[sqlx::test]
async fn a_session_plans_once_and_reads_in_the_order_of_an_index(pool: PgPool) {
    let mut connection = database::open(&pool.connect_options()).await.expect("a connection");
    database::plan_once(&mut connection).await.expect("settings");
    let statement = "SELECT position FROM events WHERE position > $1 ORDER BY transaction_id, position";
    for _ in 0..3 {
        sqlx::query(statement).bind(0_i64).execute(&mut connection).await.expect("an empty log");
    }
    let plans: (i64, i64) =
        sqlx::query_as("SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement = $1")
            .bind(statement)
            .fetch_one(&mut connection)
            .await
            .expect("a statement");
    assert_eq!(plans, (3, 0));

    let plan: Vec<String> =
        sqlx::query_scalar("EXPLAIN SELECT position FROM events ORDER BY transaction_id, position")
            .fetch_all(&mut connection)
            .await
            .expect("a plan");
    assert!(plan[0].contains("events_in_log_order"), "{plan:?}");
}
