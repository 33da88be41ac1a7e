//! Facts that do not follow from the rows are refused.

use aggregates::attempt_outcome::Outcome;
use aggregates::destination::DestinationFact;
use aggregates::ids::{DestinationId, SenderId, UserId, WebhookEventId};
use aggregates::role::Role;
use aggregates::user::UserFact;
use projections::{ApplyFailure, LoggedFact, Projection};
use sqlx::PgPool;
use uuid::Uuid;

use crate::given::{
    ACME, Log, accepted, at, attempted, destination_registered, id, report, sender_registered, started,
    user_registered,
};
use crate::rows;

/// Returns the stream, the version of the fact and the version of the row.
async fn gap(pool: &PgPool, projection: Projection, facts: &[LoggedFact]) -> (Uuid, u64, Option<i64>) {
    let mut transaction = pool.begin().await.unwrap();
    let failure = projection.apply(&mut transaction, facts).await.unwrap_err();
    transaction.rollback().await.unwrap();
    match failure {
        ApplyFailure::SequenceGap(gap) => (gap.stream_id, gap.sequence, gap.row_version),
        failure => panic!("{failure}"),
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_missing_fact_is_noticed(pool: PgPool) {
    let user = id::<UserId>(1);
    let log = Log::default()
        .with(ACME, user, user_registered("a@acme.example", Role::Viewer))
        .with(ACME, user, UserFact::UserDeactivated { at: at(1) })
        .with(ACME, user, UserFact::UserActivated { at: at(2) });
    let gapped = [log.facts[0].clone(), log.facts[2].clone()];
    assert_eq!(gap(&pool, Projection::Users, &gapped).await, (user.0, 3, Some(1)));
    assert_eq!(gap(&pool, Projection::Users, &log.facts[1..]).await, (user.0, 2, None));
}

#[sqlx::test(migrations = "../migrations")]
async fn a_stream_without_its_beginning_is_refused_by_every_projection(pool: PgPool) {
    let (destination, event) = (id::<DestinationId>(10), id::<WebhookEventId>(1));
    let log = Log::default()
        .with(ACME, event, accepted(ACME, destination, at(0)))
        .with(ACME, event, started(destination, 1))
        .with(ACME, event, attempted(destination, 1, 0, report(Outcome::Succeeded)));
    assert_eq!(gap(&pool, Projection::WebhookEvents, &log.facts[1..]).await, (event.0, 2, None));
    assert_eq!(gap(&pool, Projection::DeliveryAttempts, &log.facts[2..]).await, (event.0, 3, None));
    assert_eq!(gap(&pool, Projection::DeliveryStatistics, &log.facts[2..]).await, (event.0, 3, None));

    let sender = id::<SenderId>(1);
    let orphan = Log::default().with(ACME, sender, sender_registered(destination, "s"));
    assert_eq!(gap(&pool, Projection::IngestRoutes, &orphan.facts).await, (sender.0, 1, None));

    let log = Log::default()
        .with(ACME, destination, destination_registered(ACME, "https://a.example/"))
        .with(ACME, destination, DestinationFact::OutboundAuthRemoved { at: at(1) });
    for projection in [Projection::Destinations, Projection::IngestRoutes] {
        assert_eq!(gap(&pool, projection, &log.facts[1..]).await, (destination.0, 2, None));
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn facts_of_other_aggregates_are_skipped(pool: PgPool) {
    // Only the projection of users needs the beginning of a user's stream.
    let user = id::<UserId>(1);
    let log = Log::default().with(ACME, user, user_registered("a@acme.example", Role::Viewer)).with(
        ACME,
        user,
        UserFact::UserDeactivated { at: at(1) },
    );
    for projection in Projection::ALL.into_iter().filter(|projection| *projection != Projection::Users) {
        let mut connection = pool.acquire().await.unwrap();
        projection.apply(&mut connection, &log.facts[1..]).await.unwrap();
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn facts_change_rows_only_of_projections_that_declare_their_aggregate(pool: PgPool) {
    let (destination, event) = (id::<DestinationId>(10), id::<WebhookEventId>(2));
    let log = Log::default()
        .with(ACME, id::<UserId>(1), user_registered("a@acme.example", Role::Viewer))
        .with(ACME, destination, destination_registered(ACME, "https://a.example/"))
        .with(ACME, id::<SenderId>(3), sender_registered(destination, "s"))
        .with(ACME, event, accepted(ACME, destination, at(0)))
        .with(ACME, event, started(destination, 1));
    for projection in Projection::ALL {
        for fact in &log.facts {
            let before = rows::all(&pool).await;
            let mut connection = pool.acquire().await.unwrap();
            projection.apply(&mut connection, std::slice::from_ref(fact)).await.unwrap();
            let changed = rows::all(&pool).await != before;
            if changed {
                assert!(projection.folds(fact.fact.aggregate_type()), "{projection:?} {fact:?}");
            }
        }
    }
}
