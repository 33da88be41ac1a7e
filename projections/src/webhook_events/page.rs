//! The statements that read pages of webhook events: one a field and direction, so that each runs along
//! its index.
//!
//! A page is found as ids first (an index holds all that takes) and only then filled in, so that a page
//! does not read the rows it passes over.

use aggregates::ids::DestinationId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::list::{Key, Place};
use super::{Filter, Row, Status};
use crate::paging::Direction;
use crate::tenant_scope::TenantScope;

/// What events are sorted by that is not counted.
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

/// Which events a page may hold, and how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) filter: Filter,
    pub(super) limit: i64,
    pub(super) offset: i64,
}

/// A place among events in the order of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct After {
    pub(super) accepted_at: DateTime<Utc>,
    pub(super) id: Uuid,
}

/// A page in the order of time, of the events for which `$condition` holds.
macro_rules! in_time {
    ($scope:expr, $extent:expr, $all_but:expr, $after:expr, $joined:literal, $condition:literal, $beyond:literal, $direction:literal) => {
        sqlx::query_as!(
            Row,
            "SELECT "
                + "    event.id, event.tenant_id, event.destination_id, event.sender_id, event.accepted_at, "
                + "    CASE "
                + "        WHEN event.status IN (0, 4) "
                + "        THEN greatest(event.next_attempt_at, destinations.next_check_at) "
                + "        ELSE event.next_attempt_at "
                + "    END AS next_attempt_at, "
                + "    event.delivered_at, event.version, event.failed_attempts, event.attempts, "
                + "    event.status, event.idempotency_key "
                + "FROM ( "
                + "    SELECT webhook_events.id, webhook_events.accepted_at "
                + "    FROM webhook_events "
                + $joined
                + "    WHERE webhook_events.tenant_id = $1 "
                + "      AND ($2::smallint IS NULL OR webhook_events.status = $2) "
                + "      AND ($3::smallint IS NULL OR webhook_events.status <> $3) "
                + "      AND ($4::uuid IS NULL OR webhook_events.destination_id = $4) "
                + "      AND ($5::timestamptz IS NULL OR webhook_events.accepted_at >= $5) "
                + "      AND ($6::timestamptz IS NULL OR webhook_events.accepted_at <= $6) "
                + "      AND ($7::timestamptz IS NULL "
                + "          OR (webhook_events.accepted_at, webhook_events.id) "
                + $beyond
                + "             ($7, $8)) "
                + "      AND "
                + $condition
                + "    ORDER BY webhook_events.accepted_at "
                + $direction
                + "        , webhook_events.id "
                + $direction
                + "    LIMIT $9 "
                + "    OFFSET $10 "
                + ") AS page "
                + "JOIN webhook_events AS event ON event.id = page.id "
                + "LEFT JOIN destinations ON destinations.id = event.destination_id "
                + "ORDER BY page.accepted_at "
                + $direction
                + "    , page.id "
                + $direction,
            $scope.tenant_id().0,
            $extent.filter.status.map(Status::number),
            $all_but,
            $extent.filter.destination_id.map(|id| id.0),
            $extent.filter.from,
            $extent.filter.to,
            $after.map(|after| after.accepted_at),
            $after.map(|after| after.id),
            $extent.limit,
            $extent.offset,
        )
        .fetch_all($scope.connection())
        .await
    };
}

