use aggregates::ids::{DestinationId, PortalLinkId};
use aggregates::portal_link::{PortalAccess, PortalLinkFact};
use aggregates::tenant::TenantFact;
use projections::paging::{Direction, Page};
use projections::portal_links::{self, Filter, SortField, UnrevokedPortalLink};
use projections::{Projection, TenantScope};
use sqlx::PgPool;

use crate::given::{ACME, Log, RIVAL, at, hash, id, tenant_registered};

/// Seconds from the epoch of the tests to a time that is in the future, or before it in the past, when they run.
const FAR: i64 = 1_000_000_000;

fn created(label: &str, destination: u128) -> PortalLinkFact {
    PortalLinkFact::PortalLinkCreated {
        tenant_id: ACME,
        destination_id: id(destination),
        access: PortalAccess::Operate,
        label: label.to_owned(),
        token_hash: hash(label),
        expires_at: at(FAR),
        at: at(0),
    }
}

fn link(number: u128) -> PortalLinkId {
    id(number)
}

#[sqlx::test(migrations = "../migrations")]
async fn a_link_is_found_by_its_hash_until_it_is_revoked(pool: PgPool) {
    let log = Log::default().with(ACME, link(1), created("one", 9));
    log.fold_into(&pool, Projection::PortalLinks).await;
    let mut connection = pool.acquire().await.unwrap();
    let found = portal_links::by_hash(&mut connection, &hash("one")).await.unwrap();
    let unrevoked = |tenant_is_suspended| UnrevokedPortalLink {
        id: link(1),
        tenant_id: ACME,
        destination_id: id(9),
        access: PortalAccess::Operate,
        expires_at: at(FAR),
        tenant_is_suspended,
    };
    assert_eq!(found, Some(unrevoked(false)));
    assert_eq!(portal_links::owner_of(&mut connection, link(1)).await.unwrap(), Some(ACME));

    let suspended = TenantFact::TenantSuspended { reason: "spam".to_owned(), at: at(1) };
    let tenant = Log::default().with(ACME, ACME, tenant_registered("Acme")).with(ACME, ACME, suspended);
    tenant.fold_into(&pool, Projection::Tenants).await;
    let found = portal_links::by_hash(&mut connection, &hash("one")).await.unwrap();
    assert_eq!(found, Some(unrevoked(true)));

    // The row is behind the log: the revocation is in force all the same.
    let revocation =
        sqlx::query("INSERT INTO revocations (stream_id, version) VALUES ($1, 2)").bind(link(1).0);
    revocation.execute(&pool).await.unwrap();
    assert_eq!(portal_links::by_hash(&mut connection, &hash("one")).await.unwrap(), None);

    log.with(ACME, link(1), PortalLinkFact::PortalLinkRevoked { at: at(3) })
        .fold_into(&pool, Projection::PortalLinks)
        .await;
    assert_eq!(portal_links::by_hash(&mut connection, &hash("one")).await.unwrap(), None);
    assert_eq!(portal_links::owner_of(&mut connection, link(1)).await.unwrap(), None);
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let shown = portal_links::get(&mut scope, link(1)).await.unwrap().unwrap();
    assert_eq!((shown.label.as_str(), shown.revoked_at), ("one", Some(at(3))));
    scope.end().await.unwrap();
    let mut scope = TenantScope::begin(&pool, RIVAL).await.unwrap();
    assert_eq!(portal_links::get(&mut scope, link(1)).await.unwrap(), None);
}

#[sqlx::test(migrations = "../migrations")]
async fn links_are_filtered_and_sorted(pool: PgPool) {
    let long_ago = PortalLinkFact::PortalLinkCreated {
        tenant_id: ACME,
        destination_id: id(9),
        access: PortalAccess::Read,
        label: "expired".to_owned(),
        token_hash: hash("expired"),
        expires_at: at(-FAR),
        at: at(-FAR - 60),
    };
    Log::default()
        .with(ACME, link(1), created("b", 9))
        .with(ACME, link(2), created("c", 9))
        .with(ACME, link(3), created("a", 8))
        .with(ACME, link(4), long_ago)
        .with(ACME, link(2), PortalLinkFact::PortalLinkRevoked { at: at(3) })
        .fold_into(&pool, Projection::PortalLinks)
        .await;
    let listed = async |filter: Filter, sort, direction| {
        let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
        let page = Page { limit: 2, offset: 0 };
        let listed = portal_links::list(&mut scope, filter, sort, direction, page).await.unwrap();
        let ids = listed.items.into_iter().map(|link| link.id.0.as_u128()).collect::<Vec<_>>();
        (listed.total, ids)
    };
    use Direction::{Ascending, Descending};

    let all = Filter::default();
    assert_eq!(listed(all, SortField::Id, Descending).await, (4, vec![4, 3]));
    assert_eq!(listed(all, SortField::Label, Ascending).await, (4, vec![3, 1]));
    assert_eq!(listed(all, SortField::ExpiresAt, Ascending).await.1[0], 4);
    let active = |active| Filter { active: Some(active), ..all };
    assert_eq!(listed(active(true), SortField::Id, Ascending).await, (2, vec![1, 3]));
    assert_eq!(listed(active(false), SortField::Id, Ascending).await, (2, vec![2, 4]));
    let of = |number| Filter { destination: Some(id::<DestinationId>(number)), ..all };
    assert_eq!(listed(of(8), SortField::Id, Ascending).await, (1, vec![3]));
}
