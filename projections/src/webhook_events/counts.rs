//! The counts of webhook events: what the fold adds to them, and what is read of them.
//!
//! A webhook event is counted four times: for its destination and for the whole tenant, in the hour and in
//! the day in which it was accepted. A batch of facts is first summed up by bucket, so that a bucket is
//! written once a batch. What is added follows from the rows alone, from how each was and how it is: facts
//! that come again change no row, and so no count.

use std::collections::BTreeMap;

use aggregates::ids::DestinationId;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::Status;
use crate::delivery_statistics::Interval;
use crate::tenant_scope::TenantScope;

/// Stands where a destination would: all of them.
const ALL_DESTINATIONS: Uuid = Uuid::nil();

/// By the number of the status.
pub(super) type ByStatus = [i64; Status::ALL.len()];

/// What is counted of a webhook event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) tenant_id: Uuid,
    pub(super) destination_id: Uuid,
    pub(super) accepted_at: DateTime<Utc>,
}

/// A bucket's place in the table. Ordered, so that two writers lock rows in one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    tenant_id: Uuid,
    destination_id: Uuid,
    hours: i16,
    starts_at: DateTime<Utc>,
}

/// What is to be added to the counts.
#[derive(Debug, Default)]
pub(super) struct Changes {
    buckets: BTreeMap<Key, ByStatus>,
}

/// A bucket as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) interval: Interval,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) counts: ByStatus,
}

/// The days that begin in a range of time; `None`: without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) before: Option<DateTime<Utc>>,
}

