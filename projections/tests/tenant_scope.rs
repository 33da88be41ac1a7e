//! Row-level security, tested with queries that have no tenant condition.

use aggregates::ids::{DestinationId, UserId, WebhookEventId};
use aggregates::role::Role;
use projections::TenantScope;
use sqlx::PgPool;

use crate::given::{
    ACME, Log, RIVAL, accepted, at, destination_registered, id, started, tenant_registered, user_registered,
};

async fn two_tenants(pool: &PgPool) {
    let (ours, theirs) = (id::<DestinationId>(10), id::<DestinationId>(20));
    Log::default()
        .with(ACME, ACME, tenant_registered("Acme"))
        .with(RIVAL, RIVAL, tenant_registered("Rival"))
        .with(ACME, ours, destination_registered(ACME, "https://acme.example/"))
        .with(RIVAL, theirs, destination_registered(RIVAL, "https://rival.example/"))
        .with(ACME, id::<UserId>(1), user_registered("a@acme.example", Role::Owner))
        .with(ACME, id::<WebhookEventId>(1), accepted(ACME, ours, at(0)))
        .with(ACME, id::<WebhookEventId>(1), started(ours, 1))
        .with(RIVAL, id::<WebhookEventId>(2), accepted(RIVAL, theirs, at(0)))
        .with(RIVAL, id::<WebhookEventId>(2), started(theirs, 1))
        .fold_into_all(pool)
        .await;
    for (event, tenant) in [(1u128, ACME), (2, RIVAL)] {
        let event = id::<WebhookEventId>(event);
        sqlx::query!(
            "INSERT INTO payloads (event_id, tenant_id, delivered) VALUES ($1, $2, '{}')",
            event.0,
            tenant.0,
        )
        .execute(pool)
        .await
        .unwrap();
        sqlx::query!(
            "INSERT INTO attempt_responses VALUES ($1, 1, $2, '{}', decode(repeat('07', 32), 'hex'))",
            event.0,
            tenant.0,
        )
        .execute(pool)
        .await
        .unwrap();
        sqlx::query!(
            "INSERT INTO fact_origins (id, tenant_id, user_id) VALUES ($1, $2, $1)",
            event.0,
            tenant.0,
        )
        .execute(pool)
        .await
        .unwrap();
        sqlx::query!(
            r#"
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            VALUES
                ('WebhookEvent', $1, 1, 'EventAccepted', '1.0', '{}', json_build_object('tenantId', $2::text))
            "#,
            event.0.to_string(),
            tenant.0.to_string(),
        )
        .execute(pool)
        .await
        .unwrap();
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_query_without_a_tenant_condition_sees_only_the_scopes_tenant(pool: PgPool) {
    two_tenants(&pool).await;
    // Outside a scope such a query sees the rows of both tenants.
    let unscoped = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM webhook_events"#);
    assert_eq!(unscoped.fetch_one(&pool).await.unwrap(), 2);

    for tenant in [ACME, RIVAL] {
        let mut scope = TenantScope::begin(&pool, tenant).await.unwrap();
        let seen = sqlx::query!(
            r#"
            SELECT
                (SELECT array_agg(id) FROM tenants) AS "tenants!",
                (SELECT array_agg(tenant_id) FROM destinations) AS "destinations!",
                (SELECT array_agg(tenant_id) FROM webhook_events) AS "webhook_events!",
                (SELECT array_agg(tenant_id) FROM delivery_attempts) AS "delivery_attempts!",
                (SELECT array_agg(tenant_id) FROM payloads) AS "payloads!",
                (SELECT array_agg(tenant_id) FROM attempt_responses) AS "attempt_responses!",
                (SELECT array_agg(tenant_id) FROM fact_origins) AS "fact_origins!",
                (SELECT array_agg(tenant_id) FROM events) AS "events!"
            "#
        )
        .fetch_one(scope.connection())
        .await
        .unwrap();
        let own = vec![tenant.0];
        assert_eq!(seen.tenants, own);
        assert_eq!(seen.destinations, own);
        assert_eq!(seen.webhook_events, own);
        assert_eq!(seen.delivery_attempts, own);
        assert_eq!(seen.payloads, own);
        assert_eq!(seen.attempt_responses, own);
        assert_eq!(seen.fact_origins, own);
        assert_eq!(seen.events, own);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_scope_can_read_only_tables_with_row_level_security(pool: PgPool) {
    let open = sqlx::query_scalar!(
        r#"
        SELECT class.relname AS "table!"
        FROM pg_class AS class
        JOIN pg_namespace AS namespace ON namespace.oid = class.relnamespace
        WHERE namespace.nspname = 'public'
          AND class.relkind IN ('r', 'p')
          AND has_table_privilege('hooksentry_tenant', class.oid, 'SELECT, INSERT, UPDATE, DELETE')
          AND NOT class.relrowsecurity
        "#
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(open.is_empty(), "{open:?} are open to every tenant");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_scope_is_read_only_and_denies_tables_without_a_policy(pool: PgPool) {
    two_tenants(&pool).await;
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let refused = sqlx::query!("DELETE FROM webhook_events").execute(scope.connection()).await;
    assert!(refused.is_err());
    drop(scope);
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let refused = sqlx::query!("SELECT owner_id FROM ingest_routes").fetch_all(scope.connection()).await;
    let code = refused.unwrap_err().into_database_error().unwrap().code().map(|code| code.into_owned());
    assert_eq!(code.as_deref(), Some("42501"), "insufficient privilege");
}

#[sqlx::test(migrations = "../migrations")]
async fn a_connection_is_returned_without_the_scopes_role(pool: PgPool) {
    two_tenants(&pool).await;
    // With one connection the next user of the pool gets that of the scope.
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .connect_with((*pool.connect_options()).clone())
        .await
        .unwrap();
    let role = async || {
        sqlx::query_scalar!(r#"SELECT current_user::text AS "role!""#).fetch_one(&pool).await.unwrap()
    };
    let own = role().await;

    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let within = sqlx::query_scalar!(r#"SELECT current_user::text AS "role!""#)
        .fetch_one(scope.connection())
        .await
        .unwrap();
    assert_eq!(within, "hooksentry_tenant");
    scope.end().await.unwrap();
    assert_eq!(role().await, own);

    drop(TenantScope::begin(&pool, ACME).await.unwrap());
    assert_eq!(role().await, own);
    let all = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM webhook_events"#);
    assert_eq!(all.fetch_one(&pool).await.unwrap(), 2);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_page_and_its_total_are_of_the_same_snapshot(pool: PgPool) {
    two_tenants(&pool).await;
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let count = r#"SELECT count(*) FROM webhook_events"#;
    let before: i64 = sqlx::query_scalar(count).fetch_one(scope.connection()).await.unwrap();
    Log::default()
        .with(ACME, id::<WebhookEventId>(3), accepted(ACME, id(10), at(0)))
        .fold_into_all(&pool)
        .await;
    let after: i64 = sqlx::query_scalar(count).fetch_one(scope.connection()).await.unwrap();
    assert_eq!((before, after), (1, 1));
}
