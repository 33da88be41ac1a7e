//! Appends: in order of versions, to all streams or to none, and immutable.

use aggregates::destination::{Destination, DestinationCommand};
use aggregates::ids::TenantId;
use aggregates::reservation::{Reservation, ReservationFact};
use aggregates::tenant::{Tenant, TenantCommand, TenantState};
use fault_proxy::{Direction, Fault, Scope};
use futures::future::join_all;
use hooksentry::event_store::{AppendFailure, EventStore, LogNotifier, StreamAppend};
use hooksentry::{clock, identifiers};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::{Log, metadata_of, token};
use crate::harness::postgres::lose_facts;
use crate::harness::proxy::proxied;
use crate::harness::until;

/// An append of one fact; the log does not check whether the aggregate would decide it.
fn reservation(stream: Uuid, expected_version: u64) -> StreamAppend {
    let facts = [ReservationFact::ReservationMade { holder: stream, at: clock::now() }];
    let metadata = metadata_of(TenantId::default());
    StreamAppend::new::<Reservation>(stream, expected_version, &facts, &metadata).expect("a fact")
}

#[tokio::test]
async fn facts_cannot_be_updated_deleted_or_truncated() {
    let log = Log::create().await;
    log.register_tenant().await;
    let before = log.facts().await;
    for statement in [
        "UPDATE events SET payload = '{}'",
        "UPDATE events SET event_type = 'Forged' WHERE false",
        "DELETE FROM events",
        "TRUNCATE events",
        "TRUNCATE events CASCADE",
        "WITH gone AS (DELETE FROM events RETURNING *) SELECT * FROM gone",
        "INSERT INTO events SELECT * FROM events ON CONFLICT DO NOTHING",
        "MERGE INTO events USING (SELECT 1) AS one ON true WHEN MATCHED THEN DELETE",
    ] {
        let refusal = sqlx::raw_sql(statement).execute(&log.pool).await;
        assert!(refusal.is_err(), "{statement} succeeded");
    }
    assert_eq!(log.facts().await, before);
    log.discard().await;
}

#[tokio::test]
async fn a_stream_has_versions_from_one_and_a_tenant() {
    let log = Log::create().await;
    let tenant = log.register_tenant().await;
    let facts = log.facts().await;
    assert_eq!((facts.len(), facts[0].sequence, &facts[0].stream), (1, 1, &tenant.0.to_string()));
    let of: Option<Uuid> =
        sqlx::query_scalar("SELECT tenant_id FROM events").fetch_one(&log.pool).await.expect("the log");
    assert_eq!(of, Some(tenant.0));
    let zero = sqlx::query("INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) VALUES ('Reservation', 'x', 0, 'ReservationMade', '1.0', '{}', '{}')")
        .execute(&log.pool)
        .await;
    assert!(zero.is_err(), "there is no version 0");
    log.discard().await;
}

#[tokio::test]
async fn an_aggregate_is_loaded_in_its_last_state() {
    let log = Log::create().await;
    let id = log.register_tenant().await;
    let rename = TenantCommand::Rename { name: "Umbrella".to_owned(), at: clock::now() };
    let executed =
        log.store.execute::<Tenant>(id.0, rename.clone(), &metadata_of(id)).await.expect("another name");
    assert_eq!(executed.facts.len(), 1);
    let loaded = log.store.load::<Tenant>(id.0).await.expect("the tenant");
    assert_eq!((loaded.version, &loaded.state), (2, &executed.state));
    assert!(matches!(loaded.state, Tenant::Registered(TenantState { name, .. }) if name == "Umbrella"));

    let again = log.store.execute::<Tenant>(id.0, rename, &metadata_of(id)).await.expect("the same name");
    assert!(again.facts.is_empty() && again.position.is_none());
    let unknown = log.store.load::<Tenant>(identifiers::new_id()).await.expect("nothing");
    assert_eq!((unknown.version, unknown.state), (0, Tenant::Unknown));
    log.discard().await;
}

#[tokio::test]
async fn a_command_is_decided_again_after_a_conflict() {
    let log = Log::create().await;
    let tenant = log.register_tenant().await;
    let id = log.register_destination(tenant).await;
    let (metadata, at) = (metadata_of(tenant), clock::now());
    let commands = (0..4).map(|number| {
        let ingest_token_hash = token(&format!("token {number}"));
        let command = DestinationCommand::RegenerateIngestToken { ingest_token_hash, at };
        log.store.execute::<Destination>(id.0, command, &metadata)
    });
    for executed in join_all(commands).await {
        executed.expect("success after some conflicts");
    }
    assert_eq!(log.store.load::<Destination>(id.0).await.expect("the destination").version, 5);
    log.discard().await;
}

#[tokio::test]
async fn several_streams_are_appended_to_together_or_not_at_all() {
    let log = Log::create().await;
    let [first, taken, last] = [(); 3].map(|()| identifiers::new_id());
    log.store.append(&[reservation(taken, 0)]).await.expect("the first append");
    let before = log.facts().await;

    for appends in [
        vec![reservation(first, 0), reservation(taken, 0), reservation(last, 0)],
        vec![reservation(taken, 0), reservation(first, 0)],
        vec![reservation(first, 0), reservation(first, 0)],
    ] {
        let failure = log.store.append(&appends).await.expect_err("a version that is taken");
        assert!(matches!(failure, AppendFailure::Conflict), "{failure:?}");
    }
    assert_eq!(log.facts().await, before);

    let position =
        log.store.append(&[reservation(first, 0), reservation(taken, 1), reservation(last, 0)]).await;
    assert!(position.expect("free versions").is_some());
    let facts = log.facts().await;
    assert_eq!(facts.len(), 4);
    assert!(facts[1..].iter().all(|fact| fact.transaction == facts[1].transaction));
    log.discard().await;
}

