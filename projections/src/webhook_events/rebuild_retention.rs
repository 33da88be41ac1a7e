//! Events that come back when rows are built anew from the log, and have to leave again.
//!
//! New rows lose exactly what the live ones have lost. What retention might remove as well, and has not,
//! stays: it may be replayed at this moment, and then facts follow that need a row.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::retention_candidates::removed;
use crate::retention::{self, events};

/// Events looked at, and at most removed, in one transaction.
const LOOKED_AT_ONCE: i64 = 5_000;

/// Removes from the rows that `aside` sees those events that have ended and have left the rows that `live`
/// sees. `aside` is at least as far in the log as `live` was when they left. Answers how many there were.
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
        count += super::remove(&mut transaction, &events(&left)).await?;
        transaction.commit().await?;
    }
}

/// Those of `ids` that have no row because retention removed it.
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
          AND status IN (2, 5, 6)
          AND accepted_at < $2
        ORDER BY id
        LIMIT $3
        ",
        after,
        before,
        LOOKED_AT_ONCE,
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