/// Which buckets to read: days, and the hours that begin in two ranges of time, their ends not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) days: Option<Days>,
    pub(super) first_hours: Option<(DateTime<Utc>, DateTime<Utc>)>,
    pub(super) last_hours: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Changes {
    /// Takes note that a webhook event ceased to have one status, or came to have another.
    pub(super) fn note(&mut self, event: Counted, before: Option<i16>, after: Option<i16>) {
        if before == after {
            return;
        }
        for destination_id in [ALL_DESTINATIONS, event.destination_id] {
            for interval in Interval::ALL {
                let key = Key {
                    tenant_id: event.tenant_id,
                    destination_id,
                    hours: interval.hours(),
                    starts_at: interval.start(event.accepted_at),
                };
                let counts = self.buckets.entry(key).or_default();
                for (status, difference) in [(before, -1), (after, 1)] {
                    let index = status.and_then(|status| usize::try_from(status).ok());
                    if let Some(count) = index.and_then(|index| counts.get_mut(index)) {
                        *count += difference;
                    }
                }
            }
        }
    }

    /// Adds all of it to the table.
    #[tracing::instrument(
        name = "db.webhook_event_counts.add",
        level = "trace",
        skip_all,
        err(level = "debug")
    )]
    pub(super) async fn add(mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.buckets.retain(|_, counts| counts.iter().any(|count| *count != 0));
        if self.buckets.is_empty() {
            return Ok(());
        }
        let column =
            |status: usize| -> Vec<i64> { self.buckets.values().map(|counts| counts[status]).collect() };
        sqlx::query!(
            r#"
            -- What is to be added may be negative, and what is inserted is checked before it is seen to
            -- conflict: so buckets that are there are updated, and only then are the others inserted.
            WITH incoming AS (
                SELECT *
                FROM unnest(
                    $1::uuid[], $2::uuid[], $3::smallint[], $4::timestamptz[], $5::bigint[], $6::bigint[],
                    $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[]
                ) AS incoming (
                    tenant_id, destination_id, hours, starts_at, pending, processing, succeeded, failed,
                    waiting_retry, critical_failure, cancelled
                )
            ),
            added AS (
                UPDATE webhook_event_counts AS row
                SET pending = row.pending + incoming.pending,
                    processing = row.processing + incoming.processing,
                    succeeded = row.succeeded + incoming.succeeded,
                    failed = row.failed + incoming.failed,
                    waiting_retry = row.waiting_retry + incoming.waiting_retry,
                    critical_failure = row.critical_failure + incoming.critical_failure,
                    cancelled = row.cancelled + incoming.cancelled
                FROM incoming
                WHERE row.tenant_id = incoming.tenant_id
                  AND row.destination_id = incoming.destination_id
                  AND row.hours = incoming.hours
                  AND row.starts_at = incoming.starts_at
                RETURNING row.tenant_id, row.destination_id, row.hours, row.starts_at
            )
            INSERT INTO webhook_event_counts (
                tenant_id, destination_id, hours, starts_at, pending, processing, succeeded, failed,
                waiting_retry, critical_failure, cancelled
            )
            SELECT incoming.*
            FROM incoming
            LEFT JOIN added USING (tenant_id, destination_id, hours, starts_at)
            WHERE added.tenant_id IS NULL
            "#,
            &self.buckets.keys().map(|key| key.tenant_id).collect::<Vec<_>>(),
            &self.buckets.keys().map(|key| key.destination_id).collect::<Vec<_>>(),
            &self.buckets.keys().map(|key| key.hours).collect::<Vec<_>>(),
            &self.buckets.keys().map(|key| key.starts_at).collect::<Vec<_>>(),
            &column(0),
            &column(1),
            &column(2),
            &column(3),
            &column(4),
            &column(5),
            &column(6),
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Adds all of it to the table, and removes the buckets that are empty then: a fold of what is left would
    /// never make them.
    #[tracing::instrument(
        name = "db.webhook_event_counts.take_away",
        level = "trace",
        skip_all,
        err(level = "debug")
    )]
    pub(super) async fn take_away(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let keys: Vec<Key> = self.buckets.keys().copied().collect();
        self.add(&mut *connection).await?;
        sqlx::query!(
            r#"
            DELETE FROM webhook_event_counts AS row
            USING unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::timestamptz[])
                AS emptied (tenant_id, destination_id, hours, starts_at)
            WHERE row.tenant_id = emptied.tenant_id
              AND row.destination_id = emptied.destination_id
              AND row.hours = emptied.hours
              AND row.starts_at = emptied.starts_at
              AND greatest(
                  pending, processing, succeeded, failed, waiting_retry, critical_failure, cancelled
              ) = 0
            "#,
            &keys.iter().map(|key| key.tenant_id).collect::<Vec<_>>(),
            &keys.iter().map(|key| key.destination_id).collect::<Vec<_>>(),
            &keys.iter().map(|key| key.hours).collect::<Vec<_>>(),
            &keys.iter().map(|key| key.starts_at).collect::<Vec<_>>(),
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

struct Row {
    hours: i16,
    starts_at: DateTime<Utc>,
    pending: i64,
    processing: i64,
    succeeded: i64,
    failed: i64,
    waiting_retry: i64,
    critical_failure: i64,
    cancelled: i64,
}

impl From<Row> for Bucket {
    fn from(row: Row) -> Self {
        Self {
            interval: if row.hours == Interval::Hour.hours() { Interval::Hour } else { Interval::Day },
            starts_at: row.starts_at,
            counts: [
                row.pending,
                row.processing,
                row.succeeded,
                row.failed,
                row.waiting_retry,
                row.critical_failure,
                row.cancelled,
            ],
        }
    }
}

/// The buckets of the scope's tenant in these spans, oldest first: of one destination, or of all together.
#[tracing::instrument(name = "db.webhook_event_counts.read", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn read(
    scope: &mut TenantScope,
    destination_id: Option<DestinationId>,
    spans: Spans,
) -> Result<Vec<Bucket>, sqlx::Error> {
    if destination_id.is_some_and(|id| id.0 == ALL_DESTINATIONS) {
        return Ok(vec![]);
    }
    let tenant_id = scope.tenant_id().0;
    let rows = sqlx::query_as!(
        Row,
        r#"
        SELECT
            hours, starts_at, pending, processing, succeeded, failed, waiting_retry, critical_failure,
            cancelled
        FROM webhook_event_counts
        WHERE tenant_id = $1
          AND destination_id = $2
          AND (
              (hours = 24 AND $3
                  AND ($4::timestamptz IS NULL OR starts_at >= $4)
                  AND ($5::timestamptz IS NULL OR starts_at < $5))
              OR (hours = 1 AND starts_at >= $6 AND starts_at < $7)
              OR (hours = 1 AND starts_at >= $8 AND starts_at < $9)
          )
        ORDER BY starts_at
        "#,
        tenant_id,
        destination_id.map_or(ALL_DESTINATIONS, |id| id.0),
        spans.days.is_some(),
        spans.days.and_then(|days| days.from),
        spans.days.and_then(|days| days.before),
        spans.first_hours.map(|hours| hours.0),
        spans.first_hours.map(|hours| hours.1),
        spans.last_hours.map(|hours| hours.0),
        spans.last_hours.map(|hours| hours.1),
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(rows.into_iter().map(Bucket::from).collect())
}
