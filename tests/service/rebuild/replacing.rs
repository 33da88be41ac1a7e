//! Rebuilt tables equal the live ones in everything except the table itself.

use projections::{Projection, TenantScope};
use sqlx::Row;

use crate::harness::log_fixture::Fixture;
use crate::harness::process::finished;
use crate::harness::until;

/// All that the catalog says about the read models' tables, but for ids.
async fn described(fixture: &Fixture) -> Vec<String> {
    let tables: Vec<String> = Projection::ALL
        .iter()
        .flat_map(|projection| projection.tables())
        .map(|&name| name.to_owned())
        .collect();
    let rows = sqlx::query(
        r#"
        SELECT concat_ws(' ', c.relname, reloptions::text, relrowsecurity, relpersistence, relacl::text) AS line
        FROM pg_class AS c WHERE relnamespace = 'public'::regnamespace AND relname = ANY($1)
        UNION ALL
        SELECT concat_ws(' ', tablename, indexname, indexdef)
        FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY($1)
        UNION ALL
        SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid), condeferrable)
        FROM pg_constraint WHERE conrelid = ANY($1::regclass[])
        UNION ALL
        SELECT concat_ws(' ', tablename, policyname, permissive, roles::text, cmd, qual, with_check)
        FROM pg_policies WHERE schemaname = 'public' AND tablename = ANY($1)
        UNION ALL
        SELECT concat_ws(
            ' ', table_name, ordinal_position, column_name, data_type, is_nullable, column_default,
            generation_expression
        )
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name = ANY($1)
        ORDER BY 1
        "#,
    )
    .bind(&tables)
    .fetch_all(&fixture.pool)
    .await
    .expect("the catalog");
    rows.iter().map(|row| row.get("line")).collect()
}

#[tokio::test]
async fn new_tables_equal_the_old_ones_and_keep_row_level_security() {
    let fixture = Fixture::with_events(40).await;
    // What docker/runtime-role.sql gives to the service.
    let role = format!("runtime_{:016x}", rand::random::<u64>());
    fixture
        .execute(&format!(
            "CREATE ROLE {role};
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
             CREATE POLICY of_the_service ON webhook_events TO {role} USING (true) WITH CHECK (true)"
        ))
        .await;
    let before = described(&fixture).await;
    let tables_before = fixture.table("webhook_events").await;
    // Its prepared statements were made for the old tables.
    let seen = async |tenant: u128| {
        let mut scope = TenantScope::begin(&fixture.pool, Fixture::tenant(tenant)).await.expect("a scope");
        let of_all: (i64, i64) = sqlx::query_as(
            "SELECT (SELECT count(*) FROM webhook_events), (SELECT count(*) FROM delivery_attempts)",
        )
        .fetch_one(scope.connection())
        .await
        .expect("an answer");
        scope.end().await.expect("its end");
        of_all
    };
    for tenant in 1..=2 {
        assert_eq!(seen(tenant).await, (20, 20));
    }
    for _ in 0..2 {
        fixture.hooksentry(&["rebuild", "--all"]).await.succeeded();
        assert_ne!(fixture.table("webhook_events").await, tables_before);
        assert_eq!(described(&fixture).await, before);
        for (tenant, shown) in [(1, 20), (2, 20), (3, 0)] {
            assert_eq!(seen(tenant).await, (shown, shown));
        }
    }
    let mut as_service = fixture.pool.begin().await.expect("a transaction");
    sqlx::query(&format!("SET LOCAL ROLE {role}")).execute(&mut *as_service).await.expect("a role");
    let shown: i64 = sqlx::query_scalar("SELECT count(*) FROM webhook_events")
        .fetch_one(&mut *as_service)
        .await
        .expect("a right to read");
    assert_eq!(shown, 40);
}

#[tokio::test]
async fn a_reader_with_an_older_snapshot_finds_all_of_its_rows() {
    let fixture = Fixture::with_events(10).await;
    let table = fixture.table("delivery_attempts").await;
    // It has its snapshot and has not read the table, so it holds no lock on it.
    let mut reading = fixture
        .pool
        .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await
        .expect("a transaction");
    sqlx::query("SELECT 1 FROM tenants").fetch_all(&mut *reading).await.expect("a snapshot");

    let rebuilding = fixture.start(&["rebuild", "delivery_attempts"]);
    let held = "SELECT count(*) FROM checkpoints WHERE held_until > clock_timestamp()";
    for _ in 0..2 {
        until("a hold to begin", async || (fixture.number(held).await > 0).then_some(())).await;
        until("a hold to end", async || (fixture.number(held).await == 0).then_some(())).await;
    }
    assert_eq!(fixture.table("delivery_attempts").await, table);
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM delivery_attempts")
        .fetch_one(&mut *reading)
        .await
        .expect("an answer");
    assert_eq!(seen, 10);
    reading.rollback().await.expect("its end");
    finished(rebuilding).await.succeeded();
    assert_ne!(fixture.table("delivery_attempts").await, table);
}

#[tokio::test]
async fn a_halted_read_model_is_rebuilt_and_its_projector_continues() {
    let fixture = Fixture::on_own_server().await;
    // Simulates a faulty fold, which is repaired below.
    fixture
        .execute(
            "ALTER TABLE users ADD CONSTRAINT no_second CHECK (id <> '00000000-0000-0000-0000-000000000002')",
        )
        .await;
    let projector = fixture.start_projector();
    for number in 1..=3 {
        fixture.insert_registered_user(number).await;
    }
    fixture.until_shown().await;
    let halted = "SELECT count(*) FROM checkpoints WHERE halted_because IS NOT NULL";
    until("users to halt", async || (fixture.number(halted).await == 1).then_some(())).await;
    fixture.hooksentry(&["rebuild", "users"]).await.failed_with(1, &["users cannot be folded", "no_second"]);
    assert_eq!(fixture.number("SELECT count(*) FROM users").await, 1, "live rows are as they were");

    fixture.execute("ALTER TABLE users DROP CONSTRAINT no_second").await;
    fixture.hooksentry(&["rebuild", "users"]).await.succeeded();
    assert_eq!(fixture.number(halted).await, 0);
    assert_eq!(fixture.number("SELECT count(*) FROM users").await, 3);
    fixture.insert_registered_user(4).await;
    until("the projector to go on", async || {
        (fixture.number("SELECT count(*) FROM users").await == 4).then_some(())
    })
    .await;
    projector.stop().await;
    fixture.hooksentry(&["verify-projections"]).await.succeeded();
}

#[tokio::test]
async fn a_table_with_a_dependent_view_is_not_replaced() {
    let fixture = Fixture::with_events(5).await;
    let table = fixture.table("users").await;
    fixture.execute("CREATE VIEW living AS SELECT id FROM users WHERE deleted_at IS NULL").await;
    let said = fixture.hooksentry(&["rebuild", "users"]).await;
    said.failed_with(1, &["the tables of users cannot be replaced", "the view living shows users"]);
    assert_eq!(fixture.table("users").await, table);
    fixture.hooksentry(&["verify-projections", "users"]).await.succeeded();
}
