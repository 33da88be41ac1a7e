//! A rebuild is stopped, killed, started twice, and told names that there are not.

use super::fixture::{Ground, ended, interrupt};
use crate::harness::until;

#[tokio::test]
async fn an_interrupted_rebuild_leaves_live_rows_alone_and_is_gone_on_with() {
    let ground = Ground::with_events(3_000).await;
    let table = ground.table("webhook_events").await;
    // It cannot take its place for now, so it can be met half built however fast it is.
    let reading = ground.read_on("webhook_events").await;

    let rebuilding = ground.start(&["rebuild", "webhook_events"]);
    ground.until_half_built("webhook_events").await;
    interrupt(&rebuilding).await;
    ended(rebuilding).await.with(1, &["interrupted", "goes on where this ended", "rebuild --drop NAME"]);
    assert_eq!(ground.table("webhook_events").await, table);
    let reached = ground.until_half_built("webhook_events").await;

    // Killed, it leaves the same behind; its session may need a moment to end.
    let mut rebuilding = until("the session to end", async || {
        let mut rebuilding = ground.start(&["rebuild", "webhook_events"]);
        let held = "SELECT count(*) FROM checkpoints WHERE held_until > now()";
        loop {
            if ground.number(held).await > 0 {
                return Some(rebuilding);
            }
            if rebuilding.try_wait().expect("a child of ours").is_some() {
                ended(rebuilding).await.with(1, &["is under way"]);
                return None;
            }
        }
    })
    .await;
    rebuilding.kill().await.expect("a child of ours");
    assert_eq!(ground.table("webhook_events").await, table);
    assert!(ground.until_half_built("webhook_events").await >= reached);
    reading.rollback().await.expect("its end");

    let said = until("the session to end", async || {
        let said = ground.hooksentry(&["rebuild", "webhook_events"]).await;
        (!said.errors.contains("is under way")).then_some(said)
    })
    .await
    .well();
    assert!(said.errors.contains("webhook_events: goes on where it was left"), "{}", said.errors);
    assert_ne!(ground.table("webhook_events").await, table);
    assert_eq!(ground.number("SELECT count(*) FROM webhook_events").await, 3_000);
    assert_eq!(ground.number("SELECT count(*) FROM rebuilds").await, 0);
    ground.hooksentry(&["verify-projections"]).await.well();
}

#[tokio::test]
async fn what_another_program_began_or_another_schema_asked_for_is_begun_anew() {
    let ground = Ground::with_events(200).await;
    for change in [
        "UPDATE rebuilds SET made_by = replace(made_by, 'program ', 'program 0')",
        "ALTER TABLE webhook_events ADD COLUMN colour text DEFAULT 'grey'",
        "DROP TABLE rebuilding.webhook_events",
    ] {
        let reading = ground.read_on("webhook_events").await;
        let rebuilding = ground.start(&["rebuild", "webhook_events"]);
        ground.until_half_built("webhook_events").await;
        interrupt(&rebuilding).await;
        ended(rebuilding).await.with(1, &["interrupted"]);
        reading.rollback().await.expect("its end");

        ground.execute(change).await;
        let said = ground.hooksentry(&["rebuild", "webhook_events"]).await.well();
        assert!(said.errors.contains("webhook_events: begun"), "{change}: {}", said.errors);
        assert_eq!(ground.number("SELECT sum(version)::bigint FROM webhook_events").await, 600);
    }
    let coloured = "SELECT count(*) FROM webhook_events WHERE colour = 'grey'";
    assert_eq!(ground.number(coloured).await, 200, "the new rows have the new column");
}

#[tokio::test]
async fn one_runs_at_a_time() {
    let ground = Ground::with_events(10).await;
    let reading = ground.read_on("webhook_events").await;
    let first = ground.start(&["rebuild", "webhook_events"]);
    ground.until_half_built("webhook_events").await;
    let under_way = "another rebuild or verification is under way";
    ground.hooksentry(&["rebuild", "users"]).await.with(1, &[under_way, "PostgreSQL's process"]);
    ground.hooksentry(&["rebuild", "--drop", "webhook_events"]).await.with(1, &[under_way]);
    ground.hooksentry(&["verify-projections"]).await.with(2, &[under_way]);
    reading.rollback().await.expect("its end");
    ended(first).await.well();
}

#[tokio::test]
async fn unknown_names_are_refused_before_anything_is_done() {
    let ground = Ground::with_events(10).await;
    let table = ground.table("users").await;
    ground
        .hooksentry(&["rebuild", "users", "accounts"])
        .await
        .with(1, &["no read model is called \"accounts\", only tenants, users,", "delivery_statistics"]);
    ground.hooksentry(&["verify-projections", "accounts"]).await.with(2, &["no read model", "tenants"]);
    ground.hooksentry(&["rebuild", "--drop", "users"]).await.with(1, &["nothing half built of \"users\""]);
    assert_eq!(ground.table("users").await, table);

    // A newer program may have renamed what an older one began to rebuild.
    ground
        .execute(
            "CREATE SCHEMA rebuilding; CREATE TABLE rebuilding.accounts (id uuid);
             INSERT INTO rebuilds (projection, tables, made_by) VALUES ('accounts', '{accounts}', 'older')",
        )
        .await;
    let drop_it = "hooksentry rebuild --drop accounts";
    ground.hooksentry(&["rebuild", "accounts"]).await.with(1, &["no read model is called", drop_it]);
    let said = ground.hooksentry(&["rebuild", "users"]).await.well();
    assert!(said.errors.contains(drop_it), "{}", said.errors);
    ground.hooksentry(&["rebuild", "--drop", "accounts"]).await.well();
    let left = "SELECT (SELECT count(*) FROM rebuilds)
                    + (SELECT count(*) FROM pg_namespace WHERE nspname = 'rebuilding')";
    assert_eq!(ground.number(left).await, 0);
}

#[tokio::test]
async fn who_does_not_own_the_tables_is_told_so() {
    let ground = Ground::with_events(10).await;
    let role = format!("runtime_{:016x}", rand::random::<u64>());
    ground
        .execute(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"))
        .await;
    let said = ground.hooksentry_as(&role, &["rebuild", "users"]).await;
    said.with(1, &["may not replace the tables of users", "as the owner of the database"]);
    let said = ground.hooksentry_as(&role, &["verify-projections"]).await;
    said.with(2, &["as the owner of the database"]);
}
