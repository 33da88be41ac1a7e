//! Readers of the log see every fact, even of slow writers.

use std::time::Duration;

use aggregates::ids::TenantId;
use aggregates::reservation::{Reservation, ReservationCommand};
use hooksentry::event_store::held_back::HeldBack;
use hooksentry::event_store::{log_reader, mark_non_appending};
use hooksentry::{clock, identifiers};
use projections::LogPosition;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{Log, OwnServer, metadata_of};
use crate::harness::until;

/// Appends one fact within a transaction that the caller ends.
async fn append_in(connection: &mut PgConnection, stream: Uuid) -> i64 {
    sqlx::query_scalar(
        r#"INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
           VALUES ('Reservation', $1, 1, 'ReservationMade', '1.0', '{"ReservationMade":{"holder":"00000000-0000-0000-0000-000000000001","at":"2026-07-03T14:32:00Z"}}', '{}')
           RETURNING position"#,
    )
    .bind(stream.to_string())
    .fetch_one(connection)
    .await
    .expect("an append")
}

async fn append_reservation(log: &Log) -> (Uuid, LogPosition) {
    let stream = identifiers::new_id();
    let command = ReservationCommand::Reserve { holder: stream, at: clock::now() };
    let executed = log
        .store
        .execute::<Reservation>(stream, command, &metadata_of(TenantId::default()))
        .await
        .expect("a free reservation");
    (stream, executed.position.expect("a fact"))
}

/// Reads as a reader would that remembers only the highest position it has read.
async fn naive_read(connection: &mut PgConnection, after: i64) -> Vec<(i64, String)> {
    sqlx::query_as("SELECT position, aggregate_id FROM events WHERE position > $1 ORDER BY position")
        .bind(after)
        .fetch_all(connection)
        .await
        .expect("the log")
}

/// Reads a page and returns its streams, the new position, and whether the reader is held back.
async fn read(connection: &mut PgConnection, after: LogPosition) -> (Vec<String>, LogPosition, bool) {
    let page = log_reader::read_after(connection, after, 100, &[]).await.expect("the log");
    let position = page.rows.last().map_or(after, |row| row.log_position());
    (page.rows.into_iter().map(|row| row.aggregate_id).collect(), position, page.held_back)
}

#[tokio::test]
async fn a_reader_by_position_alone_loses_the_fact_of_a_slow_writer_and_ours_does_not() {
    let server = OwnServer::start().await;
    let log = Log::create_on(&server).await;
    let mut reader = log.pool.acquire().await.expect("a connection");
    let mut slow_writer = log.pool.acquire().await.expect("a connection");
    let slow = identifiers::new_id();

    let mut transaction = slow_writer.begin().await.expect("a transaction");
    let drawn_first = append_in(&mut transaction, slow).await;
    let (quick, _) = append_reservation(&log).await;

    let naive_first = naive_read(&mut reader, 0).await;
    let (checkpoint, stream) = naive_first[0].clone();
    assert_eq!((naive_first.len(), stream), (1, quick.to_string()));
    assert!(checkpoint > drawn_first, "the slow writer drew its position first");
    let (ours_first, position, held_back) = read(&mut reader, LogPosition::default()).await;
    assert_eq!((ours_first, held_back), (vec![], true), "it waits for the slow writer");

    transaction.commit().await.expect("a commit, at last");

    assert_eq!(naive_read(&mut reader, checkpoint).await, [], "the slow writer's fact is lost");
    let (ours, _, held_back) = read(&mut reader, position).await;
    assert_eq!(ours, [slow.to_string(), quick.to_string()]);
    assert!(!held_back);
    drop((reader, slow_writer));
    log.discard().await;
}

