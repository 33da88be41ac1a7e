//! Retention: events that are removed from the read models, and their facts in the log.

use std::time::{Duration, Instant};

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use projections::retention::{self, AcceptancePosition, Floor};
use projections::webhook_events::{self, RetentionCandidate};
use projections::{ApplyFailure, Projection, delivery_attempts, payloads};
use sqlx::{Connection, PgConnection, PgPool};

use crate::given::{
    ACME, Log, RIVAL, accepted, apply, at, attempted, events, failed_for_good, id, report, retry, started,
};
use crate::rows;

fn destination() -> DestinationId {
    id(10)
}

/// Event 1 was delivered, 2 given up, 3 cancelled, 4 waits, 5 is in progress; accepted one second apart.
fn log() -> Log {
    let mut log = Log::default();
    for event in events(1..=5) {
        let seconds = i64::try_from(event.0.as_u128()).unwrap();
        log.add(ACME, event, accepted(ACME, destination(), at(seconds)));
    }
    for event in events([1, 2, 4, 5]) {
        log.add(ACME, event, started(destination(), 1));
    }
    log.add(ACME, event(1), attempted(destination(), 1, 0, report(Outcome::Succeeded)));
    log.add(ACME, event(2), attempted(destination(), 1, 1, report(Outcome::Timeout)));
    log.add(ACME, event(2), failed_for_good(destination(), 1));
    let reason = "the queue was purged".to_owned();
    let cancelled = WebhookEventFact::Cancelled { destination_id: destination(), reason, at: at(20) };
    log.add(ACME, event(3), cancelled);
    log.add(ACME, event(4), attempted(destination(), 1, 1, report(Outcome::Timeout)));
    log.add(ACME, event(4), retry(destination(), 1, at(60)));
    log
}

fn event(number: u128) -> WebhookEventId {
    id(number)
}

fn erased() -> WebhookEventFact {
    WebhookEventFact::PayloadErased { reason: "asked to".to_owned(), requested_by: None, at: at(30) }
}

async fn remove(pool: &PgPool, ids: &[WebhookEventId]) {
    let mut connection = pool.acquire().await.unwrap();
    delivery_attempts::remove(&mut connection, ids).await.unwrap();
    assert_eq!(webhook_events::remove(&mut connection, ids).await.unwrap(), ids.len() as u64);
}

