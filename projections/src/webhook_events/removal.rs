//! Removes webhook events and their counts.

use aggregates::ids::WebhookEventId;
use sqlx::PgConnection;
use uuid::Uuid;

use super::counts::{CountChanges, CountedEvent};
use super::recount;

/// Removes webhook events together with their counts, in the caller's transaction. Returns how many there
/// were. The events must be final: a later fact would find no row, and halt the projection.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.webhook_events.remove", level = "debug", skip_all, err(level = "debug"))]
pub async fn remove(connection: &mut PgConnection, ids: &[WebhookEventId]) -> Result<u64, sqlx::Error> {
    let mark = recount::mark(connection).await?;
    // In the order in which folding writes them, so that the two cannot deadlock.
    let rows = sqlx::query!(
        r#"
        WITH doomed AS (
            SELECT id
            FROM webhook_events
            WHERE id = ANY($1)
            ORDER BY id
            FOR UPDATE
        )
        DELETE FROM webhook_events
        USING doomed
        WHERE webhook_events.id = doomed.id
        RETURNING
            webhook_events.id, webhook_events.tenant_id, webhook_events.destination_id,
            webhook_events.accepted_at, webhook_events.status
        "#,
        &ids.iter().map(|id| id.0).collect::<Vec<Uuid>>(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut changes = CountChanges::default();
    for row in rows.iter().filter(|row| mark.is_none_or(|mark| row.id <= mark)) {
        let event = CountedEvent {
            tenant_id: row.tenant_id,
            destination_id: row.destination_id,
            accepted_at: row.accepted_at,
        };
        changes.note(event, Some(row.status), None);
    }
    changes.add_and_prune(connection).await?;
    Ok(rows.len() as u64)
}