/// The cost of it: any transaction in the database holds readers back, unless it is marked as appending nothing.
#[tokio::test]
async fn any_transaction_that_writes_holds_readers_back_until_it_ends() {
    let server = OwnServer::start().await;
    let log = Log::create_on(&server).await;
    let mut other = PgConnection::connect(&log.database.url()).await.expect("the database");
    let mut transaction = other.begin().await.expect("a transaction");
    sqlx::query("CREATE TABLE gadgets ()").execute(&mut *transaction).await.expect("a table");

    let (stream, _) = append_reservation(&log).await;
    let mut reader = log.pool.acquire().await.expect("a connection");
    let page = log_reader::read_after(&mut reader, LogPosition::default(), 100, &[]).await.expect("the log");
    assert!(page.rows.is_empty() && page.held_back);
    let mut held_back = HeldBack::new("test");
    let first_wait = held_back.after(&page).expect("a pause, because no notification will follow");
    let second_wait = held_back.after(&page).expect("another pause");
    assert!(second_wait > first_wait);
    // It stays so, however often the reader looks for transactions that it need not wait for.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        held_back.look(&mut reader).await.expect("the server's own view");
    }
    assert!(held_back.elsewhere().is_empty());

    transaction.rollback().await.expect("a rollback");
    let page = log_reader::read_after(&mut reader, LogPosition::default(), 100, &[]).await.expect("the log");
    assert_eq!(page.rows[0].aggregate_id, stream.to_string());
    assert_eq!(held_back.after(&page), None);
    drop((reader, other));
    log.discard().await;
}

/// The reader needs no privilege to see where they run.
#[tokio::test]
async fn transactions_of_another_database_hold_readers_back_for_a_moment_only() {
    let server = OwnServer::start().await;
    let log = Log::create_on(&server).await;
    let elsewhere = server.create_database().await;
    let mut other = PgConnection::connect(&elsewhere.url()).await.expect("another database");
    let mut transaction = other.begin().await.expect("a transaction");
    sqlx::query("CREATE TABLE gadgets ()").execute(&mut *transaction).await.expect("a table");

    let (stream, _) = append_reservation(&log).await;
    let mut reader = log.pool.acquire().await.expect("a connection");
    let statements = "CREATE ROLE plain BYPASSRLS;
        GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain;
        SET ROLE plain";
    sqlx::raw_sql(statements).execute(&mut *reader).await.expect("a role without privileges");
    let mut held_back = HeldBack::new("test");
    let barrier = log_reader::barrier(&mut reader).await.expect("a barrier");
    let page = until("a page", async || {
        let elsewhere = held_back.elsewhere();
        let page = log_reader::read_after(&mut reader, LogPosition::default(), 100, elsewhere).await;
        let page = page.expect("the log");
        held_back.after(&page);
        held_back.look(&mut reader).await.expect("the server's own view");
        (!page.held_back).then_some(page)
    })
    .await;
    assert_eq!(page.rows[0].aggregate_id, stream.to_string());
    assert!(log_reader::horizon(&mut reader, &[]).await.expect("a horizon") < barrier);
    assert!(log_reader::horizon(&mut reader, held_back.elsewhere()).await.expect("a horizon") >= barrier);

    transaction.rollback().await.expect("a rollback");
    drop((reader, other));
    elsewhere.discard().await;
    log.discard().await;
}

/// Other transactions that may append still hold readers back.
#[tokio::test]
async fn a_transaction_marked_as_non_appending_holds_no_reader_back() {
    let server = OwnServer::start().await;
    let log = Log::create_on(&server).await;
    let mut reader = log.pool.acquire().await.expect("a connection");
    let mut marked_connection = log.pool.acquire().await.expect("a connection");
    let mut slow_writer = log.pool.acquire().await.expect("a connection");
    let mut marked = marked_connection.begin().await.expect("a transaction");
    mark_non_appending(&mut marked).await.expect("a lock");

    let (first, _) = append_reservation(&log).await;
    let (streams, position, held_back) = read(&mut reader, LogPosition::default()).await;
    assert_eq!((streams, held_back), (vec![first.to_string()], false));

    let slow = identifiers::new_id();
    let mut appending = slow_writer.begin().await.expect("a transaction");
    append_in(&mut appending, slow).await;
    let mut younger = log.pool.begin().await.expect("a transaction");
    mark_non_appending(&mut younger).await.expect("a lock");
    let (quick, _) = append_reservation(&log).await;
    let (streams, _, held_back) = read(&mut reader, position).await;
    assert_eq!((streams, held_back), (vec![], true), "an append between the two does hold it back");

    appending.commit().await.expect("a commit");
    let (streams, _, held_back) = read(&mut reader, position).await;
    assert_eq!((streams, held_back), (vec![slow.to_string(), quick.to_string()], false));
    for transaction in [marked, younger] {
        transaction.rollback().await.expect("a rollback");
    }
    drop((reader, marked_connection, slow_writer));
    log.discard().await;
}

