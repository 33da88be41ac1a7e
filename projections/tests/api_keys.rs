use aggregates::api_key::ApiKeyFact;
use aggregates::ids::ApiKeyId;
use aggregates::tenant::TenantFact;
use projections::api_keys::{self, ActiveApiKey, Filter, SortField};
use projections::paging::{Direction, Page};
use projections::{Projection, TenantScope};
use sqlx::PgPool;

use crate::given::{ACME, Log, at, hash, id, tenant_registered};

fn issued(name: &str) -> ApiKeyFact {
    ApiKeyFact::ApiKeyIssued { tenant_id: ACME, name: name.to_owned(), key_hash: hash(name), at: at(0) }
}

fn key(number: u128) -> ApiKeyId {
    id(number)
}

#[sqlx::test(migrations = "../migrations")]
async fn a_key_is_found_by_its_hash_until_it_is_revoked(pool: PgPool) {
    let log = Log::default().with(ACME, key(1), issued("one"));
    log.fold_into(&pool, Projection::ApiKeys).await;
    let mut connection = pool.acquire().await.unwrap();
    let found = api_keys::by_hash(&mut connection, &hash("one")).await.unwrap();
    let active = |tenant_is_suspended| ActiveApiKey { id: key(1), tenant_id: ACME, tenant_is_suspended };
    assert_eq!(found, Some(active(false)));
    assert_eq!(api_keys::owner_of(&mut connection, key(1)).await.unwrap(), Some(ACME));

    let suspended = TenantFact::TenantSuspended { reason: "spam".to_owned(), at: at(1) };
    let tenant = Log::default().with(ACME, ACME, tenant_registered("Acme")).with(ACME, ACME, suspended);
    tenant.fold_into(&pool, Projection::Tenants).await;
    let found = api_keys::by_hash(&mut connection, &hash("one")).await.unwrap();
    assert_eq!(found, Some(active(true)));

    log.with(ACME, key(1), ApiKeyFact::ApiKeyRevoked { at: at(3) })
        .fold_into(&pool, Projection::ApiKeys)
        .await;
    assert_eq!(api_keys::by_hash(&mut connection, &hash("one")).await.unwrap(), None);
    assert_eq!(api_keys::owner_of(&mut connection, key(1)).await.unwrap(), None);
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let shown = api_keys::get(&mut scope, key(1)).await.unwrap().unwrap();
    assert_eq!((shown.created_at, shown.revoked_at), (at(0), Some(at(3))));
}

#[sqlx::test(migrations = "../migrations")]
async fn keys_are_filtered_and_sorted(pool: PgPool) {
    Log::default()
        .with(ACME, key(1), issued("b"))
        .with(ACME, key(2), issued("c"))
        .with(ACME, key(3), issued("a"))
        .with(ACME, key(2), ApiKeyFact::ApiKeyRevoked { at: at(3) })
        .fold_into(&pool, Projection::ApiKeys)
        .await;
    let listed = async |active: Option<bool>, sort, direction| {
        let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
        let page = Page { limit: 2, offset: 0 };
        let listed = api_keys::list(&mut scope, Filter { active }, sort, direction, page).await.unwrap();
        let ids = listed.items.into_iter().map(|key| key.id.0.as_u128()).collect::<Vec<_>>();
        (listed.total, ids)
    };
    use Direction::{Ascending, Descending};

    assert_eq!(listed(None, SortField::Id, Descending).await, (3, vec![3, 2]));
    assert_eq!(listed(None, SortField::Name, Ascending).await, (3, vec![3, 1]));
    assert_eq!(listed(None, SortField::IsActive, Ascending).await, (3, vec![2, 1]));
    assert_eq!(listed(None, SortField::RevokedAt, Ascending).await, (3, vec![2, 1]));
    assert_eq!(listed(None, SortField::RevokedAt, Descending).await, (3, vec![3, 1]));
    assert_eq!(listed(None, SortField::CreatedAt, Descending).await, (3, vec![3, 2]));
    assert_eq!(listed(Some(true), SortField::Id, Ascending).await, (2, vec![1, 3]));
    assert_eq!(listed(Some(false), SortField::Id, Ascending).await, (1, vec![2]));
}
