//! Delivery statistics by hour and day, by destination and for the whole tenant.
//!
//! Each fact is counted in the buckets of its own time, four times: for its destination and for the whole tenant, by
//! hour and by day. A query therefore reads one row for each point that it returns.
//!
//! Other read models skip repeated facts by the version of the row's stream, but a bucket has facts of many streams. It
//! has the position of the last fact that was counted in it: facts arrive in the order of the log, so facts at or
//! before that position are counted already.
//!
//! The duration of a delivery begins with the acceptance, or with the last replay. That time is read from the log and
//! not from another read model, which may lag, be rebuilt, or have lost the event to retention.

mod counted;
mod interval;
mod rows;
mod times_to_deliver;

use std::collections::BTreeSet;

use aggregates::ids::DestinationId;
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

pub use interval::Interval;
pub use times_to_deliver::TimesToDeliver;

use crate::fold::{AggregateFact, ApplyFailure};
use crate::logged_fact::LoggedFact;
use crate::projection::ReadModel;
use crate::tenant_scope::TenantScope;
use counted::What;
use rows::{Key, StoredRow};

/// Destination id of the buckets for all destinations of a tenant together.
const ALL_DESTINATIONS: Uuid = Uuid::nil();

/// Numbers of facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub succeeded: u64,
    /// Failed attempts, without those whose outcome is unknown.
    pub failed_attempts: u64,
    /// Events whose last attempt failed. A replayed event may be counted again.
    pub critical_failures: u64,
    pub cancelled: u64,
    pub replayed: u64,
    /// Durations of deliveries, from the acceptance or the last replay.
    pub times_to_deliver: TimesToDeliver,
}

impl Counts {
    /// Adds the numbers of `other`.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.succeeded += other.succeeded;
        self.failed_attempts += other.failed_attempts;
        self.critical_failures += other.critical_failures;
        self.cancelled += other.cancelled;
        self.replayed += other.replayed;
        self.times_to_deliver.add(&other.times_to_deliver);
    }

    fn count(&mut self, what: What) {
        match what {
            What::Accepted => self.accepted += 1,
            What::Succeeded { took_ms } => {
                self.succeeded += 1;
                self.times_to_deliver.count(took_ms);
            }
            What::AttemptFailed => self.failed_attempts += 1,
            What::CriticalFailure => self.critical_failures += 1,
            What::Cancelled => self.cancelled += 1,
            What::Replayed => self.replayed += 1,
        }
    }
}

/// Numbers of facts within an hour or a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub starts_at: DateTime<Utc>,
    pub counts: Counts,
}

/// Numbers of facts of one destination within an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hour {
    pub destination_id: DestinationId,
    pub starts_at: DateTime<Utc>,
    pub accepted: u64,
    pub succeeded: u64,
    pub failed_attempts: u64,
    pub critical_failures: u64,
}

#[derive(Debug)]
pub(crate) struct DeliveryStatistics;

impl ReadModel for DeliveryStatistics {
    const NAME: &'static str = "delivery_statistics";
    const AGGREGATES: &'static [&'static str] = &[WebhookEventFact::AGGREGATE];
    const READS: &'static [&'static str] = &["events"];

    async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
        apply(connection, facts).await
    }
}

async fn apply(connection: &mut PgConnection, facts: &[LoggedFact]) -> Result<(), ApplyFailure> {
    let mut counted = counted::of(facts);
    let keys: BTreeSet<Key> = counted.iter().flat_map(|fact| fact.keys()).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let mut rows = rows::load(connection, &keys).await?;
    counted.retain(|fact| {
        let is_news = |key| rows.get(&key).is_none_or(|row| row.position < fact.logged.position);
        fact.keys().any(is_news)
    });
    counted::look_up_beginnings(connection, &mut counted).await?;

    let mut changed = BTreeSet::new();
    for fact in counted {
        let what = fact.what()?;
        for key in fact.keys() {
            let row = rows.entry(key).or_default();
            if row.position < fact.logged.position {
                row.counts.count(what);
                row.position = fact.logged.position;
                changed.insert(key);
            }
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    rows.retain(|key, _| changed.contains(key));
    Ok(rows::store(connection, &rows).await?)
}

/// Returns the buckets that are not empty and begin in `[from, to)`, oldest first: of one destination, or of all
/// destinations of the scope's tenant together.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.delivery_statistics.list", level = "debug", skip_all, err(level = "debug"))]
pub async fn list(
    scope: &mut TenantScope,
    destination_id: Option<DestinationId>,
    interval: Interval,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Bucket>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    if destination_id.is_some_and(|id| id.0 == ALL_DESTINATIONS) {
        return Ok(vec![]);
    }
    let rows = sqlx::query_as!(
        StoredRow,
        r#"
        SELECT
            tenant_id, destination_id, hours, starts_at, accepted, succeeded, failed_attempts,
            critical_failures, cancelled, replayed, times_to_deliver,
            transaction_id AS "transaction_id: _", position
        FROM delivery_statistics
        WHERE tenant_id = $1
          AND destination_id = $2
          AND hours = $3
          AND starts_at >= $4
          AND starts_at < $5
        ORDER BY starts_at
        "#,
        tenant_id,
        destination_id.map_or(ALL_DESTINATIONS, |id| id.0),
        interval.hours(),
        from,
        to,
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(rows.iter().map(|row| Bucket { starts_at: row.starts_at, counts: row.counts() }).collect())
}

/// Returns the hours that are not empty and begin in `[from, to)`, of several destinations of the scope's tenant: those of
/// each destination oldest first.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.delivery_statistics.by_destination",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub async fn by_destination(
    scope: &mut TenantScope,
    destinations: &[DestinationId],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Hour>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let ids: Vec<Uuid> = destinations.iter().map(|id| id.0).collect();
    let rows = sqlx::query!(
        r#"
        SELECT destination_id, starts_at, accepted, succeeded, failed_attempts, critical_failures
        FROM delivery_statistics
        WHERE tenant_id = $1
          AND destination_id = ANY ($2)
          AND hours = $3
          AND starts_at >= $4
          AND starts_at < $5
        ORDER BY destination_id, starts_at
        "#,
        tenant_id,
        &ids,
        Interval::Hour.hours(),
        from,
        to,
    )
    .fetch_all(scope.connection())
    .await?;
    let count = |column: i64| u64::try_from(column).unwrap_or_default();
    let hours = rows.into_iter().map(|row| Hour {
        destination_id: row.destination_id.into(),
        starts_at: row.starts_at,
        accepted: count(row.accepted),
        succeeded: count(row.succeeded),
        failed_attempts: count(row.failed_attempts),
        critical_failures: count(row.critical_failures),
    });
    Ok(hours.collect())
}
