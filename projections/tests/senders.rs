use aggregates::ids::{DestinationId, SenderId};
use aggregates::sender::SenderFact;
use projections::paging::{Direction, Page};
use projections::senders::{self, SortField};
use projections::{Projection, TenantScope};
use sqlx::PgPool;

use crate::given::{ACME, Log, at, id, sender_registered};

const MAPPING: &str = r#"{"z":"id","a":"name"}"#;

fn sender(number: u128) -> SenderId {
    id(number)
}

fn mapped() -> SenderFact {
    SenderFact::MappingSet { mapping: MAPPING.to_owned(), at: at(2) }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_mapping_is_returned_as_it_was_given(pool: PgPool) {
    let log = Log::default().with(ACME, sender(1), sender_registered(id(10), "GitHub")).with(
        ACME,
        sender(1),
        mapped(),
    );
    log.fold_into(&pool, Projection::Senders).await;
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let shown = senders::get(&mut scope, sender(1)).await.unwrap().unwrap();
    assert!(shown.has_mapping);
    assert_eq!((shown.label.as_deref(), shown.destination_id), (Some("GitHub"), id(10)));
    assert_eq!(shown.updated_at, at(2));
    assert_eq!(senders::mapping(&mut scope, sender(1)).await.unwrap().as_deref(), Some(MAPPING));
    scope.end().await.unwrap();

    log.with(ACME, sender(1), SenderFact::MappingRemoved { at: at(3) })
        .fold_into(&pool, Projection::Senders)
        .await;
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    assert!(!senders::get(&mut scope, sender(1)).await.unwrap().unwrap().has_mapping);
    assert_eq!(senders::mapping(&mut scope, sender(1)).await.unwrap(), None);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_deleted_sender_is_not_found(pool: PgPool) {
    Log::default()
        .with(ACME, sender(1), sender_registered(id(10), "GitHub"))
        .with(ACME, sender(1), mapped())
        .with(ACME, sender(1), SenderFact::SenderDeleted { at: at(4) })
        .fold_into(&pool, Projection::Senders)
        .await;
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(senders::owner_of(&mut connection, sender(1)).await.unwrap(), None);
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    assert_eq!(senders::get(&mut scope, sender(1)).await.unwrap(), None);
    assert_eq!(senders::mapping(&mut scope, sender(1)).await.unwrap(), None);
    let page = Page { limit: 10, offset: 0 };
    let listed = senders::list(&mut scope, id(10), SortField::Id, Direction::Ascending, page).await.unwrap();
    assert_eq!((listed.total, listed.items.len()), (0, 0));
}

#[sqlx::test(migrations = "../migrations")]
async fn the_senders_of_a_destination_are_sorted(pool: PgPool) {
    let (here, elsewhere) = (id::<DestinationId>(10), id::<DestinationId>(11));
    Log::default()
        .with(ACME, sender(1), sender_registered(here, "b"))
        .with(ACME, sender(2), sender_registered(here, "c"))
        .with(ACME, sender(3), sender_registered(here, "a"))
        .with(ACME, sender(4), sender_registered(elsewhere, "d"))
        .with(ACME, sender(2), mapped())
        .fold_into(&pool, Projection::Senders)
        .await;
    let listed = async |sort, direction| {
        let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
        let page = Page { limit: 2, offset: 1 };
        let listed = senders::list(&mut scope, here, sort, direction, page).await.unwrap();
        assert_eq!(listed.total, 3);
        listed.items.into_iter().map(|row| row.id.0.as_u128()).collect::<Vec<_>>()
    };
    use Direction::{Ascending, Descending};

    assert_eq!(listed(SortField::Id, Ascending).await, [2, 3]);
    assert_eq!(listed(SortField::DestinationId, Descending).await, [2, 1]);
    assert_eq!(listed(SortField::Label, Ascending).await, [1, 2]);
    assert_eq!(listed(SortField::Label, Descending).await, [1, 3]);
    assert_eq!(listed(SortField::HasMapping, Ascending).await, [3, 2]);
    assert_eq!(listed(SortField::UpdatedAt, Descending).await, [3, 1]);
}
