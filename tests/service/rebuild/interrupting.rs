//! Rebuilds that are stopped, killed, started twice, or given unknown names.

use super::fixture::interrupt;
use crate::harness::log_fixture::Fixture;
use crate::harness::process::finished;
use crate::harness::until;

#[tokio::test]
async fn an_interrupted_rebuild_leaves_live_rows_unchanged_and_is_resumed() {
    let fixture = Fixture::with_events(3_000).await;
    let table = fixture.table("webhook_events").await;
    // The open transaction blocks the swap, so the rebuild stays unfinished however fast it is.
    let reading = fixture.read_on("webhook_events").await;

    let rebuilding = fixture.start(&["rebuild", "webhook_events"]);
    fixture.until_unfinished("webhook_events").await;
    interrupt(&rebuilding).await;
    finished(rebuilding)
        .await
        .failed_with(1, &["interrupted", "the same command resumes the rebuild", "rebuild --drop NAME"]);
    assert_eq!(fixture.table("webhook_events").await, table);
    let reached = fixture.until_unfinished("webhook_events").await;

    // Killed, it leaves the same state; its session may need a moment to end.
    let mut rebuilding = until("the session to end", async || {
        let mut rebuilding = fixture.start(&["rebuild", "webhook_events"]);
        let held = "SELECT count(*) FROM checkpoints WHERE held_until > now()";
        loop {
            if fixture.number(held).await > 0 {
                return Some(rebuilding);
            }
            if rebuilding.try_wait().expect("a child of ours").is_some() {
                finished(rebuilding).await.failed_with(1, &["is running"]);
                return None;
            }
        }
    })
    .await;
    rebuilding.kill().await.expect("a child of ours");
    assert_eq!(fixture.table("webhook_events").await, table);
    assert!(fixture.until_unfinished("webhook_events").await >= reached);
    reading.rollback().await.expect("its end");

    let said = until("the session to end", async || {
        let said = fixture.hooksentry(&["rebuild", "webhook_events"]).await;
        (!said.errors.contains("is running")).then_some(said)
    })
    .await
    .succeeded();
    assert!(said.errors.contains("webhook_events: resumed"), "{}", said.errors);
    assert_ne!(fixture.table("webhook_events").await, table);
    assert_eq!(fixture.number("SELECT count(*) FROM webhook_events").await, 3_000);
    assert_eq!(fixture.number("SELECT count(*) FROM rebuilds").await, 0);
    fixture.hooksentry(&["verify-projections"]).await.succeeded();
}

#[tokio::test]
async fn a_rebuild_of_another_program_or_table_definition_starts_over() {
    let fixture = Fixture::with_events(200).await;
    for change in [
        "UPDATE rebuilds SET made_by = replace(made_by, 'program ', 'program 0')",
        "ALTER TABLE webhook_events ADD COLUMN colour text DEFAULT 'grey'",
        "DROP TABLE rebuilding.webhook_events",
    ] {
        let reading = fixture.read_on("webhook_events").await;
        let rebuilding = fixture.start(&["rebuild", "webhook_events"]);
        fixture.until_unfinished("webhook_events").await;
        interrupt(&rebuilding).await;
        finished(rebuilding).await.failed_with(1, &["interrupted"]);
        reading.rollback().await.expect("its end");

        fixture.execute(change).await;
        let said = fixture.hooksentry(&["rebuild", "webhook_events"]).await.succeeded();
        assert!(said.errors.contains("webhook_events: started"), "{change}: {}", said.errors);
        assert_eq!(fixture.number("SELECT sum(version)::bigint FROM webhook_events").await, 600);
    }
    let coloured = "SELECT count(*) FROM webhook_events WHERE colour = 'grey'";
    assert_eq!(fixture.number(coloured).await, 200, "the new rows have the new column");
}

#[tokio::test]
async fn one_rebuild_or_verification_runs_at_a_time() {
    let fixture = Fixture::with_events(10).await;
    let reading = fixture.read_on("webhook_events").await;
    let first = fixture.start(&["rebuild", "webhook_events"]);
    fixture.until_unfinished("webhook_events").await;
    let running = "another rebuild or verification is running";
    fixture.hooksentry(&["rebuild", "users"]).await.failed_with(1, &[running, "PostgreSQL's process"]);
    fixture.hooksentry(&["rebuild", "--drop", "webhook_events"]).await.failed_with(1, &[running]);
    fixture.hooksentry(&["verify-projections"]).await.failed_with(2, &[running]);
    reading.rollback().await.expect("its end");
    finished(first).await.succeeded();
}

#[tokio::test]
async fn unknown_names_are_refused_before_anything_is_done() {
    let fixture = Fixture::with_events(10).await;
    let table = fixture.table("users").await;
    fixture.hooksentry(&["rebuild", "users", "accounts"]).await.failed_with(
        1,
        &["\"accounts\" is not a read model; the read models are tenants, users,", "delivery_statistics"],
    );
    fixture
        .hooksentry(&["verify-projections", "accounts"])
        .await
        .failed_with(2, &["is not a read model", "tenants"]);
    fixture
        .hooksentry(&["rebuild", "--drop", "users"])
        .await
        .failed_with(1, &["no unfinished rebuild of \"users\""]);
    assert_eq!(fixture.table("users").await, table);

    // A newer program may have renamed what an older one began to rebuild.
    fixture
        .execute(
            "CREATE SCHEMA rebuilding; CREATE TABLE rebuilding.accounts (id uuid);
             INSERT INTO rebuilds (projection, tables, made_by) VALUES ('accounts', '{accounts}', 'older')",
        )
        .await;
    let drop_it = "hooksentry rebuild --drop accounts";
    fixture.hooksentry(&["rebuild", "accounts"]).await.failed_with(1, &["is not a read model", drop_it]);
    let said = fixture.hooksentry(&["rebuild", "users"]).await.succeeded();
    assert!(said.errors.contains(drop_it), "{}", said.errors);
    fixture.hooksentry(&["rebuild", "--drop", "accounts"]).await.succeeded();
    let left = "SELECT (SELECT count(*) FROM rebuilds)
                    + (SELECT count(*) FROM pg_namespace WHERE nspname = 'rebuilding')";
    assert_eq!(fixture.number(left).await, 0);
}

#[tokio::test]
async fn a_user_who_does_not_own_the_tables_is_refused() {
    let fixture = Fixture::with_events(10).await;
    let role = format!("runtime_{:016x}", rand::random::<u64>());
    fixture
        .execute(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
        .await;
    let said = fixture.hooksentry_as(&role, &["rebuild", "users"]).await;
    said.failed_with(1, &["may not replace the tables of users", "as the owner of the database"]);
    let said = fixture.hooksentry_as(&role, &["verify-projections"]).await;
    said.failed_with(2, &["as the owner of the database"]);
}
