//! The statements that read pages of webhook events.
//!
//! A statement contains only the conditions that apply, so that each runs along its index. It finds a page as
//! ids first (an index holds all that takes) and reads whole rows only for those, so that it does not read
//! the rows that an offset skips.

use aggregates::ids::DestinationId;
use sqlx::{FromRow, Postgres, QueryBuilder};

use super::cursor::PageCursor;
use super::filter::Selection;
use super::row::Row;
use crate::paging::Direction;
use crate::tenant_scope::TenantScope;

/// The columns of [`Row`]. A suspended destination delays the events that wait for it until its next check.
pub(super) const COLUMNS: &str = "SELECT
    event.id, event.tenant_id, event.destination_id, event.sender_id, event.accepted_at,
    CASE
        WHEN public.event_status_is_waiting(event.status)
        THEN greatest(event.next_attempt_at, destinations.next_check_at)
        ELSE event.next_attempt_at
    END AS next_attempt_at,
    event.delivered_at, event.version, event.failed_attempts, event.attempts, event.status,
    event.last_outcome, event.last_http_status";

/// Event of a page.
#[derive(FromRow)]
pub(super) struct PageRow {
    #[sqlx(flatten)]
    pub(super) event: Row,
    /// `None` also where the page is not sorted by it.
    pub(super) idempotency_key: Option<String>,
}

/// Field that a page is sorted by and that `webhook_event_counts` is not divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SortKey {
    Id,
    /// Failed attempts, where there are any.
    Failures,
    IdempotencyKey,
    NextAttemptAt,
    DeliveredAt,
    Payload,
}

/// How a page is sorted, and by that which events it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    ByTime,
    /// Events that have the key, by the key and then by time.
    ByKey(SortKey),
    /// Events that do not have the key, by time.
    WithoutKey(SortKey),
}

/// Statement that reads a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct PageQuery<'a> {
    pub(super) selection: Selection,
    pub(super) order: Order,
    pub(super) direction: Direction,
    pub(super) after: Option<&'a PageCursor>,
    pub(super) limit: i64,
    pub(super) offset: i64,
}

/// SQL of a sort key.
struct KeySql {
    /// Joins what the key needs besides the events.
    join: &'static str,
    key: &'static str,
    /// Condition of events that have the key; the indexes of the keys are partial by the same conditions.
    present: &'static str,
    absent: &'static str,
}

impl SortKey {
    fn sql(self) -> KeySql {
        match self {
            Self::Id => KeySql { join: "", key: "webhook_events.id", present: "true", absent: "false" },
            Self::Failures => KeySql {
                join: "",
                key: "webhook_events.failed_attempts",
                present: "webhook_events.failed_attempts > 0",
                absent: "webhook_events.failed_attempts = 0",
            },
            Self::IdempotencyKey => KeySql {
                // The tenant leads the index of the keys.
                join: "LEFT JOIN payloads ON payloads.tenant_id = webhook_events.tenant_id \
                    AND payloads.event_id = webhook_events.id",
                key: "payloads.idempotency_key",
                present: "payloads.idempotency_key IS NOT NULL",
                absent: "payloads.idempotency_key IS NULL",
            },
            Self::DeliveredAt => KeySql {
                join: "",
                key: "webhook_events.delivered_at",
                present: "webhook_events.delivered_at IS NOT NULL",
                absent: "webhook_events.delivered_at IS NULL",
            },
            // Only waiting events have a time of their next attempt.
            Self::NextAttemptAt => KeySql {
                join: "LEFT JOIN destinations AS breaker ON breaker.id = webhook_events.destination_id",
                key: "greatest(webhook_events.next_attempt_at, breaker.next_check_at)",
                present: "public.event_status_is_waiting(webhook_events.status) \
                    AND greatest(webhook_events.next_attempt_at, breaker.next_check_at) IS NOT NULL",
                absent: "(public.event_status_is_waiting(webhook_events.status) \
                    AND greatest(webhook_events.next_attempt_at, breaker.next_check_at) IS NOT NULL) \
                    IS NOT TRUE",
            },
            // JSON text is UTF-8, and bytes of UTF-8 sort like the text.
            Self::Payload => KeySql {
                join: "LEFT JOIN payloads ON payloads.event_id = webhook_events.id",
                key: "payloads.delivered",
                present: "payloads.event_id IS NOT NULL",
                absent: "payloads.event_id IS NULL",
            },
        }
    }
}

