//! Counts webhook events that were stored before `webhook_event_counts` existed, step by step.
//!
//! Events with an id up to the mark are counted. During the recount folding counts changes of those alone, and
//! lists count row by row.

use sqlx::PgConnection;
use uuid::Uuid;

use super::counts::{CountChanges, CountedEvent};
use crate::tenant_scope::TenantScope;

/// Webhook events counted in one step.
const STEP_EVENTS: i64 = 5_000;

/// Returns whether a recount is in progress, so that the counts are incomplete.
#[tracing::instrument(
    name = "db.webhook_event_recounts.is_in_progress",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(super) async fn is_in_progress(scope: &mut TenantScope) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT under_way FROM webhook_event_recounts) AS "under_way!""#)
        .fetch_one(scope.connection())
        .await
}

/// Returns the id up to which webhook events are counted; `None`: all of them are.
#[tracing::instrument(
    name = "db.webhook_event_recounts.mark",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub(super) async fn mark(connection: &mut PgConnection) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("SELECT reached FROM webhook_event_recounts").fetch_optional(connection).await
}

/// Counts some of the webhook events that are not counted yet. Returns whether any are left. The caller ensures
/// that no other session folds webhook events at the same time.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.webhook_event_recounts.step",
    level = "debug",
    skip_all,
    err(level = "debug")
)]
pub async fn recount(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let Some(mark) = mark(connection).await? else { return Ok(false) };
    let rows = sqlx::query!(
        r#"
        SELECT id, tenant_id, destination_id, accepted_at, status
        FROM webhook_events
        WHERE id > $1
        ORDER BY id
        LIMIT $2
        FOR KEY SHARE
        "#,
        mark,
        STEP_EVENTS,
    )
    .fetch_all(&mut *connection)
    .await?;
    let Some(last) = rows.last() else {
        sqlx::query!("DELETE FROM webhook_event_recounts").execute(connection).await?;
        return Ok(false);
    };
    let reached = last.id;
    let mut changes = CountChanges::default();
    for row in rows {
        let event = CountedEvent {
            tenant_id: row.tenant_id,
            destination_id: row.destination_id,
            accepted_at: row.accepted_at,
        };
        changes.note(event, None, Some(row.status));
    }
    changes.add(connection).await?;
    sqlx::query!("UPDATE webhook_event_recounts SET reached = $1", reached).execute(connection).await?;
    Ok(true)
}