/// A page sorted by `$key`, of the events for which `$condition` holds. `$joined` brings in what the key
/// needs besides the events themselves.
macro_rules! sorted {
    ($scope:expr, $extent:expr, $behind:expr, $key_behind:expr, $joined:literal, $key:literal, $type:literal, $condition:literal, $beyond:literal, $direction:literal) => {
        sqlx::query_as!(
            Row,
            "SELECT "
                + "    event.id, event.tenant_id, event.destination_id, event.sender_id, event.accepted_at, "
                + "    CASE "
                + "        WHEN event.status IN (0, 4) "
                + "        THEN greatest(event.next_attempt_at, destinations.next_check_at) "
                + "        ELSE event.next_attempt_at "
                + "    END AS next_attempt_at, "
                + "    event.delivered_at, event.version, event.failed_attempts, event.attempts, "
                + "    event.status, event.idempotency_key "
                + "FROM ( "
                + "    SELECT webhook_events.id, webhook_events.accepted_at, "
                + $key
                + "        AS key "
                + "    FROM webhook_events "
                + $joined
                + "    WHERE webhook_events.tenant_id = $1 "
                + "      AND ($2::smallint IS NULL OR webhook_events.status = $2) "
                + "      AND ($3::uuid IS NULL OR webhook_events.destination_id = $3) "
                + "      AND ($4::timestamptz IS NULL OR webhook_events.accepted_at >= $4) "
                + "      AND ($5::timestamptz IS NULL OR webhook_events.accepted_at <= $5) "
                + "      AND ($6::"
                + $type
                + "          IS NULL OR ("
                + $key
                + "             , webhook_events.accepted_at, webhook_events.id) "
                + $beyond
                + "             ($6, $7, $8)) "
                + "      AND "
                + $condition
                + "    ORDER BY key "
                + $direction
                + "        , webhook_events.accepted_at "
                + $direction
                + "        , webhook_events.id "
                + $direction
                + "    LIMIT $9 "
                + "    OFFSET $10 "
                + ") AS page "
                + "JOIN webhook_events AS event ON event.id = page.id "
                + "LEFT JOIN destinations ON destinations.id = event.destination_id "
                + "ORDER BY page.key "
                + $direction
                + "    , page.accepted_at "
                + $direction
                + "    , page.id "
                + $direction,
            $scope.tenant_id().0,
            $extent.filter.status.map(Status::number),
            $extent.filter.destination_id.map(|id| id.0),
            $extent.filter.from,
            $extent.filter.to,
            $key_behind,
            $behind.map(|place| place.accepted_at),
            $behind.map(|place| place.id),
            $extent.limit,
            $extent.offset,
        )
        .fetch_all($scope.connection())
        .await
    };
}

/// How many events match a filter and `$condition`.
macro_rules! count {
    ($scope:expr, $filter:expr, $joined:literal, $condition:literal) => {
        sqlx::query_scalar!(
            "SELECT count(*) AS \"count!\" "
                + "FROM webhook_events "
                + $joined
                + "WHERE webhook_events.tenant_id = $1 "
                + "  AND ($2::smallint IS NULL OR webhook_events.status = $2) "
                + "  AND ($3::uuid IS NULL OR webhook_events.destination_id = $3) "
                + "  AND ($4::timestamptz IS NULL OR webhook_events.accepted_at >= $4) "
                + "  AND ($5::timestamptz IS NULL OR webhook_events.accepted_at <= $5) "
                + "  AND "
                + $condition,
            $scope.tenant_id().0,
            $filter.status.map(Status::number),
            $filter.destination_id.map(|id| id.0),
            $filter.from,
            $filter.to,
        )
        .fetch_one($scope.connection())
        .await
    };
}

/// Events in the order of time; but those of one status.
#[tracing::instrument(name = "db.webhook_events.in_time", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn in_time(
    scope: &mut TenantScope,
    extent: Extent,
    all_but: Option<i16>,
    direction: Direction,
    after: Option<After>,
) -> Result<Vec<Row>, sqlx::Error> {
    match direction {
        Direction::Ascending => in_time!(scope, extent, all_but, after, "", "true ", ">", "ASC "),
        Direction::Descending => in_time!(scope, extent, all_but, after, "", "true ", "<", "DESC "),
    }
}

/// Those that lack what others are sorted by, in the order of time.
#[tracing::instrument(name = "db.webhook_events.lacking", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn lacking(
    scope: &mut TenantScope,
    key: SortKey,
    extent: Extent,
    direction: Direction,
    after: Option<After>,
) -> Result<Vec<Row>, sqlx::Error> {
    macro_rules! where_ {
        ($joined:literal, $condition:literal) => {
            match direction {
                Direction::Ascending => {
                    in_time!(scope, extent, None::<i16>, after, $joined, $condition, ">", "ASC ")
                }
                Direction::Descending => {
                    in_time!(scope, extent, None::<i16>, after, $joined, $condition, "<", "DESC ")
                }
            }
        };
    }
    match key {
        SortKey::Id => Ok(vec![]),
        SortKey::Failures => where_!("", "webhook_events.failed_attempts = 0 "),
        SortKey::IdempotencyKey => where_!("", "webhook_events.idempotency_key IS NULL "),
        SortKey::DeliveredAt => where_!("", "webhook_events.delivered_at IS NULL "),
        SortKey::NextAttemptAt => where_!(
            "LEFT JOIN destinations AS breaker ON breaker.id = webhook_events.destination_id ",
            "CASE WHEN webhook_events.status IN (0, 4) THEN greatest(webhook_events.next_attempt_at, breaker.next_check_at) ELSE webhook_events.next_attempt_at END IS NULL "
        ),
        SortKey::Payload => where_!(
            "LEFT JOIN payloads ON payloads.event_id = webhook_events.id ",
            "payloads.event_id IS NULL "
        ),
    }
}

