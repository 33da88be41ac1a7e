//! Facts that are stored in older forms are read by all readers of the log.

use aggregates::fact::Fact;
use aggregates::ids::TenantId;
use aggregates::tenant::{Retention, Tenant, TenantCommand, TenantFact};
use hooksentry::clock;
use hooksentry::event_store::{EventStore, LogNotifier, Metadata, log_reader, stream_reader};
use projections::{LogPosition, LoggedFact, Projection, TenantScope, tenants};
use sqlx::PgPool;
use uuid::Uuid;

use crate::harness::postgres::OwnServer;

const TENANT: Uuid = Uuid::from_u128(0xacae);

/// A fact written before retention existed.
const REGISTERED: &str =
    include_str!("../../../aggregates/tests/stored_facts/Tenant.TenantRegistered.v1.json");

async fn store(pool: &PgPool, sequence: i64, version: &str, payload: &str) {
    sqlx::query(
        "
        INSERT INTO events
            (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
        VALUES ('Tenant', $1, $2, 'TenantRegistered', $3, $4::json, json_build_object('tenantId', $1))
        ",
    )
    .bind(TENANT.to_string())
    .bind(sequence)
    .bind(version)
    .bind(payload)
    .execute(pool)
    .await
    .expect("a stored fact");
}

#[tokio::test]
async fn an_older_form_is_read_by_all_readers_of_the_log() {
    let server = OwnServer::start().await;
    let pool = server.create_database().await.pool().await;
    store(&pool, 1, "1.0", REGISTERED).await;
    let events = EventStore::new(pool.clone(), LogNotifier::within_process());

    let loaded = events.load::<Tenant>(TENANT).await.expect("a tenant");
    let Tenant::Registered(account) = &loaded.state else { panic!("{loaded:?}") };
    assert_eq!((account.name.as_str(), account.retention), ("Acme Inc", Retention::default()));

    let mut connection = pool.acquire().await.expect("a connection");
    let followed =
        log_reader::read_after(&mut connection, LogPosition::default(), 10, &[]).await.expect("the log");
    let of_stream = stream_reader::read::<Tenant>(&mut connection, TENANT).await.expect("the stream");
    for rows in [followed.rows, of_stream] {
        let facts: Vec<LoggedFact> =
            rows.into_iter().map(|row| row.try_into().expect("a fact that can be read")).collect();
        let [LoggedFact { fact: Fact::Tenant(fact), .. }] = facts.as_slice() else { panic!("{facts:?}") };
        assert!(
            matches!(fact, TenantFact::TenantRegistered { retention, .. } if *retention == Retention::default())
        );
        Projection::Tenants.apply(&mut connection, &facts).await.expect("a tenant");
    }
    let mut scope = TenantScope::begin(&pool, TenantId(TENANT)).await.expect("a scope");
    assert_eq!(tenants::get(&mut scope).await.expect("an answer").expect("a tenant").name, "Acme Inc");
    drop(scope);

    // The stored fact is not changed; new facts have the current form.
    let retention = Retention { payload_days: Some(7), event_days: None };
    let change = TenantCommand::ChangeRetention { retention, at: clock::now() };
    let metadata = Metadata::of_role(TenantId(TENANT), "test");
    events.execute::<Tenant>(TENANT, change, &metadata).await.expect("a change");
    let written: Vec<(String, String)> =
        sqlx::query_as("SELECT event_type, event_version FROM events ORDER BY sequence")
            .fetch_all(&pool)
            .await
            .expect("the log");
    let stored = |name: &str, version: &str| (name.to_owned(), version.to_owned());
    assert_eq!(written, [stored("TenantRegistered", "1.0"), stored("RetentionChanged", "1.0")]);
}

#[tokio::test]
async fn a_newer_form_is_refused_by_all_readers_of_the_log() {
    let server = OwnServer::start().await;
    let pool = server.create_database().await.pool().await;
    let today = REGISTERED.replace("\"webhookSecret\"", "\"retention\": {}, \"webhookSecret\"");
    store(&pool, 1, "3.0", &today).await;
    let events = EventStore::new(pool.clone(), LogNotifier::within_process());
    events.load::<Tenant>(TENANT).await.expect_err("an unknown form");
    let mut connection = pool.acquire().await.expect("a connection");
    let rows = stream_reader::read::<Tenant>(&mut connection, TENANT).await.expect("the stream");
    let unreadable = LoggedFact::try_from(rows[0].clone()).expect_err("an unknown form");
    assert!(unreadable.to_string().contains("cannot be read"), "{unreadable}");
    let cause = std::error::Error::source(&unreadable).expect("a cause").to_string();
    assert_eq!(
        cause,
        "TenantRegistered is stored in version 3.0, which this version of the program does not know"
    );
}
