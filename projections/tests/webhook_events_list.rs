use std::cmp::Ordering;

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, WebhookEventId};
use projections::paging::{Direction, Page};
use projections::webhook_events::{
    self, EventStatus, Filter, Listing, PageStart, SearchBudget, SortField, WebhookEvent,
};
use projections::{Projection, TenantScope, payloads};
use sqlx::PgPool;

use crate::given::{
    ACME, Log, RIVAL, accepted, at, attempted, destination_registered, events_filter, id, report, retry,
    started, suspended,
};

const ALL: Page = Page { limit: 100, offset: 0 };

fn event(number: u128) -> WebhookEventId {
    id(number)
}

/// Events that differ in every field, some of them equal in some, over two destinations.
fn some_events() -> Log {
    let (open, closed) = (id::<DestinationId>(10), id::<DestinationId>(11));
    let mut log = Log::default()
        .with(ACME, open, destination_registered(ACME, "https://open.example/"))
        .with(ACME, closed, destination_registered(ACME, "https://closed.example/"))
        .with(ACME, open, suspended(at(500)))
        .with(RIVAL, event(90), accepted(RIVAL, id(12), at(3)));
    for number in 1..=12u128 {
        let destination_id = if number % 2 == 0 { open } else { closed };
        let event_accepted = aggregates_testing::accepted()
            .tenant(ACME)
            .destination(destination_id)
            .at(at(i64::try_from(number * 7 % 5).unwrap()));
        log.add(ACME, event(number), event_accepted.fact());
        if number % 4 == 0 {
            continue;
        }
        log.add(ACME, event(number), started(destination_id, 1));
        if number % 4 == 1 {
            log.add(ACME, event(number), attempted(destination_id, 1, 0, report(Outcome::Succeeded)));
        } else if number % 4 == 2 {
            let failures = u32::try_from(number).unwrap();
            log.add(ACME, event(number), attempted(destination_id, 1, failures, report(Outcome::Timeout)));
            let retry_at = at(450 + i64::try_from(number).unwrap() * 20);
            log.add(ACME, event(number), retry(destination_id, failures, retry_at));
        }
    }
    log
}

async fn given(pool: &PgPool) {
    let log = some_events();
    log.fold_into(pool, Projection::Destinations).await;
    log.fold_into(pool, Projection::WebhookEvents).await;
    for number in 1..=12u128 {
        // The payload of one event is erased, with its key.
        if number != 5 {
            let bytes = format!("{{\"n\":{}}}", (number * 5) % 9).into_bytes();
            sqlx::query!(
                "INSERT INTO payloads (event_id, tenant_id, delivered, idempotency_key) VALUES ($1, $2, $3, $4)",
                event(number).0,
                ACME.0,
                bytes,
                (number % 3 != 0).then(|| format!("key {}", 20 - number)),
            )
            .execute(pool)
            .await
            .unwrap();
        }
    }
}

async fn listed(pool: &PgPool, filter: Filter, sort: SortField, direction: Direction, page: Page) -> Listing {
    let mut scope = TenantScope::begin(pool, ACME).await.unwrap();
    let start = PageStart::Offset(page.offset);
    webhook_events::list(&mut scope, filter, sort, direction, page.limit, start).await.unwrap()
}

