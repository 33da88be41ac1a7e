//! Decides which suspects are unaccounted for.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Judges suspects, and stores which of them are unaccounted for. `known` are those that were before.
pub(super) async fn judge(
    connection: &mut PgConnection,
    known: &[Uuid],
    suspects: &[Uuid],
    settled_before: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let unaccounted = unaccounted_among(&mut *connection, suspects, settled_before).await?;
    let accounted: Vec<Uuid> = known.iter().copied().filter(|id| !unaccounted.contains(id)).collect();
    sqlx::query!("DELETE FROM unaccounted_events WHERE event_id = ANY ($1)", &accounted)
        .execute(&mut *connection)
        .await?;
    let found = sqlx::query!(
        r#"
        INSERT INTO unaccounted_events (event_id, tenant_id)
        SELECT aggregate_id::uuid, tenant_id
        FROM events
        WHERE aggregate_type = 'WebhookEvent'
          AND aggregate_id = ANY ($1)
          AND sequence = 1
        ON CONFLICT DO NOTHING
        RETURNING event_id, tenant_id
        "#,
        &unaccounted.iter().map(Uuid::to_string).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    if let Some(first) = found.first() {
        tracing::error!(
            events = found.len(),
            first.event.id = %first.event_id,
            first.tenant.id = %first.tenant_id,
            "accepted events have neither ended nor will be delivered, or lists lack them; the table \
             unaccounted_events names them"
        );
    }
    Ok(())
}

/// Returns those of `suspects` that are unaccounted for. An event with a row is accounted for if it had a fact after
/// `settled_before`, or if the row is as recent as the log and the event is final or due. An event without a row is
/// if it was accepted after `settled_before`, or if retention removed it.
#[tracing::instrument(name = "db.completeness.judge", level = "trace", skip_all, err(level = "debug"))]
async fn unaccounted_among(
    connection: &mut PgConnection,
    suspects: &[Uuid],
    settled_before: DateTime<Utc>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT suspect.id AS "id!"
        FROM unnest($1::uuid[]) AS suspect (id)
        JOIN events AS accepted
            ON accepted.aggregate_type = 'WebhookEvent'
            AND accepted.aggregate_id = suspect.id::text
            AND accepted.sequence = 1
        CROSS JOIN LATERAL (
            SELECT sequence, recorded_at
            FROM events
            WHERE aggregate_type = 'WebhookEvent'
              AND aggregate_id = suspect.id::text
            ORDER BY sequence DESC
            LIMIT 1
        ) AS last
        LEFT JOIN webhook_events AS event ON event.id = suspect.id
        LEFT JOIN retention_floors AS floor ON floor.tenant_id = accepted.tenant_id
        WHERE CASE
            WHEN event.id IS NULL THEN
                accepted.recorded_at < $2
                AND (
                    floor.events_before IS NULL
                    OR (accepted.payload -> 'EventAccepted' ->> 'at')::timestamptz >= floor.events_before
                )
            ELSE
                last.recorded_at < $2
                AND (
                    event.version < last.sequence
                    OR NOT event_status_is_final(event.status)
                    AND NOT EXISTS (SELECT FROM due_deliveries WHERE event_id = suspect.id)
                )
        END
        "#,
        suspects,
        settled_before,
    )
    .fetch_all(connection)
    .await
}
