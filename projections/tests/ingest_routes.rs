use aggregates::destination::{DestinationFact, Stage};
use aggregates::ids::{DestinationId, SenderId};
use aggregates::sender::SenderFact;
use projections::Projection;
use projections::ingest_routes::{self, Route};
use sqlx::PgPool;

use crate::given::{ACME, Log, at, destination_registered, hash, id, sender_registered, suspended};

const HERE: &str = "https://here.example/";

fn destination() -> DestinationId {
    id(10)
}

fn sender() -> SenderId {
    id(1)
}

/// A destination with a sender.
fn registered() -> Log {
    Log::default().with(ACME, destination(), destination_registered(ACME, HERE)).with(
        ACME,
        sender(),
        sender_registered(destination(), "sender"),
    )
}

async fn route(pool: &PgPool, log: &Log, token: &str) -> Option<Route> {
    log.fold_into(pool, Projection::IngestRoutes).await;
    let mut connection = pool.acquire().await.unwrap();
    ingest_routes::by_token(&mut connection, &hash(token)).await.unwrap()
}

#[sqlx::test(migrations = "../migrations")]
async fn tokens_of_destinations_and_senders_resolve_to_the_destination(pool: PgPool) {
    let log = registered();
    let own = route(&pool, &log, HERE).await.unwrap();
    assert_eq!((own.tenant_id, own.destination_id, own.sender_id), (ACME, destination(), None));
    assert_eq!((own.mapping, own.stage), (None, Stage::Active));

    let through_sender = route(&pool, &log, "sender").await.unwrap();
    assert_eq!((through_sender.destination_id, through_sender.sender_id), (destination(), Some(sender())));
    assert_eq!(route(&pool, &log, "another").await, None);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_mapping_is_part_of_the_route_and_changes_its_version(pool: PgPool) {
    let log = registered();
    let before = route(&pool, &log, "sender").await.unwrap();
    let log = log.with(ACME, sender(), SenderFact::MappingSet { mapping: "{}".to_owned(), at: at(1) });
    let with_mapping = route(&pool, &log, "sender").await.unwrap();
    assert_eq!(with_mapping.mapping.as_deref(), Some("{}"));
    assert_ne!(with_mapping.version, before.version);

    let log = log.with(ACME, sender(), SenderFact::MappingRemoved { at: at(2) });
    let without = route(&pool, &log, "sender").await.unwrap();
    assert_eq!(without.mapping, None);
    assert_ne!(without.version, with_mapping.version);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_replaced_token_is_invalid(pool: PgPool) {
    let regenerated =
        |token: &str| DestinationFact::IngestTokenRegenerated { ingest_token_hash: hash(token), at: at(1) };
    let log = registered().with(ACME, destination(), regenerated("new")).with(
        ACME,
        sender(),
        SenderFact::SenderIngestTokenRegenerated { ingest_token_hash: hash("new sender"), at: at(1) },
    );
    assert_eq!(route(&pool, &log, HERE).await, None);
    assert_eq!(route(&pool, &log, "sender").await, None);
    assert_eq!(route(&pool, &log, "new").await.unwrap().sender_id, None);
    assert_eq!(route(&pool, &log, "new sender").await.unwrap().sender_id, Some(sender()));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_deleted_senders_token_is_invalid_and_the_destinations_stays_valid(pool: PgPool) {
    let log = registered().with(ACME, sender(), SenderFact::SenderDeleted { at: at(1) });
    assert_eq!(route(&pool, &log, "sender").await, None);
    assert!(route(&pool, &log, HERE).await.is_some());
}

#[sqlx::test(migrations = "../migrations")]
async fn the_destinations_stage_applies_to_all_its_routes_and_no_others(pool: PgPool) {
    let elsewhere = id::<DestinationId>(11);
    let log = registered().with(ACME, elsewhere, destination_registered(ACME, "https://elsewhere.example/"));
    let version = route(&pool, &log, "sender").await.unwrap().version;

    let mut log = log;
    for (fact, stage) in [
        (suspended(at(9)), Stage::Suspended),
        (DestinationFact::DestinationProbed { at: at(9) }, Stage::Probing),
        (DestinationFact::DestinationResumed { at: at(10) }, Stage::Active),
        (DestinationFact::DestinationDeactivated { at: at(11) }, Stage::Inactive),
        (DestinationFact::DestinationActivated { at: at(12) }, Stage::Active),
    ] {
        log.add(ACME, destination(), fact);
        for token in [HERE, "sender"] {
            assert_eq!(route(&pool, &log, token).await.unwrap().stage, stage, "{token}");
        }
        assert_eq!(
            route(&pool, &log, "https://elsewhere.example/").await.unwrap().stage,
            Stage::Active,
            "another destination's route"
        );
        let receives = sqlx::query_scalar!(
            r#"SELECT bool_and(receives) AS "receives!" FROM ingest_routes WHERE destination_id = $1"#,
            destination().0,
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!(receives, matches!(stage, Stage::Active | Stage::Probing));
    }
    assert_ne!(route(&pool, &log, "sender").await.unwrap().version, version);

    // A sender that is registered later starts with the stage of its destination.
    let log = log.with(ACME, destination(), DestinationFact::DestinationDeactivated { at: at(13) }).with(
        ACME,
        id::<SenderId>(2),
        sender_registered(destination(), "late"),
    );
    assert_eq!(route(&pool, &log, "late").await.unwrap().stage, Stage::Inactive);
}

#[sqlx::test(migrations = "../migrations")]
async fn changes_outside_the_route_keep_its_version(pool: PgPool) {
    let log = registered();
    let before = route(&pool, &log, HERE).await.unwrap().version;
    let url = "https://there.example/".to_owned();
    let log = log.with(ACME, destination(), DestinationFact::DestinationUrlChanged { url, at: at(1) });
    assert_eq!(route(&pool, &log, HERE).await.unwrap().version, before);
}
