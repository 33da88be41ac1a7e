//! Statistics: what was accepted, delivered and given up, by hour and day, by destination and in all.
//!
//! Each fact is counted in the bucket of its own time, four times: for its destination and for the whole
//! tenant, by hour and by day. So whatever is asked, an answer adds up no more rows than it has points.
//!
//! The other read models pass over repeated facts by the version of a row's stream; a bucket shows no one
//! stream. It keeps the place in the log of the last fact that was counted in it: facts come in the
//! log's order, so whatever stands at or before that place is in its counts already.
//!
//! The time of a delivery runs from the acceptance, or from the last replay: until somebody asked for
//! the replay nothing was under way. When that was, is looked up in the log itself and not in another
//! read model, which may lag, be rebuilt, or have forgotten old events.

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

/// Stands where a destination would: all of them.
const ALL_DESTINATIONS: Uuid = Uuid::nil();

/// What happened, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub succeeded: u64,
    /// Attempts that failed. Those whose outcome is not known are not among them.
    pub failed_attempts: u64,
    /// Webhook events given up. One that was replayed may be given up again.
    pub critical_failures: u64,
    pub cancelled: u64,
    pub replayed: u64,
    /// How long the deliveries took, from acceptance or the last replay.
    pub times_to_deliver: TimesToDeliver,
}

impl Counts {
    /// Counts what `other` counted too.
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
            What::GivenUp => self.critical_failures += 1,
            What::Cancelled => self.cancelled += 1,
            What::Replayed => self.replayed += 1,
        }
    }
}

/// What happened within an hour or a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub starts_at: DateTime<Utc>,
    /// What happened in it.
    pub counts: Counts,
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

/// The buckets that begin in `[from, to)` and in which anything happened, oldest first: of one
/// destination, or of all that the scope's tenant has.
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