/// Reads a page.
#[tracing::instrument(name = "db.webhook_events.page", level = "debug", skip_all, fields(order = ?page.order), err(level = "debug"))]
pub(super) async fn read(scope: &mut TenantScope, page: PageQuery<'_>) -> Result<Vec<PageRow>, sqlx::Error> {
    let PageQuery { selection, order, direction, after, limit, offset } = page;
    let (join, condition, key) = match order {
        Order::ByTime => ("", "true", None),
        Order::ByKey(key) => {
            let KeySql { join, key, present, .. } = key.sql();
            (join, present, Some(key))
        }
        Order::WithoutKey(key) => {
            let KeySql { join, absent, .. } = key.sql();
            (join, absent, None)
        }
    };
    let way = direction.keyword();
    let mut query = QueryBuilder::new(COLUMNS);
    query.push(match order {
        Order::ByKey(SortKey::IdempotencyKey) => ", page.key AS idempotency_key",
        _ => ", NULL AS idempotency_key",
    });
    query.push(" FROM (SELECT webhook_events.id, webhook_events.accepted_at");
    if let Some(key) = key {
        query.push(format_args!(", {key} AS key"));
    }
    push_events(&mut query, scope, join, condition, selection);
    push_cursor(&mut query, key, direction, after);
    query.push(" ORDER BY ");
    if key.is_some() {
        query.push(format_args!("key {way}, "));
    }
    query.push(format_args!("webhook_events.accepted_at {way}, webhook_events.id {way} LIMIT "));
    query.push_bind(limit).push(" OFFSET ").push_bind(offset);
    query.push(
        ") AS page JOIN webhook_events AS event ON event.id = page.id \
         LEFT JOIN destinations ON destinations.id = event.destination_id ORDER BY ",
    );
    if key.is_some() {
        query.push(format_args!("page.key {way}, "));
    }
    query.push(format_args!("page.accepted_at {way}, page.id {way}"));
    query.build_query_as().fetch_all(scope.connection()).await
}

/// Counts the events of a selection row by row.
#[tracing::instrument(name = "db.webhook_events.count", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn count(scope: &mut TenantScope, selection: Selection) -> Result<i64, sqlx::Error> {
    count_where(scope, "", "true", selection).await
}

/// Counts the events of a selection row by row, up to `max`.
#[tracing::instrument(
    name = "db.webhook_events.count_up_to",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(super) async fn count_up_to(
    scope: &mut TenantScope,
    selection: Selection,
    max: i64,
) -> Result<i64, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT count(*) FROM (SELECT");
    push_events(&mut query, scope, "", "true", selection);
    query.push(" LIMIT ").push_bind(max).push(") AS counted");
    query.build_query_scalar().fetch_one(scope.connection()).await
}

/// Counts the events of a selection that have the key.
#[tracing::instrument(
    name = "db.webhook_events.count_with_key",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(super) async fn count_with_key(
    scope: &mut TenantScope,
    key: SortKey,
    selection: Selection,
) -> Result<i64, sqlx::Error> {
    let KeySql { join, present, .. } = key.sql();
    count_where(scope, join, present, selection).await
}

async fn count_where(
    scope: &mut TenantScope,
    join: &str,
    condition: &str,
    selection: Selection,
) -> Result<i64, sqlx::Error> {
    let mut query = QueryBuilder::new("SELECT count(*)");
    push_events(&mut query, scope, join, condition, selection);
    query.build_query_scalar().fetch_one(scope.connection()).await
}

pub(super) fn push_events(
    query: &mut QueryBuilder<'_, Postgres>,
    scope: &TenantScope,
    join: &str,
    condition: &str,
    selection: Selection,
) {
    query.push(format_args!(" FROM webhook_events {join} WHERE webhook_events.tenant_id = "));
    query.push_bind(scope.tenant_id().0).push(" AND ").push(condition);
    selection.push(query);
}

pub(super) fn push_cursor(
    query: &mut QueryBuilder<'_, Postgres>,
    key: Option<&str>,
    direction: Direction,
    after: Option<&PageCursor>,
) {
    let Some(cursor) = after else { return };
    let beyond = if direction.is_descending() { "<" } else { ">" };
    if let Some((column, key)) = key.zip(cursor.key.as_ref()) {
        // The index of one table serves a condition on its column, and not the comparison below, of columns of two tables.
        query.push(format_args!(" AND {column} {beyond}= "));
        key.push_bind(query);
        query.push(format_args!(" AND ({column}, webhook_events.accepted_at, webhook_events.id) {beyond} ("));
        key.push_bind(query);
        query.push(", ");
    } else {
        query.push(format_args!(" AND (webhook_events.accepted_at, webhook_events.id) {beyond} ("));
    }
    query.push_bind(cursor.accepted_at).push(", ").push_bind(cursor.id).push(")");
}

/// Returns the destinations to which the scope's tenant has events, in the order of their ids.
#[tracing::instrument(
    name = "db.webhook_events.destinations",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(super) async fn destinations(scope: &mut TenantScope) -> Result<Vec<DestinationId>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    // Steps along the index from one destination to the next, instead of reading every event.
    let ids = sqlx::query_scalar!(
        r#"
        WITH RECURSIVE destination AS (
            (
                SELECT destination_id AS id
                FROM webhook_events
                WHERE tenant_id = $1
                ORDER BY destination_id
                LIMIT 1
            )
            UNION ALL
            SELECT (
                SELECT destination_id
                FROM webhook_events
                WHERE tenant_id = $1 AND destination_id > destination.id
                ORDER BY destination_id
                LIMIT 1
            )
            FROM destination
            WHERE destination.id IS NOT NULL
        )
        SELECT id AS "id!"
        FROM destination
        WHERE id IS NOT NULL
        ORDER BY id
        "#,
        tenant_id,
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(ids.into_iter().map(DestinationId).collect())
}
