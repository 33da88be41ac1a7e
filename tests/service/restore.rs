//! A database is dumped under load, restored into another cluster, and prepared with `hooksentry restore`.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::json;
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

use crate::harness::postgres::{OwnServer, TestDatabase};
use crate::harness::process::{CommandOutput, Launch, run, start};
use crate::harness::receiver::Receiver;
use crate::harness::tenant::Tenant;
use crate::harness::until;

/// Transactions of the first cluster before the service starts: more than a restore and this test use.
const TRANSACTIONS_BEFORE: u32 = 20_000;
/// What the commands of a dump can depend on: policies and privileges of the tenants' role.
const TENANT_SCOPE: &str = "
    SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
        SELECT tablename || ' ' || policyname || ' ' || qual AS line FROM pg_policies
        UNION ALL
        SELECT table_name || '.' || column_name || ' ' || privilege_type
        FROM information_schema.role_column_grants
        WHERE grantee = 'hooksentry_tenant' AND table_schema = 'public'
    ) AS scope";

fn launch(url: &str) -> Launch {
    Launch::serve("api,projector,dispatcher,worker", url)
}

async fn query<T>(url: &str, statement: &str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let mut connection = PgConnection::connect(url).await.expect("the database");
    let answer = sqlx::query_scalar(statement).fetch_one(&mut connection).await.expect(statement);
    connection.close().await.expect("the database");
    answer
}

async fn use_up_transactions(url: &str, count: u32) {
    let mut connection = PgConnection::connect(url).await.expect("the database");
    let statement = format!(
        "DO $$ BEGIN FOR number IN 1..{count} LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$"
    );
    sqlx::raw_sql(&statement).execute(&mut connection).await.expect("transactions");
    connection.close().await.expect("the database");
}

/// A program of the same PostgreSQL as the server.
async fn program(url: &str, name: &str) -> PathBuf {
    let folder: String = query(url, "SELECT setting FROM pg_config WHERE name = 'BINDIR'").await;
    Path::new(&folder).join(name)
}

async fn succeed(command: &mut Command) {
    let status = command.status().await.expect("the program runs");
    assert!(status.success(), "{command:?}: {status}");
}

/// Dumps one database and restores it into an empty one of another cluster, as the manual of PostgreSQL says.
async fn dump_and_restore(from: &str, to: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("backup.sql");
    succeed(Command::new(program(from, "pg_dump").await).arg("-f").arg(&file).arg(from)).await;
    // The dump names a role that the other cluster lacks: psql reports that, and continues.
    let mut psql = Command::new(program(to, "psql").await);
    succeed(psql.args(["--quiet", "--no-psqlrc", "--output=/dev/null", "-f"]).arg(&file).arg(to)).await;
}

/// Interrupts the command while it begins the era, and between its steps; then runs it to its end.
async fn restore_with_interruptions(url: &str) -> CommandOutput {
    let mut other = PgConnection::connect(url).await.expect("the database");
    let mut locking = other.begin().await.expect("a transaction");
    sqlx::query("SELECT FROM leaderships FOR UPDATE").execute(&mut *locking).await.expect("locks");
    let mut restoring = start(&["restore"], url);
    let waits = "SELECT count(*) FROM pg_stat_activity
                 WHERE wait_event_type = 'Lock' AND query LIKE 'UPDATE leaderships%'";
    until("the era to begin", async || (query::<i64>(url, waits).await == 1).then_some(())).await;
    restoring.kill().await.expect("a child of ours");
    locking.rollback().await.expect("a rollback");

    sqlx::query("SELECT pg_advisory_lock(hashtext('hooksentry.rebuild'), 0)")
        .execute(&mut other)
        .await
        .expect("the lock of verifications");
    let interrupted = run(&["restore"], url).await;
    assert!(interrupted.output.contains("continues in era 1"), "{}", interrupted.output);
    interrupted.failed_with(1, &["another rebuild or verification is running"]);
    other.close().await.expect("the database");
    run(&["restore"], url).await.succeeded()
}

