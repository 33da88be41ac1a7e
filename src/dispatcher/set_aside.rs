//! Events that the dispatcher has set aside, because this version of the program cannot read one of their facts.
//!
//! A newer process may write facts that the leader does not know yet. Such an event waits, and all others go on.
//! Each new leader tries to read the events again that were set aside; one that it can read is continued. The table
//! `set_aside_events` is written in the checkpoint's transaction.

use aggregates::ids::WebhookEventId;
use chrono::{DateTime, Utc};
use projections::logged_fact::UnreadableRow;
use projections::{LogPosition, LogRow, LoggedFact};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::due_deliveries::DueDelivery;
use super::fold::Fetched;
use super::schedule::Schedule;
use crate::clock::{BootTime, Present};

/// Most events that may be set aside. With more, hardly anything is delivered, and a person has to act: the
/// dispatcher stops instead.
pub(super) const SET_ASIDE_MAX: usize = 10_000;

/// An event with a fact that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetAside {
    pub(super) event_id: WebhookEventId,
    /// Why its fact cannot be read.
    pub(super) reason: String,
}

/// Returns what a stream says up to `until`: what is due, or `None` if the event has ended.
///
/// # Errors
/// When a fact cannot be read.
pub(super) fn fold_stream(
    rows: Vec<LogRow>,
    until: LogPosition,
) -> Result<Option<DueDelivery>, UnreadableRow> {
    // A schedule without lanes: what an outcome means for the destination was folded before.
    let mut schedule = Schedule::default();
    let present = Present { wall: DateTime::<Utc>::MAX_UTC, boot: BootTime::default() };
    for row in rows {
        // What is beyond is read again, like the facts of all other events.
        if row.log_position() <= until {
            schedule.fold(&LoggedFact::try_from(row)?, &Fetched::new(), present);
        }
    }
    Ok(schedule.changes.into_values().find_map(|change| change.row))
}

/// Returns the events that are set aside.
#[tracing::instrument(name = "db.set_aside_events.load", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn load(connection: &mut PgConnection) -> Result<Vec<WebhookEventId>, sqlx::Error> {
    let events = sqlx::query_scalar!("SELECT event_id FROM set_aside_events").fetch_all(connection).await?;
    Ok(events.into_iter().map(WebhookEventId).collect())
}

/// Returns the number of events that are set aside.
///
/// # Errors
/// When the database fails.
pub(crate) async fn count(pool: &PgPool) -> Result<u64, sqlx::Error> {
    let count =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM set_aside_events"#).fetch_one(pool).await?;
    Ok(count.unsigned_abs())
}

/// Adds events that are set aside.
#[tracing::instrument(name = "db.set_aside_events.write", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn write(connection: &mut PgConnection, events: &[SetAside]) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "
        INSERT INTO set_aside_events (event_id, reason, since)
        SELECT event_id, reason, now()
        FROM unnest($1::uuid[], $2::text[]) AS event (event_id, reason)
        ON CONFLICT DO NOTHING
        ",
        &events.iter().map(|event| event.event_id.0).collect::<Vec<_>>(),
        &events.iter().map(|event| event.reason.clone()).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes events that can be read again.
#[tracing::instrument(name = "db.set_aside_events.remove", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn remove(connection: &mut PgConnection, events: &[Uuid]) -> Result<(), sqlx::Error> {
    if !events.is_empty() {
        sqlx::query!("DELETE FROM set_aside_events WHERE event_id = ANY ($1)", events)
            .execute(connection)
            .await?;
    }
    Ok(())
}
