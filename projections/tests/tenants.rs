use aggregates::ids::TenantId;
use aggregates::tenant::{Resilience, Retention, TenantFact};
use projections::{Projection, TenantScope, tenants};
use sqlx::PgPool;

use crate::given::{ACME, Log, RIVAL, at, id, secret, tenant_registered};

#[sqlx::test(migrations = "../migrations")]
async fn a_tenant_has_the_state_after_its_facts(pool: PgPool) {
    let resilience = Resilience { max_attempts: 3, circuit_breaker_timer: 60 };
    Log::default()
        .with(ACME, ACME, tenant_registered("Acme"))
        .with(ACME, ACME, TenantFact::TenantRenamed { name: "Acme Inc".to_owned(), at: at(1) })
        .with(ACME, ACME, TenantFact::ResilienceChanged { resilience, at: at(2) })
        .fold_into(&pool, Projection::Tenants)
        .await;

    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let tenant = tenants::get(&mut scope).await.unwrap().unwrap();
    assert_eq!(tenant.id, ACME);
    assert_eq!(tenant.name, "Acme Inc");
    assert_eq!(tenant.resilience, resilience);
    assert_eq!(tenant.webhook_secret, secret("first"));
    assert_eq!((tenant.created_at, tenant.updated_at), (at(0), at(2)));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_tenant_exists_once_it_is_registered(pool: PgPool) {
    Log::default().with(ACME, ACME, tenant_registered("Acme")).fold_into(&pool, Projection::Tenants).await;

    let mut connection = pool.acquire().await.unwrap();
    assert!(tenants::exists(&mut connection, ACME).await.unwrap());
    assert!(!tenants::exists(&mut connection, RIVAL).await.unwrap());
}

#[sqlx::test(migrations = "../migrations")]
async fn a_tenant_is_suspended_until_it_is_resumed(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(tenants::is_suspended(&mut connection, ACME).await.unwrap(), None);
    let suspended = TenantFact::TenantSuspended { reason: "spam".to_owned(), at: at(1) };
    let log = Log::default().with(ACME, ACME, tenant_registered("Acme")).with(ACME, ACME, suspended);
    log.fold_into(&pool, Projection::Tenants).await;
    assert_eq!(tenants::is_suspended(&mut connection, ACME).await.unwrap(), Some(true));
    let reason = sqlx::query_scalar("SELECT suspension_reason FROM tenants WHERE suspended_at = $1");
    let reason: String = reason.bind(at(1)).fetch_one(&pool).await.unwrap();
    assert_eq!(reason, "spam");
    log.with(ACME, ACME, TenantFact::TenantResumed { at: at(2) }).fold_into(&pool, Projection::Tenants).await;
    assert_eq!(tenants::is_suspended(&mut connection, ACME).await.unwrap(), Some(false));
}

#[sqlx::test(migrations = "../migrations")]
async fn tenants_with_a_limited_retention_are_found(pool: PgPool) {
    let changed = |payload_days, event_days, seconds| TenantFact::RetentionChanged {
        retention: Retention { payload_days, event_days },
        at: at(seconds),
    };
    let tenants: Vec<TenantId> = (1..=4).map(id).collect();
    let mut log = Log::default();
    for tenant in &tenants {
        log.add(*tenant, *tenant, tenant_registered("Acme"));
    }
    log.add(tenants[0], tenants[0], changed(Some(7), None, 1));
    log.add(tenants[1], tenants[1], changed(None, Some(30), 1));
    log.add(tenants[3], tenants[3], changed(Some(7), Some(30), 1));
    log.add(tenants[3], tenants[3], changed(None, None, 2));
    log.fold_into(&pool, Projection::Tenants).await;
    let mut connection = pool.acquire().await.unwrap();
    let of = |number: usize, payload_days, event_days| tenants::TenantWithRetention {
        id: tenants[number],
        retention: Retention { payload_days, event_days },
    };
    let all = [of(0, Some(7), None), of(1, None, Some(30))];
    assert_eq!(tenants::with_retention(&mut connection, None, 9).await.unwrap(), all);
    assert_eq!(tenants::with_retention(&mut connection, None, 1).await.unwrap(), all[..1]);
    assert_eq!(tenants::with_retention(&mut connection, Some(tenants[0]), 9).await.unwrap(), all[1..]);
    let mut scope = TenantScope::begin(&pool, tenants[3]).await.unwrap();
    let unlimited = tenants::get(&mut scope).await.unwrap().unwrap();
    assert_eq!((unlimited.retention, unlimited.updated_at), (Retention::default(), at(2)));
}
