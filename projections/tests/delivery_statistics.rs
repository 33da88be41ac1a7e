use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventFact;
use aggregates_testing::attempted;
use chrono::{DateTime, TimeDelta, Utc};
use projections::delivery_statistics::{self, Bucket, Counts, Interval};
use projections::{Projection, TenantScope};
use sqlx::PgPool;

use crate::given::{ACME, Log, RIVAL, accepted, apply, at, id, started};
use crate::rows;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

fn destination() -> DestinationId {
    id(10)
}

fn other_destination() -> DestinationId {
    id(20)
}

fn event(number: u128) -> WebhookEventId {
    id(number)
}

/// The end of an attempt at a time.
fn ended(destination_id: DestinationId, outcome: Outcome, at: DateTime<Utc>) -> WebhookEventFact {
    attempted().destination(destination_id).outcome(outcome).at(at).fact()
}

fn given_up(at: DateTime<Utc>) -> WebhookEventFact {
    WebhookEventFact::CriticalFailure { destination_id: destination(), failed_attempts: 1, at }
}

fn replayed(at: DateTime<Utc>) -> WebhookEventFact {
    WebhookEventFact::Replayed { destination_id: destination(), attempts: 1, at }
}

async fn buckets(
    pool: &PgPool,
    tenant: TenantId,
    destination_id: Option<DestinationId>,
    interval: Interval,
) -> Vec<Bucket> {
    let mut scope = TenantScope::begin(pool, tenant).await.unwrap();
    delivery_statistics::list(&mut scope, destination_id, interval, at(-DAY), at(30 * DAY)).await.unwrap()
}

/// The sum of all counts.
async fn total(pool: &PgPool, tenant: TenantId, destination_id: Option<DestinationId>) -> Counts {
    let mut totals = [Interval::Hour, Interval::Day].map(|_| Counts::default());
    for (total, interval) in totals.iter_mut().zip(Interval::ALL) {
        for bucket in buckets(pool, tenant, destination_id, interval).await {
            total.add(&bucket.counts);
        }
    }
    let [by_hour, by_day] = totals;
    assert_eq!(by_hour, by_day);
    by_day
}

/// One of each: delivered, failed and given up and delivered after a replay, cancelled, waiting.
fn busy_day() -> Log {
    let (ours, other) = (destination(), other_destination());
    Log::default()
        .with(ACME, event(1), accepted(ACME, ours, at(0)))
        .with(ACME, event(2), accepted(ACME, other, at(5)))
        .with(ACME, event(1), started(ours, 1))
        .with(ACME, event(1), ended(ours, Outcome::Succeeded, at(2)))
        .with(ACME, event(2), ended(other, Outcome::Timeout, at(40)))
        .with(ACME, event(2), ended(other, Outcome::Unknown, at(50)))
        .with(ACME, event(3), accepted(ACME, ours, at(2 * HOUR)))
        .with(ACME, event(3), ended(ours, Outcome::RefusedStatus, at(3 * HOUR)))
        .with(ACME, event(3), given_up(at(3 * HOUR)))
        .with(
            ACME,
            event(2),
            WebhookEventFact::Cancelled { destination_id: other, reason: "purged".to_owned(), at: at(60) },
        )
        .with(ACME, event(3), replayed(at(2 * DAY)))
        .with(ACME, event(3), ended(ours, Outcome::Succeeded, at(2 * DAY + 8)))
        .with(RIVAL, event(4), accepted(RIVAL, id(30), at(0)))
}

#[sqlx::test(migrations = "../migrations")]
async fn facts_are_counted_by_their_destination_and_time(pool: PgPool) {
    busy_day().fold_into(&pool, Projection::DeliveryStatistics).await;

    let all = total(&pool, ACME, None).await;
    assert_eq!((all.accepted, all.succeeded, all.failed_attempts), (3, 2, 2));
    assert_eq!((all.critical_failures, all.cancelled, all.replayed), (1, 1, 1));
    let ours = total(&pool, ACME, Some(destination())).await;
    assert_eq!((ours.accepted, ours.succeeded, ours.failed_attempts, ours.cancelled), (2, 2, 1, 0));
    let other = total(&pool, ACME, Some(other_destination())).await;
    assert_eq!((other.accepted, other.succeeded, other.failed_attempts, other.cancelled), (1, 0, 1, 1));
    for unknown in [99, 0] {
        assert_eq!(total(&pool, ACME, Some(id(unknown))).await, Counts::default());
    }

    let hours = buckets(&pool, ACME, Some(destination()), Interval::Hour).await;
    let starts: Vec<_> = hours.iter().map(|bucket| bucket.starts_at).collect();
    assert_eq!(starts, [0, 2 * HOUR, 3 * HOUR, 2 * DAY].map(|time| Interval::Hour.start(at(time))));
    let counts: Vec<_> =
        hours.iter().map(|bucket| (bucket.counts.accepted, bucket.counts.succeeded)).collect();
    assert_eq!(counts, [(1, 1), (1, 0), (0, 0), (0, 1)]);
    let days = buckets(&pool, ACME, None, Interval::Day).await;
    let starts: Vec<_> = days.iter().map(|bucket| bucket.starts_at).collect();
    assert_eq!(starts, [0, 2 * DAY].map(|time| Interval::Day.start(at(time))));
}

