//! Reads the log and the read model of events, without any proxy.

use anyhow::Context;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::history::{Fact, StoredPayload};
use crate::recorder::RunClock;

/// Names of the statuses in `webhook_events`, by their number.
const STATUSES: [&str; 7] =
    ["Pending", "Processing", "Succeeded", "Failed", "WaitingRetry", "CriticalFailure", "Cancelled"];

/// Counts the events that have not ended, by the log and by the read model.
const NOT_ENDED: &str = "
    SELECT (
        SELECT count(*)
        FROM (
            SELECT DISTINCT ON (aggregate_id) event_type, payload
            FROM events
            WHERE aggregate_type = 'WebhookEvent' AND event_type <> 'PayloadErased'
            ORDER BY aggregate_id, sequence DESC
        ) AS last
        WHERE event_type NOT IN ('CriticalFailure', 'Cancelled')
        AND payload #>> '{DeliveryAttempted,report,outcome}' IS DISTINCT FROM 'succeeded'
    ), (
        SELECT count(*) FROM webhook_events WHERE status NOT IN (2, 5, 6)
    )";

/// Reads the whole log in its total order.
///
/// # Errors
/// The server does not answer.
pub(crate) async fn read_facts(connection: &mut PgConnection, clock: RunClock) -> anyhow::Result<Vec<Fact>> {
    let has_era = "SELECT EXISTS (SELECT FROM information_schema.columns WHERE table_name = 'events' AND column_name = 'era')";
    let has_era: bool = sqlx::query_scalar(has_era).fetch_one(&mut *connection).await?;
    let order = if has_era { "era, transaction_id, position" } else { "transaction_id, position" };
    let statement = format!(
        "SELECT
             aggregate_type, aggregate_id, sequence, event_type, payload, recorded_at,
             encode(sha256(payloads.delivered), 'hex'), payloads.salt
         FROM events
         LEFT JOIN payloads ON event_type = 'EventAccepted' AND payloads.event_id::text = aggregate_id
         ORDER BY {order}"
    );
    let rows = sqlx::query(&statement).fetch_all(connection).await.context("the log cannot be read")?;
    rows.iter()
        .map(|row| {
            Ok(Fact {
                aggregate_type: row.try_get(0)?,
                aggregate_id: row.try_get(1)?,
                sequence: row.try_get(2)?,
                event_type: row.try_get(3)?,
                payload: row.try_get::<Value, _>(4)?,
                recorded: clock.run_time(row.try_get::<DateTime<Utc>, _>(5)?),
                stored: row
                    .try_get::<Option<String>, _>(6)?
                    .zip(row.try_get(7)?)
                    .map(|(sha256, salt)| StoredPayload { sha256, salt }),
            })
        })
        .collect()
}

/// Reads the status of each event in the read model.
///
/// # Errors
/// The server does not answer.
pub(crate) async fn read_statuses(
    connection: &mut PgConnection,
) -> anyhow::Result<Vec<(Uuid, &'static str)>> {
    let rows = sqlx::query("SELECT id, status FROM webhook_events").fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let status = usize::try_from(row.try_get::<i16, _>(1)?).unwrap_or(usize::MAX);
            Ok((row.try_get(0)?, STATUSES.get(status).copied().unwrap_or("unknown")))
        })
        .collect()
}

/// Returns the number of events that have not ended, by the log and by the read model.
///
/// # Errors
/// The server does not answer.
pub(crate) async fn count_not_ended(connection: &mut PgConnection) -> anyhow::Result<(i64, i64)> {
    let row = sqlx::query(NOT_ENDED).fetch_one(connection).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
