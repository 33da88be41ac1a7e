//! The rows of every read model, to be compared as a whole.

use serde_json::Value;
use sqlx::{PgExecutor, PgPool};

/// Everything that the projections have written.
pub(crate) async fn all(database: impl PgExecutor<'_>) -> Value {
    sqlx::query_scalar!(
        r#"
        SELECT jsonb_build_object(
            'tenants', (SELECT jsonb_agg(to_jsonb(row) ORDER BY id) FROM tenants AS row),
            'users', (SELECT jsonb_agg(to_jsonb(row) ORDER BY id) FROM users AS row),
            'sessions', (SELECT jsonb_agg(to_jsonb(row) ORDER BY id) FROM sessions AS row),
            'invites', (SELECT jsonb_agg(to_jsonb(row) ORDER BY id) FROM invites AS row),
            'api_keys', (SELECT jsonb_agg(to_jsonb(row) ORDER BY id) FROM api_keys AS row),
            'destinations', (SELECT jsonb_agg(to_jsonb(row) ORDER BY id) FROM destinations AS row),
            'senders', (SELECT jsonb_agg(to_jsonb(row) ORDER BY id) FROM senders AS row),
            'ingest_routes', (SELECT jsonb_agg(to_jsonb(row) ORDER BY owner_id) FROM ingest_routes AS row),
            'webhook_events', (SELECT jsonb_agg(to_jsonb(row) ORDER BY id) FROM webhook_events AS row),
            'delivery_attempts',
                (SELECT jsonb_agg(to_jsonb(row) ORDER BY event_id, attempt) FROM delivery_attempts AS row),
            'delivery_statistics', (
                SELECT jsonb_agg(to_jsonb(row) ORDER BY tenant_id, destination_id, hours, starts_at)
                FROM delivery_statistics AS row
            ),
            'webhook_event_counts', (
                SELECT jsonb_agg(to_jsonb(row) ORDER BY tenant_id, destination_id, hours, starts_at)
                FROM webhook_event_counts AS row
            )
        ) AS "rows!"
        "#
    )
    .fetch_one(database)
    .await
    .unwrap()
}

/// Forgets everything that the projections have written.
pub(crate) async fn forget(pool: &PgPool) {
    sqlx::query!(
        "
        TRUNCATE tenants, users, sessions, invites, api_keys, destinations, senders, ingest_routes,
                 webhook_events, webhook_event_counts, webhook_event_recounts, delivery_attempts,
                 delivery_statistics
        "
    )
    .execute(pool)
    .await
    .unwrap();
}
