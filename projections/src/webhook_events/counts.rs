//! The counts of webhook events: what folding adds to them, and what lists read of them.
//!
//! A webhook event is counted four times: for its destination and for the whole tenant, in the hour and in
//! the day in which it was accepted. The changes of a batch of facts are summed up by bucket first, so that a
//! bucket is written once a batch. They follow from each row before and after the batch alone: a repeated
//! fact changes no row, and so no count.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aggregates::ids::DestinationId;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::EventStatus;
use crate::delivery_statistics::Interval;
use crate::tenant_scope::TenantScope;

/// Destination id of the buckets for all destinations of a tenant together.
const ALL_DESTINATIONS: Uuid = Uuid::nil();

/// Number of events by status, in the order of [`EventStatus::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts([i64; EventStatus::ALL.len()]);

/// What is counted of a webhook event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CountedEvent {
    pub(super) tenant_id: Uuid,
    pub(super) destination_id: Uuid,
    pub(super) accepted_at: DateTime<Utc>,
}

/// Primary key of a bucket. Ordered, so that two writers lock rows in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct BucketKey {
    tenant_id: Uuid,
    destination_id: Uuid,
    hours: i16,
    starts_at: DateTime<Utc>,
}

/// Differences to be added to the counts.
#[derive(Debug, Default)]
pub(super) struct CountChanges {
    buckets: BTreeMap<BucketKey, Counts>,
}

/// A bucket of a list's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) interval: Interval,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) counts: Counts,
}

/// The days that begin in a time range, its end not included; `None`: without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Days {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) before: Option<DateTime<Utc>>,
}

/// Which buckets to read: days, and the hours that begin in two time ranges, their ends not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spans {
    pub(super) days: Option<Days>,
    pub(super) first_hours: Option<(DateTime<Utc>, DateTime<Utc>)>,
    pub(super) last_hours: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Counts {
    /// Sums up the statuses for which `is_included` holds.
    pub(super) fn sum(self, is_included: impl Fn(EventStatus) -> bool) -> i64 {
        let counts = EventStatus::ALL.iter().zip(self.0);
        counts.filter(|(status, _)| is_included(**status)).map(|(_, count)| count).sum()
    }

    fn add(&mut self, status_number: i16, difference: i64) {
        let index = EventStatus::ALL.iter().position(|status| status.number() == status_number);
        if let Some(index) = index {
            self.0[index] += difference;
        }
    }
}

impl CountChanges {
    /// Notes the status (as a number) of an event before and after; `None`: there is no row.
    pub(super) fn note(&mut self, event: CountedEvent, before: Option<i16>, after: Option<i16>) {
        if before == after {
            return;
        }
        for destination_id in [ALL_DESTINATIONS, event.destination_id] {
            for interval in Interval::ALL {
                let key = BucketKey {
                    tenant_id: event.tenant_id,
                    destination_id,
                    hours: interval.hours(),
                    starts_at: interval.start(event.accepted_at),
                };
                let counts = self.buckets.entry(key).or_default();
                for (status, difference) in [(before, -1), (after, 1)] {
                    if let Some(status) = status {
                        counts.add(status, difference);
                    }
                }
            }
        }
    }

    /// Adds the changes to the table.
    #[tracing::instrument(
        name = "db.webhook_event_counts.add",
        level = "trace",
        skip_all,
        err(level = "debug")
    )]
    pub(super) async fn add(mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.buckets.retain(|_, counts| *counts != Counts::default());
        if self.buckets.is_empty() {
            return Ok(());
        }
        let mut query = sqlx::query(&ADD)
            .bind(self.buckets.keys().map(|key| key.tenant_id).collect::<Vec<_>>())
            .bind(self.buckets.keys().map(|key| key.destination_id).collect::<Vec<_>>())
            .bind(self.buckets.keys().map(|key| key.hours).collect::<Vec<_>>())
            .bind(self.buckets.keys().map(|key| key.starts_at).collect::<Vec<_>>());
        for index in 0..EventStatus::ALL.len() {
            query = query.bind(self.buckets.values().map(|counts| counts.0[index]).collect::<Vec<_>>());
        }
        query.execute(connection).await?;
        Ok(())
    }

    /// Adds the changes to the table, and removes the buckets that are empty after that: a rebuild would not
    /// create them.
    #[tracing::instrument(
        name = "db.webhook_event_counts.add_and_prune",
        level = "trace",
        skip_all,
        err(level = "debug")
    )]
    pub(super) async fn add_and_prune(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let keys: Vec<BucketKey> = self.buckets.keys().copied().collect();
        self.add(&mut *connection).await?;
        sqlx::query(&PRUNE)
            .bind(keys.iter().map(|key| key.tenant_id).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.destination_id).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.hours).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.starts_at).collect::<Vec<_>>())
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// The columns of the statuses, in the order of [`EventStatus::ALL`], each as `of` writes it.
fn columns(of: impl Fn(&str) -> String) -> String {
    let columns: Vec<String> = EventStatus::ALL.iter().map(|status| of(&column(*status))).collect();
    columns.join(", ")
}