#[sqlx::test(migrations = "../migrations")]
async fn the_hours_of_several_destinations_are_read_at_once(pool: PgPool) {
    busy_day().fold_into(&pool, Projection::DeliveryStatistics).await;
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let ids = [other_destination(), destination(), id(30), id(99)];
    let mut read = async |from, to| {
        let hours = delivery_statistics::by_destination(&mut scope, &ids, at(from), at(to)).await.unwrap();
        let counts = hours.iter().map(|hour| {
            let place = ids.iter().position(|id| *id == hour.destination_id).unwrap();
            (place, hour.accepted, hour.succeeded, hour.failed_attempts, hour.critical_failures)
        });
        counts.collect::<Vec<_>>()
    };
    let of_ours = [(1, 1, 1, 0, 0), (1, 1, 0, 0, 0), (1, 0, 0, 1, 1), (1, 0, 1, 0, 0)];
    let all = read(-DAY, 30 * DAY).await;
    assert_eq!(all.iter().filter(|count| count.0 == 1).copied().collect::<Vec<_>>(), of_ours);
    assert_eq!(all.iter().filter(|count| count.0 == 0).copied().collect::<Vec<_>>(), [(0, 1, 0, 1, 0)]);
    assert_eq!(all.len(), 5, "none of another tenant");
    assert_eq!(read(3 * HOUR, DAY).await, [(1, 0, 0, 1, 1)]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_delivery_takes_from_its_acceptance_or_last_replay_to_its_end(pool: PgPool) {
    busy_day().fold_into(&pool, Projection::DeliveryStatistics).await;
    let days = buckets(&pool, ACME, None, Interval::Day).await;
    let within = |bucket: &Bucket, around: u64| {
        let median = bucket.counts.times_to_deliver.percentile(50).unwrap();
        assert!(median.abs_diff(around) * 8 <= around, "{median} ms, not {around} ms");
    };
    within(&days[0], 2_000);
    within(&days[1], 8_000);
}

#[sqlx::test(migrations = "../migrations")]
async fn when_a_delivery_began_is_found_in_the_log(pool: PgPool) {
    let log = busy_day();
    log.fold_into(&pool, Projection::DeliveryStatistics).await;
    let at_once = rows::all(&pool).await;
    rows::delete_all(&pool).await;
    log.record(&pool).await;
    for fact in &log.facts {
        apply(&pool, Projection::DeliveryStatistics, std::slice::from_ref(fact)).await;
    }
    assert_eq!(rows::all(&pool).await, at_once);
}

#[sqlx::test(migrations = "../migrations")]
async fn repeated_facts_are_counted_once(pool: PgPool) {
    let log = busy_day();
    log.record(&pool).await;
    log.fold_into(&pool, Projection::DeliveryStatistics).await;
    let plain = rows::all(&pool).await;
    for split in 0..=log.facts.len() {
        rows::delete_all(&pool).await;
        for (from, to) in [(0, split), (0, split), (split / 2, log.facts.len()), (0, log.facts.len())] {
            apply(&pool, Projection::DeliveryStatistics, &log.facts[from..to]).await;
        }
        let twice_in_one: Vec<_> = log.facts.iter().chain(&log.facts).cloned().collect();
        apply(&pool, Projection::DeliveryStatistics, &twice_in_one).await;
        assert_eq!(rows::all(&pool).await, plain, "split at {split}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_range_ends_before_its_end(pool: PgPool) {
    busy_day().fold_into(&pool, Projection::DeliveryStatistics).await;
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let hour = Interval::Hour.start(at(2 * HOUR));
    for (from, to, expected) in [
        (hour, hour + TimeDelta::hours(1), 1),
        (hour, hour, 0),
        (hour - TimeDelta::hours(1), hour, 0),
        (hour, hour + TimeDelta::hours(2), 2),
    ] {
        let found = delivery_statistics::list(&mut scope, None, Interval::Hour, from, to).await.unwrap();
        assert_eq!(found.len(), expected, "{from} to {to}");
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn a_clock_that_runs_behind_makes_no_time_negative(pool: PgPool) {
    Log::default()
        .with(ACME, event(1), accepted(ACME, destination(), at(10)))
        .with(ACME, event(1), ended(destination(), Outcome::Succeeded, at(9)))
        .fold_into(&pool, Projection::DeliveryStatistics)
        .await;
    assert_eq!(total(&pool, ACME, None).await.times_to_deliver.percentile(95), Some(0));
}

#[sqlx::test(migrations = "../migrations")]
async fn statistics_belong_to_their_tenant(pool: PgPool) {
    busy_day().fold_into(&pool, Projection::DeliveryStatistics).await;
    assert_eq!(total(&pool, RIVAL, None).await.accepted, 1);
    assert_eq!(total(&pool, RIVAL, Some(destination())).await, Counts::default());
    let mut scope = TenantScope::begin(&pool, RIVAL).await.unwrap();
    let others = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM delivery_statistics WHERE tenant_id <> $1"#,
        RIVAL.0,
    );
    assert_eq!(others.fetch_one(scope.connection()).await.unwrap(), 0);
}
