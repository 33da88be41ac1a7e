//! Which facts are counted, and how.

use std::collections::HashMap;

use aggregates::fact::Fact;
use aggregates::ids::DestinationId;
use aggregates::webhook_event::WebhookEventFact;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rows::Key;
use super::{ALL_DESTINATIONS, Interval};
use crate::fold::SequenceGap;
use crate::log_rows;
use crate::logged_fact::LoggedFact;

/// How a fact is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Accepted,
    Succeeded { took_ms: u64 },
    AttemptFailed,
    CriticalFailure,
    Cancelled,
    Replayed,
}

/// A fact that is counted.
pub(super) struct Counted<'a> {
    pub(super) logged: &'a LoggedFact,
    destination_id: DestinationId,
    at: DateTime<Utc>,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Independent of earlier facts.
    Plain(What),
    /// A delivery, and its begin; `None`: before this batch.
    Delivered { begun_at: Option<DateTime<Utc>> },
}

impl Counted<'_> {
    /// Returns the keys of the buckets that it is counted in.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> + use<> {
        let (tenant_id, at) = (self.logged.tenant_id.0, self.at);
        [self.destination_id.0, ALL_DESTINATIONS].into_iter().flat_map(move |destination_id| {
            Interval::ALL.into_iter().map(move |interval| Key {
                tenant_id,
                destination_id,
                interval,
                starts_at: interval.start(at),
            })
        })
    }

    /// Returns how it is counted.
    pub(super) fn what(&self) -> Result<What, SequenceGap> {
        match self.kind {
            Kind::Plain(what) => Ok(what),
            Kind::Delivered { begun_at } => {
                let begun_at = begun_at.ok_or_else(|| SequenceGap::of(self.logged, None))?;
                // The clocks of two machines may differ.
                let took_ms = u64::try_from((self.at - begun_at).num_milliseconds()).unwrap_or(0);
                Ok(What::Succeeded { took_ms })
            }
        }
    }

    fn begun_before_this_batch(&self) -> bool {
        matches!(self.kind, Kind::Delivered { begun_at: None })
    }
}

/// Returns those of `facts` that are counted.
pub(super) fn of(facts: &[LoggedFact]) -> Vec<Counted<'_>> {
    use WebhookEventFact as Of;
    let mut begun: HashMap<Uuid, DateTime<Utc>> = HashMap::new();
    let mut counted = vec![];
    for logged in facts {
        let Fact::WebhookEvent(fact) = &logged.fact else { continue };
        let (destination_id, at, kind) = match fact {
            Of::EventAccepted(acceptance) => {
                begun.insert(logged.stream_id, acceptance.at);
                (acceptance.destination_id, acceptance.at, Kind::Plain(What::Accepted))
            }
            Of::Replayed { destination_id, at, .. } => {
                begun.insert(logged.stream_id, *at);
                (*destination_id, *at, Kind::Plain(What::Replayed))
            }
            Of::DeliveryAttempted { destination_id, report, at, .. } => {
                let kind = if report.outcome.is_success() {
                    Kind::Delivered { begun_at: begun.get(&logged.stream_id).copied() }
                } else if report.outcome.counts_as_failure() {
                    Kind::Plain(What::AttemptFailed)
                } else {
                    continue;
                };
                (*destination_id, *at, kind)
            }
            Of::CriticalFailure { destination_id, at, .. } => {
                (*destination_id, *at, Kind::Plain(What::CriticalFailure))
            }
            Of::Cancelled { destination_id, at, .. } => (*destination_id, *at, Kind::Plain(What::Cancelled)),
            Of::DeliveryStarted { .. } | Of::RetryScheduled { .. } | Of::PayloadErased { .. } => continue,
        };
        counted.push(Counted { logged, destination_id, at, kind });
    }
    counted
}

/// Reads the begin of deliveries of which this batch has only the end.
pub(super) async fn look_up_beginnings(
    connection: &mut PgConnection,
    counted: &mut [Counted<'_>],
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = counted
        .iter()
        .filter(|fact| fact.begun_before_this_batch())
        .map(|fact| fact.logged.stream_id)
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let begun = begun_at(connection, &ids).await?;
    for fact in counted.iter_mut().filter(|fact| fact.begun_before_this_batch()) {
        fact.kind = Kind::Delivered { begun_at: begun.get(&fact.logged.stream_id).copied() };
    }
    Ok(())
}

/// Returns when the deliveries of these events began. A delivered event cannot be replayed, so a repeated fact finds
/// the same time.
#[tracing::instrument(
    name = "db.delivery_statistics.begun_at",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
async fn begun_at(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, DateTime<Utc>>, sqlx::Error> {
    // LATERAL looks each stream up by the key; for a mere condition and an order the planner may choose to
    // walk through the whole log in that order.
    let rows = log_rows!(
        r#"
        FROM unnest($1::text[]) AS stream (id)
        CROSS JOIN LATERAL (
            SELECT *
            FROM events
            WHERE aggregate_type = 'WebhookEvent'
              AND aggregate_id = stream.id
              AND event_type IN ('EventAccepted', 'Replayed')
            ORDER BY sequence DESC
            LIMIT 1
        ) AS fact
        "#,
        &ids.iter().map(Uuid::to_string).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    let mut begun = HashMap::with_capacity(ids.len());
    for row in rows {
        let logged =
            LoggedFact::try_from(row).map_err(|unreadable| sqlx::Error::Decode(unreadable.into()))?;
        match logged.fact {
            Fact::WebhookEvent(WebhookEventFact::EventAccepted(acceptance)) => {
                begun.insert(logged.stream_id, acceptance.at);
            }
            Fact::WebhookEvent(WebhookEventFact::Replayed { at, .. }) => {
                begun.insert(logged.stream_id, at);
            }
            _ => {}
        }
    }
    Ok(begun)
}