/// Those that have what they are sorted by.
#[tracing::instrument(name = "db.webhook_events.sorted", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn sorted(
    scope: &mut TenantScope,
    key: SortKey,
    extent: Extent,
    direction: Direction,
    behind: Option<&Place>,
) -> Result<Vec<Row>, sqlx::Error> {
    macro_rules! by {
        ($key_behind:expr, $joined:literal, $key:literal, $type:literal, $condition:literal) => {
            match direction {
                Direction::Ascending => {
                    sorted!(scope, extent, behind, $key_behind, $joined, $key, $type, $condition, ">", "ASC ")
                }
                Direction::Descending => {
                    sorted!(
                        scope,
                        extent,
                        behind,
                        $key_behind,
                        $joined,
                        $key,
                        $type,
                        $condition,
                        "<",
                        "DESC "
                    )
                }
            }
        };
    }
    let place = behind.and_then(|place| place.key.as_ref());
    let time = if let Some(Key::Time(time)) = place { Some(*time) } else { None };
    match key {
        SortKey::Id => by!(behind.map(|place| place.id), "", "webhook_events.id ", "uuid ", "true "),
        SortKey::Failures => by!(
            if let Some(Key::Number(number)) = place { Some(*number) } else { None },
            "",
            "webhook_events.failed_attempts ",
            "integer ",
            "webhook_events.failed_attempts > 0 "
        ),
        SortKey::IdempotencyKey => by!(
            if let Some(Key::Text(text)) = place { Some(text.as_str()) } else { None },
            "",
            "webhook_events.idempotency_key ",
            "text ",
            "webhook_events.idempotency_key IS NOT NULL "
        ),
        SortKey::DeliveredAt => by!(
            time,
            "",
            "webhook_events.delivered_at ",
            "timestamptz ",
            "webhook_events.delivered_at IS NOT NULL "
        ),
        // Nothing else waits for a time.
        SortKey::NextAttemptAt => by!(
            time,
            "LEFT JOIN destinations AS breaker ON breaker.id = webhook_events.destination_id ",
            "greatest(webhook_events.next_attempt_at, breaker.next_check_at) ",
            "timestamptz ",
            "webhook_events.status IN (0, 4) AND greatest(webhook_events.next_attempt_at, breaker.next_check_at) IS NOT NULL "
        ),
        // `payloads` is no projection's: its bytes are in the order of their text.
        SortKey::Payload => by!(
            None::<Vec<u8>>,
            "JOIN payloads ON payloads.event_id = webhook_events.id ",
            "payloads.delivered ",
            "bytea ",
            "true "
        ),
    }
}

/// How many have what they are sorted by.
#[tracing::instrument(
    name = "db.webhook_events.count_sorted",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(super) async fn count(scope: &mut TenantScope, key: SortKey, filter: Filter) -> Result<i64, sqlx::Error> {
    match key {
        SortKey::Id => count!(scope, filter, "", "true "),
        SortKey::Failures => count!(scope, filter, "", "webhook_events.failed_attempts > 0 "),
        SortKey::IdempotencyKey => count!(scope, filter, "", "webhook_events.idempotency_key IS NOT NULL "),
        SortKey::DeliveredAt => count!(scope, filter, "", "webhook_events.delivered_at IS NOT NULL "),
        SortKey::NextAttemptAt => count!(
            scope,
            filter,
            "LEFT JOIN destinations AS breaker ON breaker.id = webhook_events.destination_id ",
            "webhook_events.status IN (0, 4) AND greatest(webhook_events.next_attempt_at, breaker.next_check_at) IS NOT NULL "
        ),
        SortKey::Payload => {
            count!(scope, filter, "JOIN payloads ON payloads.event_id = webhook_events.id ", "true ")
        }
    }
}

/// The destinations to which the scope's tenant has events, in the order of their ids.
#[tracing::instrument(
    name = "db.webhook_events.destinations",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub(super) async fn destinations(scope: &mut TenantScope) -> Result<Vec<DestinationId>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    // From one destination to the next along the index, instead of over every event.
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
