//! Retention of rebuilt rows: events that retention removed from the live rows are removed from the new rows too.
//!
//! The new rows lose exactly the events that the live rows have lost. Events that retention could remove and has not
//! are kept: a replay may be in progress, and its facts need a row.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::retention_candidates::removed;
use crate::non_appending::mark_non_appending;
use crate::retention::{self, events};

/// Maximum of events examined, and removed, in one transaction.
const EVENTS_MAX: i64 = 5_000;

/// Removes the final events that are missing in the rows of the session `live` from those of the session `aside`.
/// The rows of `aside` must contain every fact that those of `live` contained when events were last removed. Returns
/// how many events there were.
pub(crate) async fn remove_returned(
    aside: &mut PgConnection,
    live: &mut PgConnection,
) -> Result<u64, sqlx::Error> {
    let Some(before) = retention::highest(live).await? else { return Ok(0) };
    let (mut count, mut after) = (0, Uuid::nil());
    loop {
        let ended = ended_after(aside, after, before).await?;
        let Some(last) = ended.last() else { return Ok(count) };
        after = *last;
        let left: Vec<Uuid> = have_left(live, ended).await?.into_iter().collect();
        let mut transaction = aside.begin().await?;
        mark_non_appending(&mut transaction).await?;
        count += super::remove(&mut transaction, &events(&left)).await?;
        transaction.commit().await?;
    }
}

/// Returns those of `ids` that have no row because retention removed it.
pub(crate) async fn have_left(live: &mut PgConnection, ids: Vec<Uuid>) -> Result<HashSet<Uuid>, sqlx::Error> {
    let rowless = rowless(live, &ids).await?;
    removed(live, rowless).await
}

#[tracing::instrument(
    name = "db.webhook_events.ended_after",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
async fn ended_after(
    connection: &mut PgConnection,
    after: Uuid,
    before: DateTime<Utc>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "
        SELECT id
        FROM webhook_events
        WHERE id > $1
          AND public.event_status_is_final(status)
          AND accepted_at < $2
        ORDER BY id
        LIMIT $3
        ",
        after,
        before,
        EVENTS_MAX,
    )
    .fetch_all(connection)
    .await
}

#[tracing::instrument(name = "db.webhook_events.rowless", level = "trace", skip_all, err(level = "debug"))]
async fn rowless(connection: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT wanted.id AS "id!"
        FROM unnest($1::uuid[]) AS wanted (id)
        WHERE NOT EXISTS (SELECT FROM webhook_events AS event WHERE event.id = wanted.id)
        "#,
        ids,
    )
    .fetch_all(connection)
    .await
}