/// Compares like PostgreSQL: NULL is the largest.
fn nulls_last<T: Ord>(left: Option<T>, right: Option<T>) -> Ordering {
    match (left, right) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => left.cmp(&right),
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn events_are_sorted_by_every_field_both_ways_and_paged(pool: PgPool) {
    given(&pool).await;
    let everything = listed(&pool, Filter::default(), SortField::Id, Direction::Ascending, ALL).await.items;
    assert_eq!(everything.len(), 12);
    let ids: Vec<_> = everything.iter().map(|event| event.id).collect();
    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let stored = payloads::delivered(&mut scope, &ids).await.unwrap();
    assert_eq!(stored.len(), 11);
    let text = |event: &WebhookEvent| stored.get(&event.id).map(|payload| &payload.text);
    let key = |event: &WebhookEvent| stored.get(&event.id)?.idempotency_key.as_ref();
    scope.end().await.unwrap();

    for sort in SortField::ALL.iter().copied() {
        let compare = |left: &WebhookEvent, right: &WebhookEvent| {
            let by_field = match sort {
                SortField::Id => left.id.cmp(&right.id),
                SortField::TenantId => Ordering::Equal,
                SortField::DestinationUrlId => left.destination_id.cmp(&right.destination_id),
                SortField::Payload => nulls_last(text(left), text(right)),
                SortField::Status => left.status.number().cmp(&right.status.number()),
                SortField::IdempotencyKey => nulls_last(key(left), key(right)),
                SortField::CurrentRetryCount => left.failed_attempts.cmp(&right.failed_attempts),
                SortField::NextAttemptAt => nulls_last(left.next_attempt_at, right.next_attempt_at),
                SortField::AcceptedAt => left.accepted_at.cmp(&right.accepted_at),
                SortField::DeliveredAt => nulls_last(left.delivered_at, right.delivered_at),
            };
            by_field.then(left.accepted_at.cmp(&right.accepted_at)).then(left.id.cmp(&right.id))
        };
        let mut expected = everything.clone();
        expected.sort_by(compare);
        let ascending = listed(&pool, Filter::default(), sort, Direction::Ascending, ALL).await;
        assert_eq!(ascending.items, expected, "{sort:?} ascending");
        expected.reverse();
        let descending = listed(&pool, Filter::default(), sort, Direction::Descending, ALL).await;
        assert_eq!(descending.items, expected, "{sort:?} descending");

        let page = Page { limit: 5, offset: 5 };
        let second = listed(&pool, Filter::default(), sort, Direction::Descending, page).await;
        assert_eq!(second.items, expected[5..10], "the second page of {sort:?}");
        assert_eq!(second.total, 12);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn events_are_filtered_by_status_destination_and_time_and_counted(pool: PgPool) {
    given(&pool).await;
    let everything = listed(&pool, Filter::default(), SortField::Id, Direction::Ascending, ALL).await.items;
    let statuses =
        [None, Some(EventStatus::Pending), Some(EventStatus::WaitingRetry), Some(EventStatus::Cancelled)];
    let destinations = [None, Some(id(10)), Some(id(12))];
    let times = [(None, None), (Some(at(1)), None), (None, Some(at(2))), (Some(at(1)), Some(at(3)))];
    for status in statuses {
        for destination_id in destinations {
            for (from, to) in times {
                let filter = Filter { from, to, ..events_filter(status, destination_id) };
                let matches = |event: &&WebhookEvent| {
                    status.is_none_or(|status| event.status == status)
                        && destination_id.is_none_or(|id| event.destination_id == id)
                        && from.is_none_or(|from| event.accepted_at >= from)
                        && to.is_none_or(|to| event.accepted_at <= to)
                };
                let expected: Vec<_> = everything.iter().filter(matches).cloned().collect();
                let found = listed(&pool, filter, SortField::Id, Direction::Ascending, ALL).await;
                assert_eq!(found.items, expected, "{filter:?}");
                assert_eq!(usize::try_from(found.total), Ok(expected.len()), "{filter:?}");
                let first = Page { limit: 1, offset: 0 };
                let counted =
                    listed(&pool, filter, SortField::AcceptedAt, Direction::Descending, first).await;
                assert_eq!(counted.total, found.total, "{filter:?}");
            }
        }
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn the_event_of_an_idempotency_key_is_listed_alone_in_every_order(pool: PgPool) {
    given(&pool).await;
    let everything = listed(&pool, Filter::default(), SortField::Id, Direction::Ascending, ALL).await.items;
    for sort in SortField::ALL.iter().copied() {
        // The payload of event 5 is erased.
        for number in [5, 7] {
            let filter = Filter { id: Some(event(number)), ..Filter::default() };
            let found = listed(&pool, filter, sort, Direction::Descending, ALL).await;
            let expected: Vec<_> =
                everything.iter().filter(|listed| listed.id == event(number)).cloned().collect();
            assert_eq!((found.items, found.total, found.next), (expected, 1, None), "{sort:?}");
        }
        let of_the_rival = Filter { id: Some(event(90)), ..Filter::default() };
        assert_eq!(listed(&pool, of_the_rival, sort, Direction::Ascending, ALL).await.total, 0);
    }
}

#[sqlx::test(migrations = "../migrations")]
async fn payloads_are_read_as_they_are_delivered_and_as_they_were_received(pool: PgPool) {
    let insert = async |number: u128, delivered: &str, received: Option<&str>| {
        sqlx::query!(
            "INSERT INTO payloads (event_id, tenant_id, delivered, received) VALUES ($1, $2, $3, $4)",
            event(number).0,
            ACME.0,
            delivered.as_bytes(),
            received.map(str::as_bytes),
        )
        .execute(&pool)
        .await
        .unwrap();
    };
    insert(1, "{\"mapped\": \"é\"}", Some("{ \"raw\":1.0 }")).await;
    insert(2, "{ }", None).await;

    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let delivered = payloads::delivered(&mut scope, &[event(1), event(2), event(3)]).await.unwrap();
    assert_eq!(delivered.len(), 2);
    assert_eq!(delivered[&event(1)].text, "{\"mapped\": \"é\"}");
    assert_eq!(payloads::received(&mut scope, event(1)).await.unwrap().as_deref(), Some("{ \"raw\":1.0 }"));
    assert_eq!(payloads::received(&mut scope, event(2)).await.unwrap().as_deref(), Some("{ }"));
    assert_eq!(payloads::received(&mut scope, event(3)).await.unwrap(), None);
}

/// Adds `count` events of one sender, with payloads of `{"n":N}`, one a second.
async fn given_many(pool: &PgPool, count: i32) {
    sqlx::query(
        "INSERT INTO webhook_events (id, tenant_id, destination_id, sender_id, accepted_at, version, failed_attempts, \
         attempts, status, last_outcome, last_http_status) \
         SELECT ('00000000-0000-0000-0001-' || lpad(n::text, 12, '0'))::uuid, $1, $2, $2, \
         '2026-01-01'::timestamptz + make_interval(secs => n), 1, 1, 1, 5, 1, 503 FROM generate_series(1, $3) AS n",
    )
    .bind(ACME.0)
    .bind(id::<DestinationId>(10).0)
    .bind(count)
    .execute(pool)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO payloads (event_id, tenant_id, delivered) \
         SELECT id, tenant_id, convert_to(format('{\"n\":%s}', right(id::text, 12)::int), 'UTF8') FROM webhook_events",
    )
    .execute(pool)
    .await
    .unwrap();
}

#[sqlx::test(migrations = "../migrations")]
async fn counting_ends_where_counts_are_not_kept(pool: PgPool) {
    given_many(&pool, 10_002).await;
    let refused =
        Filter { http_status: Some(503), outcome: Some(Outcome::RefusedStatus), ..Filter::default() };
    let page = Page { limit: 2, offset: 10_000 };
    let last = listed(&pool, refused, SortField::AcceptedAt, Direction::Descending, page).await;
    assert_eq!((last.total, last.has_more_than_total), (webhook_events::COUNTED_MAX, true));
    assert_eq!(last.items.len(), 2, "pages beyond what is counted are shown");
    assert_eq!(last.next, None);
    let until = Filter { to: Some(last.items[0].accepted_at), ..refused };
    let two = listed(&pool, until, SortField::AcceptedAt, Direction::Descending, ALL).await;
    assert_eq!((two.total, two.has_more_than_total), (2, false));
    let other = Filter { http_status: Some(500), ..Filter::default() };
    let none = listed(&pool, other, SortField::AcceptedAt, Direction::Descending, ALL).await;
    assert_eq!((none.total, none.has_more_than_total), (0, false));

    let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
    let facets = webhook_events::facets(&mut scope, Filter::default()).await.unwrap();
    assert_eq!(facets.examined, webhook_events::EXAMINED_MAX);
    assert_eq!(facets.http_statuses, [(503, webhook_events::EXAMINED_MAX)]);
}

#[sqlx::test(migrations = "../migrations")]
async fn a_search_ends_at_its_budget_and_continues(pool: PgPool) {
    given_many(&pool, 1_200).await;
    for budget in [
        SearchBudget { events: 700, payload_bytes: u64::MAX },
        SearchBudget { events: i64::MAX, payload_bytes: 700 * 10 },
    ] {
        let (mut found, mut examined, mut after, mut pages) = (vec![], 0, None, 0);
        loop {
            let mut scope = TenantScope::begin(&pool, ACME).await.unwrap();
            let page = webhook_events::search(
                &mut scope,
                Filter::default(),
                Direction::Ascending,
                10,
                after,
                budget,
                |payload| payload.contains("99"),
            );
            let page = page.await.unwrap();
            assert!(page.items.len() <= 10);
            found.extend(page.items.into_iter().map(|event| event.id));
            examined += page.examined;
            pages += 1;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let expected = (1..=1_200u32).filter(|number| number.to_string().contains("99")).count();
        assert_eq!((found.len(), examined), (expected, 1_200), "{budget:?}");
        assert!(pages > 2, "{budget:?}");
        found.dedup();
        assert_eq!(found.len(), expected, "each once");
    }
}