#[tokio::test]
async fn a_reader_that_has_reached_the_barrier_has_read_all_ended_transactions() {
    let server = OwnServer::start().await;
    let log = Log::create_on(&server).await;
    let mut reader = log.pool.acquire().await.expect("a connection");
    let mut writer = log.pool.acquire().await.expect("a connection");
    let slow = identifiers::new_id();

    let mut transaction = writer.begin().await.expect("a transaction");
    append_in(&mut transaction, slow).await;
    let (quick, _) = append_reservation(&log).await;
    let barrier = log_reader::barrier(&mut reader).await.expect("a barrier");
    assert!(log_reader::horizon(&mut reader, &[]).await.expect("a horizon") < barrier);
    transaction.commit().await.expect("a commit");
    assert!(log_reader::horizon(&mut reader, &[]).await.expect("a horizon") >= barrier);
    let (streams, _, _) = read(&mut reader, LogPosition::default()).await;
    assert_eq!(streams, [slow.to_string(), quick.to_string()]);
    drop((reader, writer));
    log.discard().await;
}

/// The query for the first fact that must not be read yet does not scan the facts that a reader far behind
/// still has to read.
#[tokio::test]
async fn a_reader_far_behind_scans_its_page_only() {
    let log = Log::create().await;
    sqlx::query(
        r#"INSERT INTO events
               (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, transaction_id)
           SELECT 'Reservation', gen_random_uuid()::text, 1, 'ReservationMade', '1.0', '{}', '{}', (1 + number / 100)::text::xid8
           FROM generate_series(1, 20000) AS number"#,
    )
    .execute(&log.pool)
    .await
    .expect("a long log");
    let mut reading = log.pool.begin().await.expect("a transaction, for its own counts");
    let page = log_reader::read_after(&mut reading, LogPosition::default(), 10, &[]).await.expect("the log");
    let scanned: i64 = sqlx::query_scalar(
        "SELECT (seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables WHERE relname = 'events'",
    )
    .fetch_one(&mut *reading)
    .await
    .expect("a count");
    assert_eq!((page.rows.len(), page.held_back), (10, false));
    assert!((10..=11).contains(&scanned), "{scanned} rows");
    reading.rollback().await.expect("a rollback");
    log.discard().await;
}

#[tokio::test]
async fn pages_of_any_size_hold_every_fact_once_and_in_order() {
    let server = OwnServer::start().await;
    let log = Log::create_on(&server).await;
    let mut written = vec![];
    for _ in 0..5 {
        // Registering a destination with a tenant is several streams; each reservation is one.
        let tenant = log.register_tenant().await;
        let destination = log.register_destination(tenant).await;
        let (reservation, _) = append_reservation(&log).await;
        written.extend([tenant.0, destination.0, reservation]);
    }
    let written: Vec<String> = written.iter().map(Uuid::to_string).collect();
    let mut reader = log.pool.acquire().await.expect("a connection");
    for rows_max in [1, 2, 7, 100] {
        let (mut position, mut streams) = (LogPosition::default(), vec![]);
        loop {
            let page = log_reader::read_after(&mut reader, position, rows_max, &[]).await.expect("the log");
            let Some(last) = page.rows.last() else { break };
            assert!(last.log_position() > position);
            position = last.log_position();
            streams.extend(page.rows.into_iter().map(|row| row.aggregate_id));
        }
        assert_eq!(streams, written, "in pages of {rows_max}");
    }
    drop(reader);
    log.discard().await;
}

#[tokio::test]
async fn an_append_returns_the_position_of_its_last_fact() {
    let server = OwnServer::start().await;
    let log = Log::create_on(&server).await;
    let (_, position) = append_reservation(&log).await;
    let mut reader = log.pool.acquire().await.expect("a connection");
    let page = log_reader::read_after(&mut reader, LogPosition::default(), 100, &[]).await.expect("the log");
    assert_eq!(page.rows.last().map(|row| row.log_position()), Some(position));
    drop(reader);
    log.discard().await;
}
