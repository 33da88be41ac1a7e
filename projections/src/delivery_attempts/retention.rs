//! Retention of attempts.

use aggregates::ids::WebhookEventId;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::non_appending::mark_non_appending;
use crate::retention::{self, uuids};
use crate::webhook_events;

/// Maximum of events whose attempts are examined, and removed, in one statement.
const EVENTS_MAX: i64 = 5_000;

/// Removes the attempts of events. Returns how many there were.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.delivery_attempts.remove", level = "trace", skip_all, err(level = "debug"))]
pub async fn remove(connection: &mut PgConnection, events: &[WebhookEventId]) -> Result<u64, sqlx::Error> {
    let removed = sqlx::query!("DELETE FROM delivery_attempts WHERE event_id = ANY($1)", &uuids(events));
    Ok(removed.execute(connection).await?.rows_affected())
}

/// Removes from the rows of the session `aside` the attempts of events that are missing in the rows of the session
/// `live`. The rows of `aside` must contain every fact that those of `live` contained when events were last removed.
/// Returns how many attempts there were.
pub(super) async fn remove_returned(
    aside: &mut PgConnection,
    live: &mut PgConnection,
) -> Result<u64, sqlx::Error> {
    if retention::highest(live).await?.is_none() {
        return Ok(0);
    }
    let (mut count, mut after) = (0, Uuid::nil());
    loop {
        let attempted = attempted_after(aside, after).await?;
        let Some(last) = attempted.last() else { return Ok(count) };
        after = *last;
        let left: Vec<Uuid> = webhook_events::have_left(live, attempted).await?.into_iter().collect();
        let mut transaction = aside.begin().await?;
        mark_non_appending(&mut transaction).await?;
        count += remove(&mut transaction, &retention::events(&left)).await?;
        transaction.commit().await?;
    }
}

/// Returns the next events with attempts, by id.
#[tracing::instrument(
    name = "db.delivery_attempts.attempted_after",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
async fn attempted_after(connection: &mut PgConnection, after: Uuid) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT event_id FROM delivery_attempts WHERE event_id > $1 ORDER BY event_id LIMIT $2",
        after,
        EVENTS_MAX,
    )
    .fetch_all(connection)
    .await
}
