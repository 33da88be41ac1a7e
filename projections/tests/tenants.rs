use aggregates::tenant::{Resilience, TenantFact};
use projections::{Projection, TenantScope, tenants};
use sqlx::PgPool;

use crate::given::{ACME, Log, RIVAL, at, secret, tenant_registered};

#[sqlx::test(migrations = "../migrations")]
async fn a_tenant_is_shown_as_its_facts_left_it(pool: PgPool) {
    let resilience = Resilience { max_trys: 3, circuit_breaker_timer: 60 };
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