/// Returns the column that counts a status: its name in snake case.
fn column(status: EventStatus) -> String {
    let mut column = String::new();
    for letter in status.name().chars() {
        if letter.is_ascii_uppercase() && !column.is_empty() {
            column.push('_');
        }
        column.push(letter.to_ascii_lowercase());
    }
    column
}

/// A difference may be negative, and `INSERT ... ON CONFLICT` checks constraints before it finds a conflict.
/// Existing buckets are therefore updated first, and only the others are inserted.
static ADD: LazyLock<String> = LazyLock::new(|| {
    let names = columns(str::to_owned);
    let sums = columns(|column| format!("{column} = row.{column} + incoming.{column}"));
    let first = 5; // The parameters before it are the key.
    let arrays: Vec<_> =
        (first..first + EventStatus::ALL.len()).map(|number| format!("${number}::bigint[]")).collect();
    let arrays = arrays.join(", ");
    format!(
        "WITH incoming AS (
            SELECT *
            FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::timestamptz[], {arrays})
                AS incoming (tenant_id, destination_id, hours, starts_at, {names})
        ),
        added AS (
            UPDATE webhook_event_counts AS row
            SET {sums}
            FROM incoming
            WHERE row.tenant_id = incoming.tenant_id
              AND row.destination_id = incoming.destination_id
              AND row.hours = incoming.hours
              AND row.starts_at = incoming.starts_at
            RETURNING row.tenant_id, row.destination_id, row.hours, row.starts_at
        )
        INSERT INTO webhook_event_counts (tenant_id, destination_id, hours, starts_at, {names})
        SELECT incoming.*
        FROM incoming
        LEFT JOIN added USING (tenant_id, destination_id, hours, starts_at)
        WHERE added.tenant_id IS NULL"
    )
});

static PRUNE: LazyLock<String> = LazyLock::new(|| {
    let names = columns(str::to_owned);
    format!(
        "DELETE FROM webhook_event_counts AS row
        USING unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::timestamptz[])
            AS emptied (tenant_id, destination_id, hours, starts_at)
        WHERE row.tenant_id = emptied.tenant_id
          AND row.destination_id = emptied.destination_id
          AND row.hours = emptied.hours
          AND row.starts_at = emptied.starts_at
          AND greatest({names}) = 0"
    )
});

static READ: LazyLock<String> = LazyLock::new(|| {
    let names = columns(str::to_owned);
    format!(
        "SELECT hours, starts_at, ARRAY[{names}] AS counts
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
        ORDER BY starts_at"
    )
});

/// Reads the buckets of the scope's tenant in these spans, oldest first: of one destination, or of all
/// together.
#[tracing::instrument(name = "db.webhook_event_counts.read", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn read(
    scope: &mut TenantScope,
    destination_id: Option<DestinationId>,
    spans: Spans,
) -> Result<Vec<Bucket>, sqlx::Error> {
    if destination_id.is_some_and(|id| id.0 == ALL_DESTINATIONS) {
        return Ok(vec![]);
    }
    let rows: Vec<(i16, DateTime<Utc>, [i64; EventStatus::ALL.len()])> = sqlx::query_as(&READ)
        .bind(scope.tenant_id().0)
        .bind(destination_id.map_or(ALL_DESTINATIONS, |id| id.0))
        .bind(spans.days.is_some())
        .bind(spans.days.and_then(|days| days.from))
        .bind(spans.days.and_then(|days| days.before))
        .bind(spans.first_hours.map(|hours| hours.0))
        .bind(spans.first_hours.map(|hours| hours.1))
        .bind(spans.last_hours.map(|hours| hours.0))
        .bind(spans.last_hours.map(|hours| hours.1))
        .fetch_all(scope.connection())
        .await?;
    let bucket = |(hours, starts_at, counts)| Bucket {
        interval: if hours == Interval::Hour.hours() { Interval::Hour } else { Interval::Day },
        starts_at,
        counts: Counts(counts),
    };
    Ok(rows.into_iter().map(bucket).collect())
}