async fn raise(pool: &PgPool, seconds: i64) {
    let mut connection = pool.acquire().await.unwrap();
    retention::raise_events(&mut connection, ACME, at(seconds)).await.unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn final_events_are_found_oldest_first(pool: PgPool) {
    let mut log = log();
    log.add(RIVAL, event(9), accepted(RIVAL, destination(), at(0)));
    log.record(&pool).await;
    log.fold_into(&pool, Projection::WebhookEvents).await;
    let mut connection = pool.acquire().await.unwrap();
    let aged = |number: u128, ended| {
        let seconds = i64::try_from(number).unwrap();
        RetentionCandidate {
            id: event(number),
            destination_id: destination(),
            accepted_at: at(seconds),
            ended,
        }
    };
    let connection = &mut *connection;
    let ended = webhook_events::ended(connection, ACME, at(100), 10).await.unwrap();
    assert_eq!(ended, [aged(1, true), aged(2, true), aged(3, true)]);
    assert_eq!(webhook_events::ended(connection, ACME, at(100), 2).await.unwrap(), ended[..2]);
    assert_eq!(webhook_events::ended(connection, ACME, at(2), 10).await.unwrap(), ended[..1]);

    let all = webhook_events::candidates(connection, ACME, None, at(5), 10).await.unwrap();
    assert_eq!(all, [aged(1, true), aged(2, true), aged(3, true), aged(4, false)]);
    let after = AcceptancePosition { accepted_at: at(2), id: event(2) };
    assert_eq!(webhook_events::candidates(connection, ACME, Some(after), at(5), 1).await.unwrap(), all[2..3]);
    let after = Some(AcceptancePosition::before(at(2)));
    assert_eq!(webhook_events::candidates(connection, ACME, after, at(5), 10).await.unwrap(), all[1..]);

    // An event without a row was removed before.
    let mut among = webhook_events::ended_among(connection, &events([2, 4, 5, 77])).await.unwrap();
    among.sort_unstable_by_key(|event| event.id.0);
    assert_eq!(among.iter().map(|event| event.id).collect::<Vec<_>>(), events([2, 77]));
}

#[sqlx::test(migrations = "../migrations")]
async fn an_event_with_later_facts_in_the_log_is_not_final(pool: PgPool) {
    let shown = log();
    let replayed = WebhookEventFact::Replayed { destination_id: destination(), attempts: 1, at: at(40) };
    let log = shown.clone().with(ACME, event(2), replayed);
    log.record(&pool).await;
    shown.fold_into(&pool, Projection::WebhookEvents).await;
    raise(&pool, 100).await;
    let mut connection = pool.acquire().await.unwrap();
    let ended = webhook_events::ended(&mut connection, ACME, at(100), 10).await.unwrap();
    assert_eq!(ended.iter().map(|event| event.ended).collect::<Vec<_>>(), [true, false, true]);
    let aged = webhook_events::candidates(&mut connection, ACME, None, at(3), 10).await.unwrap();
    assert_eq!(aged.iter().map(|event| event.ended).collect::<Vec<_>>(), [true, false]);
    assert_eq!(webhook_events::ended_among(&mut connection, &events([2])).await.unwrap(), []);
}

#[sqlx::test(migrations = "../migrations")]
async fn facts_of_removed_events_are_skipped_and_others_are_folded(pool: PgPool) {
    let mut log = log();
    log.fold_into_all(&pool).await;
    remove(&pool, &events([1, 2])).await;
    raise(&pool, 3).await;
    let before = rows::all(&pool).await;
    let known = log.facts.len();
    log.add(ACME, event(1), erased());
    log.record(&pool).await;
    for projection in Projection::ALL {
        apply(&pool, projection, &log.facts[known..]).await;
    }
    assert_eq!(rows::all(&pool).await, before);

    log.add(ACME, event(2), erased());
    log.add(ACME, event(4), started(destination(), 2));
    log.record(&pool).await;
    apply(&pool, Projection::WebhookEvents, &log.facts[known..]).await;
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(webhook_events::summary(&mut connection, event(1)).await.unwrap(), None);
    let standing = webhook_events::summary(&mut connection, event(4)).await.unwrap().unwrap();
    assert_eq!(standing.status, webhook_events::EventStatus::Processing);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_missing_row_above_the_floor_halts_the_projection(pool: PgPool) {
    let mut log = log();
    log.fold_into_all(&pool).await;
    remove(&pool, &events([2, 5])).await;
    let known = log.facts.len();
    log.add(ACME, event(2), erased());
    log.add(ACME, event(5), attempted(destination(), 1, 0, report(Outcome::Succeeded)));
    log.record(&pool).await;
    let misfit = async |projection: Projection, facts: std::ops::Range<usize>| {
        let mut transaction = pool.begin().await.unwrap();
        match projection.apply(&mut transaction, &log.facts[facts]).await {
            Err(ApplyFailure::SequenceGap(misfit)) => misfit.stream_id,
            other => panic!("{other:?}"),
        }
    };
    // Without a floor, with one below it, and with another tenant's.
    assert_eq!(misfit(Projection::WebhookEvents, known..known + 1).await, event(2).0);
    raise(&pool, 2).await;
    let mut connection = pool.acquire().await.unwrap();
    retention::raise_events(&mut connection, RIVAL, at(1_000)).await.unwrap();
    assert_eq!(misfit(Projection::WebhookEvents, known..known + 1).await, event(2).0);
    assert_eq!(misfit(Projection::WebhookEvents, known + 1..known + 2).await, event(5).0);
    assert_eq!(misfit(Projection::DeliveryAttempts, known + 1..known + 2).await, event(5).0);
    raise(&pool, 3).await;
    apply(&pool, Projection::WebhookEvents, &log.facts[known..=known]).await;
    assert_eq!(misfit(Projection::WebhookEvents, known..known + 2).await, event(5).0);
}

#[sqlx::test(migrations = "../migrations")]
async fn rebuilt_read_models_have_the_same_rows(pool: PgPool) {
    let mut log = log();
    log.record(&pool).await;
    log.fold_into_all(&pool).await;
    raise(&pool, 4).await;
    remove(&pool, &events([1, 2, 3])).await;
    let known = log.facts.len();
    log.add(ACME, event(2), erased());
    log.record(&pool).await;
    for projection in Projection::ALL {
        apply(&pool, projection, &log.facts[known..]).await;
    }
    let kept = rows::all(&pool).await;

    let mut aside = aside(&pool).await;
    let mut live = pool.acquire().await.unwrap();
    for projection in [Projection::WebhookEvents, Projection::DeliveryAttempts] {
        projection.apply(&mut aside, &log.facts).await.unwrap();
    }
    assert_ne!(rows::all(&mut aside).await, kept);
    let mut removed = vec![];
    for projection in Projection::ALL {
        removed.push((projection, projection.remove_returned(&mut aside, &mut live).await.unwrap()));
    }
    removed.retain(|(_, count)| *count > 0);
    assert_eq!(removed, [(Projection::WebhookEvents, 3), (Projection::DeliveryAttempts, 2)]);
    assert_eq!(rows::all(&mut aside).await, kept);
}

/// A session with empty tables of its own in place of those that retention removes rows from. Rows are removed only in
/// transactions that are marked as appending nothing.
async fn aside(pool: &PgPool) -> PgConnection {
    let mut connection = pool.acquire().await.unwrap().detach();
    let statements = "
        CREATE SCHEMA aside;
        CREATE TABLE aside.webhook_events (LIKE public.webhook_events INCLUDING ALL);
        CREATE TABLE aside.webhook_event_counts (LIKE public.webhook_event_counts INCLUDING ALL);
        CREATE TABLE aside.webhook_event_recounts (LIKE public.webhook_event_recounts INCLUDING ALL);
        CREATE TABLE aside.delivery_attempts (LIKE public.delivery_attempts INCLUDING ALL);
        CREATE FUNCTION aside.require_mark() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NOT EXISTS (
                SELECT FROM pg_locks
                WHERE pid = pg_backend_pid()
                  AND locktype = 'advisory'
                  AND classid::bigint = hashtext('hooksentry.non_appending')::bigint & 4294967295
            ) THEN
                RAISE EXCEPTION 'the transaction holds back the readers of the log';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER is_marked AFTER DELETE ON aside.webhook_events EXECUTE FUNCTION aside.require_mark();
        CREATE TRIGGER is_marked AFTER DELETE ON aside.delivery_attempts EXECUTE FUNCTION aside.require_mark();
        SET search_path TO aside, public";
    sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
    connection
}

#[sqlx::test(migrations = "../migrations")]
async fn only_events_that_retention_removed_are_removed_from_rebuilt_rows(pool: PgPool) {
    let log = log();
    log.record(&pool).await;
    log.fold_into_all(&pool).await;
    // The live rows lack 1, which was removed; 2 may be removed, and was not; 3 is above the floor, 4 and 5
    // have not ended.
    remove(&pool, &events([1, 3, 4])).await;
    raise(&pool, 3).await;
    let mut aside = aside(&pool).await;
    let mut live = pool.acquire().await.unwrap();
    for projection in [Projection::WebhookEvents, Projection::DeliveryAttempts] {
        projection.apply(&mut aside, &log.facts).await.unwrap();
        assert_eq!(projection.remove_returned(&mut aside, &mut live).await.unwrap(), 1, "{projection:?}");
    }
    let left = webhook_events::summary(&mut aside, event(1)).await.unwrap();
    assert_eq!(left, None);
    for kept in events(2..=5) {
        assert!(webhook_events::summary(&mut aside, kept).await.unwrap().is_some(), "{kept:?}");
    }

    // Below the floor, and missing without having ended.
    raise(&pool, 100).await;
    assert_eq!(Projection::WebhookEvents.remove_returned(&mut aside, &mut live).await.unwrap(), 1);
    assert!(webhook_events::summary(&mut aside, event(3)).await.unwrap().is_none());
    assert!(webhook_events::summary(&mut aside, event(4)).await.unwrap().is_some());
}

#[sqlx::test(migrations = "../migrations")]
async fn nothing_is_removed_while_it_is_paused(pool: PgPool) {
    let mut pausing = pool.acquire().await.unwrap();
    let begun = async || {
        let mut transaction = pool.begin().await.unwrap();
        let begun = retention::begin(&mut transaction, ACME).await.unwrap();
        // Closed here and not by the pool, which may release the session's locks too late.
        transaction.rollback().await.unwrap();
        begun
    };
    assert!(begun().await);
    retention::pause(&mut pausing, Duration::from_secs(3_600)).await.unwrap();
    assert!(!begun().await);
    retention::resume(&mut pausing).await.unwrap();
    assert!(begun().await);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_pause_ends_with_a_session_that_is_idle_for_too_long(pool: PgPool) {
    let is_paused = async || {
        let mut transaction = pool.begin().await.unwrap();
        let is_paused = retention::is_paused(&mut transaction).await.unwrap();
        transaction.rollback().await.unwrap();
        is_paused
    };
    let mut pausing = PgConnection::connect_with(&pool.connect_options()).await.unwrap();
    retention::pause(&mut pausing, Duration::from_millis(500)).await.unwrap();
    assert!(is_paused().await);
    let deadline = Instant::now() + Duration::from_secs(60);
    while is_paused().await {
        assert!(Instant::now() < deadline, "a process that hangs pauses retention without limit");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(retention::resume(&mut pausing).await.is_err(), "the session has ended");
}

#[sqlx::test(migrations = "../migrations")]
async fn attempts_from_the_stream_equal_those_from_the_rows(pool: PgPool) {
    let log = log();
    log.fold_into(&pool, Projection::DeliveryAttempts).await;
    let mut scope = projections::TenantScope::begin(&pool, ACME).await.unwrap();
    for event in events(1..=5) {
        let of_event: Vec<_> =
            log.facts.iter().filter(|logged| logged.stream_id == event.0).cloned().collect();
        let page = projections::paging::Page { limit: 10, offset: 0 };
        let direction = projections::paging::Direction::Ascending;
        let listed = delivery_attempts::list(&mut scope, event, direction, page).await.unwrap();
        assert_eq!(delivery_attempts::of_stream(&of_event), listed.items);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn floors_are_by_tenant_and_never_fall(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    let connection = &mut *connection;
    assert_eq!(retention::floor(connection, ACME).await.unwrap(), Floor::default());
    let position = |seconds, number| AcceptancePosition { accepted_at: at(seconds), id: event(number) };
    for (to, reached) in [
        (position(5, 2), position(5, 2)),
        (position(5, 1), position(5, 2)),
        (position(4, 9), position(5, 2)),
        (position(5, 3), position(5, 3)),
        (position(6, 0), position(6, 0)),
    ] {
        retention::raise_payloads(connection, ACME, to).await.unwrap();
        assert_eq!(retention::floor(connection, ACME).await.unwrap().payloads, Some(reached));
    }
    for (to, reached) in [(3, 3), (2, 3), (4, 4)] {
        retention::raise_events(connection, ACME, at(to)).await.unwrap();
        let floor = retention::floor(connection, ACME).await.unwrap();
        assert_eq!(floor, Floor { payloads: Some(position(6, 0)), events_before: Some(at(reached)) });
    }
    assert_eq!(retention::floor(connection, RIVAL).await.unwrap(), Floor::default());
}

#[sqlx::test(migrations = "../migrations")]
async fn exceptions_are_listed_in_pages_and_removed(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    let connection = &mut *connection;
    retention::add_exceptions(connection, ACME, &events([3, 1, 2]), None).await.unwrap();
    retention::add_exceptions(connection, ACME, &events([2, 4]), None).await.unwrap();
    retention::add_exceptions(connection, RIVAL, &events([9]), None).await.unwrap();
    assert_eq!(retention::exceptions(connection, ACME, None, 2).await.unwrap(), events([1, 2]));
    assert_eq!(retention::exceptions(connection, ACME, Some(event(2)), 9).await.unwrap(), events([3, 4]));
    retention::remove_exceptions(connection, ACME, &events([1, 3, 9])).await.unwrap();
    assert_eq!(retention::exceptions(connection, ACME, None, 9).await.unwrap(), events([2, 4]));
    assert_eq!(retention::exceptions(connection, RIVAL, None, 9).await.unwrap(), events([9]));
}

#[sqlx::test(migrations = "../migrations")]
async fn payloads_are_measured_and_erased(pool: PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    for (event, delivered, received) in [(1, "{}", None), (2, "{\"a\":1}", Some("{\"b\":1,\"c\":2}"))] {
        sqlx::query(
            "INSERT INTO payloads (event_id, tenant_id, delivered, received) VALUES ($1, $2, $3, $4)",
        )
        .bind(uuid::Uuid::from_u128(event))
        .bind(ACME.0)
        .bind(delivered.as_bytes())
        .bind(received.map(str::as_bytes))
        .execute(&mut *connection)
        .await
        .unwrap();
    }
    sqlx::query(
        "INSERT INTO attempt_responses
         SELECT event_id, 1, tenant_id, '{}', decode(repeat('07', 32), 'hex') FROM payloads",
    )
    .execute(&mut *connection)
    .await
    .unwrap();
    let stored = payloads::stored(&mut connection, &events([1, 2, 3])).await.unwrap();
    assert_eq!(stored, [(event(1), 2), (event(2), 20)].into());
    assert!(payloads::is_there(&mut connection, event(2)).await.unwrap());
    assert_eq!(payloads::erase(&mut connection, &events([2, 3])).await.unwrap(), 1);
    assert!(!payloads::is_there(&mut connection, event(2)).await.unwrap());
    assert!(payloads::is_there(&mut connection, event(1)).await.unwrap());
    let responses: Vec<uuid::Uuid> = sqlx::query_scalar("SELECT event_id FROM attempt_responses")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    assert_eq!(responses, [event(1).0], "responses are erased with the payload");
}
