//! SQL and Rust agree about the statuses of events, and the functions of SQL do not prevent the use of indexes.

use projections::TenantScope;
use projections::webhook_events::EventStatus;
use sqlx::{Executor, PgPool};

use crate::given::ACME;

#[sqlx::test(migrations = "../migrations")]
async fn sql_and_rust_have_the_same_sets_of_statuses(pool: PgPool) {
    for status in EventStatus::ALL {
        let (is_waiting, is_final): (bool, bool) =
            sqlx::query_as("SELECT event_status_is_waiting($1), event_status_is_final($1)")
                .bind(status.number())
                .fetch_one(&pool)
                .await
                .unwrap();
        assert_eq!((is_waiting, is_final), (status.is_waiting(), status.is_final()), "{status}");
    }
}

/// Returns the plan of a query of a tenant on the only index that is left.
async fn plan_with_index(pool: &PgPool, index: &str, query: &str) -> String {
    let others: Vec<String> = sqlx::query_scalar(
        "SELECT indexname::text FROM pg_indexes
         WHERE tablename = 'webhook_events' AND indexname NOT IN ($1, 'webhook_events_pkey')",
    )
    .bind(index)
    .fetch_all(pool)
    .await
    .unwrap();
    pool.execute(format!("DROP INDEX {}", others.join(", ")).as_str()).await.unwrap();
    let mut scope = TenantScope::begin(pool, ACME).await.unwrap();
    scope.connection().execute("SET LOCAL enable_seqscan = off").await.unwrap();
    let plan: Vec<String> = sqlx::query_scalar(&format!("EXPLAIN (VERBOSE) {query}"))
        .bind(ACME.0)
        .fetch_all(scope.connection())
        .await
        .unwrap();
    plan.join("\n")
}

#[sqlx::test(migrations = "../migrations")]
async fn waiting_events_are_read_along_their_partial_index(pool: PgPool) {
    let query = "SELECT id FROM webhook_events
                 WHERE tenant_id = $1 AND public.event_status_is_waiting(status) ORDER BY destination_id, id";
    let plan = plan_with_index(&pool, "webhook_events_unfinished", query).await;
    assert!(plan.contains("webhook_events_unfinished"), "{plan}");
    assert!(!plan.contains("event_status_is_waiting"), "the function is not inlined: {plan}");
}

#[sqlx::test(migrations = "../migrations")]
async fn final_events_are_filtered_without_calling_the_function(pool: PgPool) {
    let query = "SELECT id FROM webhook_events WHERE tenant_id = $1 AND public.event_status_is_final(status)";
    let plan = plan_with_index(&pool, "webhook_events_by_status", query).await;
    assert!(plan.contains("webhook_events_by_status"), "{plan}");
    assert!(!plan.contains("event_status_is_final"), "the function is not inlined: {plan}");
}
