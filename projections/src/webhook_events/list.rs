//! The list of webhook events, along every field the contract sorts by.
//!
//! One statement a field and direction, so that each runs along its index. A page is found as ids first
//! (an index holds all that takes) and only then filled in, so that a deep page does not read the rows
//! it passes over.

use aggregates::ids::DestinationId;
use chrono::{DateTime, Utc};

use super::{Row, Status, WebhookEvent};
use crate::paging::{Direction, Listed, Page, sort_fields};
use crate::tenant_scope::TenantScope;

/// Which events to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this status.
    pub status: Option<Status>,
    /// Only to this destination.
    pub destination_id: Option<DestinationId>,
    /// Only accepted at or after this time.
    pub from: Option<DateTime<Utc>>,
    /// Only accepted at or before this time.
    pub to: Option<DateTime<Utc>>,
}

sort_fields! {
    /// What events can be sorted by.
    SortField {
        Id => "id",
        TenantId => "tenantId",
        DestinationUrlId => "destinationUrlId",
        Payload => "payload",
        Status => "status",
        IdempotencyKey => "idempotencyKey",
        CurrentRetryCount => "currentRetryCount",
        NextAttemptAt => "nextAttemptAt",
        #[default]
        AcceptedAt => "acceptedAt",
        DeliveredAt => "deliveredAt",
    }
}

/// The statement that reads a page ordered by `$key` in one direction. `$joined` brings in what the key
/// needs besides the events themselves.
macro_rules! page {
    ($tenant_id:expr, $filter:expr, $page:expr, $joined:literal, $key:literal, $direction:literal) => {
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
                + "    SELECT webhook_events.id, "
                + $key
                + "        AS key "
                + "    FROM webhook_events "
                + $joined
                + "    WHERE webhook_events.tenant_id = $1 "
                + "      AND ($2::smallint IS NULL OR webhook_events.status = $2) "
                + "      AND ($3::uuid IS NULL OR webhook_events.destination_id = $3) "
                + "      AND ($4::timestamptz IS NULL OR webhook_events.accepted_at >= $4) "
                + "      AND ($5::timestamptz IS NULL OR webhook_events.accepted_at <= $5) "
                + "    ORDER BY key "
                + $direction
                + "        , webhook_events.id "
                + $direction
                + "    LIMIT $6 "
                + "    OFFSET $7 "
                + ") AS page "
                + "JOIN webhook_events AS event ON event.id = page.id "
                + "LEFT JOIN destinations ON destinations.id = event.destination_id "
                + "ORDER BY page.key "
                + $direction
                + "    , page.id "
                + $direction,
            $tenant_id,
            $filter.status.map(Status::number),
            $filter.destination_id.map(|id| id.0),
            $filter.from,
            $filter.to,
            $page.limit,
            $page.offset,
        )
    };
}

/// The events of the scope's tenant.
#[tracing::instrument(name = "db.webhook_events.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    filter: Filter,
    sort: SortField,
    direction: Direction,
    page: Page,
) -> Result<Listed<WebhookEvent>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let total = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "total!"
        FROM webhook_events
        WHERE tenant_id = $1
          AND ($2::smallint IS NULL OR status = $2)
          AND ($3::uuid IS NULL OR destination_id = $3)
          AND ($4::timestamptz IS NULL OR accepted_at >= $4)
          AND ($5::timestamptz IS NULL OR accepted_at <= $5)
        "#,
        tenant_id,
        filter.status.map(Status::number),
        filter.destination_id.map(|id| id.0),
        filter.from,
        filter.to,
    )
    .fetch_one(scope.connection())
    .await?;

    macro_rules! along {
        ($key:literal) => {
            along!("", $key)
        };
        ($joined:literal, $key:literal) => {
            match direction {
                Direction::Ascending => {
                    page!(tenant_id, filter, page, $joined, $key, " ASC ").fetch_all(scope.connection()).await
                }
                Direction::Descending => {
                    page!(tenant_id, filter, page, $joined, $key, " DESC ")
                        .fetch_all(scope.connection())
                        .await
                }
            }
        };
    }
    let rows = match sort {
        // All of a scope's events have one tenant: what remains of that order is the id.
        SortField::Id | SortField::TenantId => along!("webhook_events.id "),
        SortField::DestinationUrlId => along!("webhook_events.destination_id "),
        SortField::Status => along!("webhook_events.status "),
        SortField::IdempotencyKey => along!("webhook_events.idempotency_key "),
        SortField::CurrentRetryCount => along!("webhook_events.failed_attempts "),
        SortField::AcceptedAt => along!("webhook_events.accepted_at "),
        SortField::DeliveredAt => along!("webhook_events.delivered_at "),
        // `payloads` is no projection's: its bytes are in the order of their text.
        SortField::Payload => {
            along!("LEFT JOIN payloads ON payloads.event_id = webhook_events.id ", "payloads.delivered ")
        }
        SortField::NextAttemptAt => along!(
            "LEFT JOIN destinations AS breaker ON breaker.id = webhook_events.destination_id ",
            "CASE WHEN webhook_events.status IN (0, 4) THEN greatest(webhook_events.next_attempt_at, breaker.next_check_at) ELSE webhook_events.next_attempt_at END "
        ),
    }?;
    Listed::read(total, rows)
}