#[tokio::test]
async fn what_was_accepted_before_a_dump_is_delivered_by_another_cluster() {
    let old_server = OwnServer::start().await;
    let old = old_server.create_database().await;
    use_up_transactions(&old.url(), TRANSACTIONS_BEFORE).await;
    let service = launch(&old.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(service.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    let mut accepted = HashSet::new();
    for number in 0..20 {
        accepted.insert(tenant.ingest(&destination, &json!({ "number": number })).await);
    }
    tenant.until_count("Succeeded", 20).await;
    // Some attempts are in flight during the dump, and the other events wait for them.
    receiver.hold();
    for number in 20..40 {
        accepted.insert(tenant.ingest(&destination, &json!({ "number": number })).await);
    }
    until("attempts in flight", async || (receiver.in_flight() == 5).then_some(())).await;

    let new_server = OwnServer::start().await;
    let new = new_server.create_empty_database().await;
    dump_and_restore(&old.url(), &new.url()).await;
    service.kill().await;
    receiver.release();
    let is_behind = "SELECT (SELECT max(transaction_id::text::bigint) FROM events)
                          > pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    assert!(query::<bool>(&new.url(), is_behind).await, "the counter of the new cluster is behind the log");

    for roles in ["api", "projector", "dispatcher,worker"] {
        let refusal = Launch::serve(roles, &new.url()).refused().await;
        assert!(refusal.contains("`hooksentry restore`"), "{roles}: {refusal}");
    }
    let said = restore_with_interruptions(&new.url()).await.output;
    assert!(said.contains("the service can be started"), "{said}");
    assert_eq!(query::<i64>(&new.url(), "SELECT count(*) FROM log_eras").await, 2);
    let restored = "SELECT count(*) FROM events WHERE event_type = 'LogRestored'";
    assert_eq!(query::<i64>(&new.url(), restored).await, 1);
    assert_eq!(
        query::<String>(&new.url(), TENANT_SCOPE).await,
        query::<String>(&old.url(), TENANT_SCOPE).await
    );

    // Attempts that were in flight during the dump are given up after this time.
    let service = launch(&new.url())
        .with("HOOKSENTRY_DELIVERY_TIMEOUT", "2s")
        .with("HOOKSENTRY_VANISHED_MARGIN", "1s")
        .with("HOOKSENTRY_RETRY_BASE", "50ms")
        .ready()
        .await;
    let tenant = tenant.at(service.base());
    accepted.insert(tenant.ingest(&destination, &json!({ "number": "after the restore" })).await);
    tenant.until_count("Succeeded", accepted.len()).await;
    let arrived: HashSet<String> =
        receiver.arrivals().iter().map(|arrival| arrival.event_id().to_owned()).collect();
    assert_eq!(arrived, accepted);
    // A new tenant logs in, and its webhooks are delivered.
    let newcomer = Tenant::register(service.base()).await;
    let destination = newcomer.destination(&receiver.url(), 5).await;
    newcomer.ingest(&destination, &json!({ "number": 1 })).await;
    newcomer.until_count("Succeeded", 1).await;
    assert!(service.stop().await.success());
    let said = run(&["restore"], &new.url()).await.succeeded().output;
    assert!(said.contains("no new era is needed"), "{said}");
}

#[tokio::test]
async fn a_database_in_use_is_not_prepared() {
    let database = TestDatabase::create().await;
    let service = launch(&database.url()).ready().await;
    let refused = run(&["restore", "--force"], &database.url()).await;
    refused.failed_with(1, &["sessions of HookSentry use the database", "stop all of its processes"]);
    assert_eq!(query::<i64>(&database.url(), "SELECT count(*) FROM log_eras").await, 1);
    assert!(service.stop().await.success());

    let said = run(&["restore", "--force"], &database.url()).await.succeeded().output;
    assert!(said.contains("continues in era 1"), "{said}");
    let service = launch(&database.url()).ready().await;
    let receiver = Receiver::answering(200).await;
    let tenant = Tenant::register(service.base()).await;
    let destination = tenant.destination(&receiver.url(), 5).await;
    tenant.ingest(&destination, &json!({ "number": 1 })).await;
    tenant.until_count("Succeeded", 1).await;
    assert!(service.stop().await.success());
    database.discard().await;
}