#[tokio::test]
async fn an_append_must_follow_the_last_fact_of_its_stream() {
    let log = Log::create().await;
    let [stream, other] = [(); 2].map(|()| identifiers::new_id());
    for version in 0..3 {
        log.store.append(&[reservation(stream, version)]).await.expect("the next version");
    }
    lose_facts(&log.pool, "sequence >= 2").await;
    for appends in [
        vec![reservation(stream, 3)],
        vec![reservation(other, 0), reservation(stream, 3)],
        vec![reservation(other, 1)],
    ] {
        let failure = log.store.append(&appends).await.expect_err("a predecessor that is missing");
        assert!(matches!(failure, AppendFailure::Conflict), "{failure:?}");
    }
    assert_eq!(log.facts().await.len(), 1);
    log.store.append(&[reservation(stream, 1)]).await.expect("the version after the last one");
    log.discard().await;
}

#[tokio::test]
async fn of_many_concurrent_appends_that_reserve_a_name_one_is_stored_completely() {
    let log = Log::create().await;
    let name = Reservation::on_tenant_name("Acme");
    let tenants: Vec<Uuid> = (0..16).map(|_| identifiers::new_id()).collect();
    let appends: Vec<_> =
        tenants.iter().map(|tenant| [reservation(*tenant, 0), reservation(name, 0)]).collect();
    let results = join_all(appends.iter().map(|appends| log.store.append(appends))).await;
    let winners: Vec<_> =
        results.iter().zip(&tenants).filter(|(result, _)| result.is_ok()).map(|(_, tenant)| tenant).collect();
    assert_eq!(winners.len(), 1);
    for failure in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(failure, AppendFailure::Conflict), "{failure:?}");
    }
    let streams: Vec<String> = log.facts().await.into_iter().map(|fact| fact.stream).collect();
    assert_eq!(streams, [winners[0].to_string(), name.to_string()]);
    log.discard().await;
}

/// Each has appended to the stream that the other needs next: PostgreSQL aborts one of them.
#[tokio::test]
async fn of_two_deadlocked_appends_one_is_a_conflict() {
    let log = Log::create().await;
    let [left, right, gate, other_gate] = [(); 4].map(|()| identifiers::new_id());
    let mut holding = log.pool.begin().await.expect("a transaction");
    for stream in [gate, other_gate] {
        sqlx::query("INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) VALUES ('Reservation', $1, 1, 'ReservationMade', '1.0', '{}', '{}')")
            .bind(stream.to_string())
            .execute(&mut *holding)
            .await
            .expect("an append");
    }
    let one = [reservation(left, 0), reservation(gate, 0), reservation(right, 0)];
    let other = [reservation(right, 0), reservation(other_gate, 0), reservation(left, 0)];
    let (one, other, ()) = tokio::join!(log.store.append(&one), log.store.append(&other), async {
        log.until_waiting(2).await;
        holding.rollback().await.expect("a rollback");
    });
    let (winner, loser) = if one.is_ok() { (one, other) } else { (other, one) };
    assert!(winner.is_ok());
    assert!(matches!(loser, Err(AppendFailure::Conflict)), "{loser:?}");
    assert_eq!(log.facts().await.len(), 3);
    log.discard().await;
}

#[tokio::test]
async fn readers_are_notified_of_an_append_and_not_of_an_empty_one() {
    let log = Log::create().await;
    let notified = log.store.notifier().subscribe();
    log.store.append(&[]).await.expect("nothing to do");
    assert!(!notified.has_changed().expect("a sender"));
    log.store.append(&[reservation(identifiers::new_id(), 0)]).await.expect("an append");
    assert!(notified.has_changed().expect("a sender"));
    log.discard().await;
}

#[tokio::test]
async fn an_append_leaves_no_transaction_open_when_its_process_stops() {
    let log = Log::create().await;
    let through_proxy = proxied(&log.database.url()).await;
    let options = PgPoolOptions::new().max_connections(1).test_before_acquire(false);
    let pool = options.connect(&through_proxy.url).await.expect("the test database");
    let store = EventStore::new(pool.clone(), LogNotifier::within_process());
    let stream = identifiers::new_id();
    store.append(&[reservation(stream, 0)]).await.expect("an append that prepares the statement");

    until("the connection to be idle", async || (pool.num_idle() == 1).then_some(())).await;
    // The process sends nothing more after what it has sent without an answer.
    through_proxy.proxy.set(Scope::Existing, Direction::ToClient, Fault::Swallow);
    let append = [reservation(stream, 1)];
    let stored =
        until("the fact to be committed", async || (log.stream(stream).await.len() == 2).then_some(()));
    tokio::select! {
        _ = store.append(&append) => panic!("an answer that was swallowed"),
        () = stored => {}
    }
    log.discard().await;
}
