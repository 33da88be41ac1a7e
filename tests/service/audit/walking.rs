//! Searches of all facts, which walk along the log of all tenants.

use serde_json::Value;
use sqlx::PgPool;

use super::{page, search, types};
use crate::harness::api::Api;
use crate::harness::postgres::TestDatabase;
use crate::harness::process::Launch;
use crate::harness::tenant::User;

/// Appends facts of another tenant, one transaction for each thousand. They are older than what follows.
async fn append_foreign_facts(pool: &PgPool, thousands: u32) {
    for thousand in 0..thousands {
        sqlx::query(
            r#"INSERT INTO events
                   (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
               SELECT 'Session', gen_random_uuid(), 1, 'SessionRefreshed', '1.0', '{}',
                   '{"tenantId":"00000000-0000-0000-0000-000000000007","actor":"role:tests"}'
               FROM generate_series(1, 1000) AS number WHERE $1 >= 0"#,
        )
        .bind(i64::from(thousand))
        .execute(pool)
        .await
        .expect("facts");
    }
}

#[tokio::test]
async fn a_tenant_finds_its_facts_among_many_of_others_in_bounded_steps() {
    let database = TestDatabase::create().await;
    let pool = database.pool().await;
    let first = Launch::serve("api,projector", &database.url()).ready().await;
    let owner = User::owner(&Api::at(first.base())).await;
    // Without a projector, which would not know the facts of the other tenant.
    first.kill().await;
    append_foreign_facts(&pool, 45).await;
    let process = Launch::serve("api", &database.url()).ready().await;
    let owner = User { api: Api::at(process.base()), ..owner };

    let administration = search(&owner, "", 200).await;
    assert_eq!(types(&administration)[0], "LoggedIn");
    let all = search(&owner, "Facts=all", 200).await;
    assert_eq!(types(&all), types(&administration));
    let latest = page(&owner, "Facts=all").await;
    assert_eq!(latest["items"], Value::Array(vec![]), "the last 20,000 facts are of another tenant");
    assert!(latest["next"].is_string());
    let oldest = page(&owner, "Facts=all&TpOrd=Asc").await;
    assert_eq!(oldest["items"].as_array().map(Vec::len), Some(all.len()));

    // A range of time is found without a walk through what is not in it.
    let time = all[0]["time"].as_str().expect("a time");
    sqlx::raw_sql(
        "ALTER TABLE events DISABLE TRIGGER events_are_append_only;
         UPDATE events SET recorded_at = recorded_at + interval '1 day' WHERE aggregate_type = 'Session'
             AND event_type = 'SessionRefreshed';
         ALTER TABLE events ENABLE TRIGGER events_are_append_only",
    )
    .execute(&pool)
    .await
    .expect("a later time");
    let at_once = page(&owner, &format!("Facts=all&To={time}")).await;
    assert!(!at_once["items"].as_array().expect("items").is_empty());
    pool.close().await;
    process.kill().await;
    database.discard().await;
}
