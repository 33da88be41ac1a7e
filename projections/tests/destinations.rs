use aggregates::destination::{AuthType, DestinationFact, Stage};
use aggregates::ids::DestinationId;
use projections::destinations::{self, Destination, DestinationStatus, Filter, SortField};
use projections::paging::{Direction, Page};
use projections::{Projection, TenantScope};
use sqlx::PgPool;

use crate::given::{ACME, Log, RIVAL, at, auth, destination_registered, hash, id, suspended};

fn destination(number: u128) -> DestinationId {
    id(number)
}

async fn shown(pool: &PgPool, log: &Log) -> Destination {
    log.fold_into(pool, Projection::Destinations).await;
    let mut scope = TenantScope::begin(pool, ACME).await.unwrap();
    destinations::get(&mut scope, destination(1)).await.unwrap().unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn a_destination_has_the_state_after_its_facts(pool: PgPool) {
    let log = Log::default().with(ACME, destination(1), destination_registered(ACME, "https://a.example/"));
    let first = shown(&pool, &log).await;
    assert_eq!((first.url.as_str(), first.concurrency_limit), ("https://a.example/", 5));
    assert_eq!((first.auth_type, first.stage, first.version), (None, Stage::Active, 1));

    let url = "https://b.example/".to_owned();
    let log = log
        .with(ACME, destination(1), DestinationFact::DestinationUrlChanged { url, at: at(1) })
        .with(
            ACME,
            destination(1),
            DestinationFact::OutboundAuthConfigured { auth: auth(AuthType::BasicAuth, "x"), at: at(2) },
        )
        .with(
            ACME,
            destination(1),
            DestinationFact::IngestTokenRegenerated { ingest_token_hash: hash("t"), at: at(3) },
        );
    let changed = shown(&pool, &log).await;
    assert_eq!((changed.url.as_str(), changed.auth_type), ("https://b.example/", Some(AuthType::BasicAuth)));
    assert_eq!((changed.created_at, changed.updated_at, changed.version), (at(0), at(3), 4));

    let log = log.with(ACME, destination(1), DestinationFact::OutboundAuthRemoved { at: at(4) });
    assert_eq!(shown(&pool, &log).await.auth_type, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn the_circuit_breaker_sets_stage_and_next_check(pool: PgPool) {
    let log = Log::default()
        .with(ACME, destination(1), destination_registered(ACME, "https://a.example/"))
        .with(ACME, destination(1), suspended(at(300)));
    let open = shown(&pool, &log).await;
    assert_eq!((open.stage, open.next_check_at), (Stage::Suspended, Some(at(300))));

    let log = log.with(ACME, destination(1), DestinationFact::DestinationProbed { at: at(300) });
    let half_open = shown(&pool, &log).await;
    assert_eq!((half_open.stage, half_open.next_check_at), (Stage::Probing, None));
    assert_eq!(DestinationStatus::from(half_open.stage), DestinationStatus::Active);

    let log = log.with(ACME, destination(1), DestinationFact::DestinationResumed { at: at(301) });
    assert_eq!(shown(&pool, &log).await.stage, Stage::Active);
    let log = log.with(ACME, destination(1), DestinationFact::DestinationDeactivated { at: at(302) });
    assert_eq!(shown(&pool, &log).await.stage, Stage::Inactive);
    let log = log.with(ACME, destination(1), DestinationFact::DestinationActivated { at: at(303) });
    assert_eq!(shown(&pool, &log).await.stage, Stage::Active);
}

#[sqlx::test(migrations = "../migrations")]
async fn destinations_are_filtered_and_sorted(pool: PgPool) {
    Log::default()
        .with(ACME, destination(1), destination_registered(ACME, "https://b.example/"))
        .with(ACME, destination(2), destination_registered(ACME, "https://c.example/"))
        .with(ACME, destination(3), destination_registered(ACME, "https://a.example/"))
        .with(ACME, destination(4), destination_registered(ACME, "https://d.example/"))
        .with(RIVAL, destination(5), destination_registered(RIVAL, "https://e.example/"))
        .with(ACME, destination(1), suspended(at(300)))
        .with(ACME, destination(2), DestinationFact::DestinationDeactivated { at: at(2) })
        .with(ACME, destination(4), suspended(at(300)))
        .with(ACME, destination(4), DestinationFact::DestinationProbed { at: at(4) })
        .with(
            ACME,
            destination(3),
            DestinationFact::OutboundAuthConfigured { auth: auth(AuthType::BasicAuth, "x"), at: at(5) },
        )
        .with(
            ACME,
            destination(2),
            DestinationFact::ConcurrencyLimitChanged { concurrency_limit: 50, at: at(6) },
        )
        .fold_into(&pool, Projection::Destinations)
        .await;
    let listed = async |status: Option<DestinationStatus>, sort, direction| {
        let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
        let page = Page { limit: 10, offset: 0 };
        let listed = destinations::list(&mut scope, Filter { status }, sort, direction, page).await.unwrap();
        assert_eq!(usize::try_from(listed.total), Ok(listed.items.len()));
        listed.items.into_iter().map(|row| row.id.0.as_u128()).collect::<Vec<_>>()
    };
    use Direction::{Ascending, Descending};

    assert_eq!(listed(None, SortField::Id, Descending).await, [4, 3, 2, 1]);
    assert_eq!(listed(None, SortField::Url, Ascending).await, [3, 1, 2, 4]);
    // Active 0 (a probed one is active), Inactive 1, Suspended 2.
    assert_eq!(listed(None, SortField::Status, Ascending).await, [3, 4, 2, 1]);
    assert_eq!(listed(None, SortField::ServerRateLimit, Descending).await, [2, 4, 3, 1]);
    assert_eq!(listed(None, SortField::AuthType, Ascending).await, [3, 1, 2, 4]);
    assert_eq!(listed(None, SortField::AuthType, Descending).await, [4, 2, 1, 3]);
    assert_eq!(listed(None, SortField::UpdatedAt, Ascending).await, [1, 4, 3, 2]);
    assert_eq!(listed(Some(DestinationStatus::Active), SortField::Id, Ascending).await, [3, 4]);
    assert_eq!(listed(Some(DestinationStatus::Inactive), SortField::Id, Ascending).await, [2]);
    assert_eq!(listed(Some(DestinationStatus::Suspended), SortField::Id, Ascending).await, [1]);

    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(destinations::owner_of(&mut connection, destination(5)).await.unwrap(), Some(RIVAL));
    assert_eq!(destinations::owner_of(&mut connection, destination(6)).await.unwrap(), None);
}
