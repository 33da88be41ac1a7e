//! Payloads of webhook events: read and erased here.
//!
//! They are not a read model: the append that accepts an event stores its payload.

use std::collections::HashMap;

use aggregates::ids::WebhookEventId;
use sqlx::PgConnection;

use crate::attempt_responses;
use crate::retention::uuids;
use crate::tenant_scope::TenantScope;

/// Payload that is delivered, and the idempotency key that it was sent with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivered {
    pub text: String,
    pub idempotency_key: Option<String>,
}

/// Returns the delivered payload of each of `ids` whose payload is stored.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.payloads.delivered", level = "debug", skip_all, err(level = "debug"))]
pub async fn delivered(
    scope: &mut TenantScope,
    ids: &[WebhookEventId],
) -> Result<HashMap<WebhookEventId, Delivered>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let rows = sqlx::query!(
        "SELECT event_id, delivered, idempotency_key FROM payloads WHERE tenant_id = $1 AND event_id = ANY($2)",
        tenant_id,
        &uuids(ids),
    )
    .fetch_all(scope.connection())
    .await?;
    let delivered = rows.into_iter().map(|row| {
        let delivered = Delivered { text: text(row.delivered), idempotency_key: row.idempotency_key };
        (WebhookEventId(row.event_id), delivered)
    });
    Ok(delivered.collect())
}

/// Returns the size of the delivered payload in bytes, for each of `ids` whose payload is stored.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.payloads.sizes", level = "debug", skip_all, err(level = "debug"))]
pub async fn sizes(
    scope: &mut TenantScope,
    ids: &[WebhookEventId],
) -> Result<HashMap<WebhookEventId, u64>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let rows = sqlx::query!(
        r#"
        SELECT event_id, octet_length(delivered) AS "bytes!"
        FROM payloads
        WHERE tenant_id = $1 AND event_id = ANY($2)
        "#,
        tenant_id,
        &uuids(ids),
    )
    .fetch_all(scope.connection())
    .await?;
    Ok(rows.into_iter().map(|row| (row.event_id.into(), u64::from(row.bytes.unsigned_abs()))).collect())
}

/// Returns the received payload as text: the payload before a sender's mapping transformed it, if one did. `None`:
/// it is erased.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.payloads.received", level = "debug", skip_all, err(level = "debug"))]
pub async fn received(scope: &mut TenantScope, id: WebhookEventId) -> Result<Option<String>, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    let bytes = sqlx::query_scalar!(
        r#"
        SELECT coalesce(received, delivered) AS "received!"
        FROM payloads
        WHERE tenant_id = $1 AND event_id = $2
        "#,
        tenant_id,
        id.0,
    )
    .fetch_optional(scope.connection())
    .await?;
    Ok(bytes.map(text))
}

/// Returns whether a payload is stored.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.payloads.is_there", level = "debug", skip_all, err(level = "debug"))]
pub async fn is_there(connection: &mut PgConnection, id: WebhookEventId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM payloads WHERE event_id = $1) AS "is_there!""#, id.0,)
        .fetch_one(connection)
        .await
}

/// Returns the bytes in storage, received and delivered, for each of `ids` whose payload is stored.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.payloads.stored", level = "trace", skip_all, err(level = "debug"))]
pub async fn stored(
    connection: &mut PgConnection,
    ids: &[WebhookEventId],
) -> Result<HashMap<WebhookEventId, u64>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        SELECT event_id, octet_length(delivered) + coalesce(octet_length(received), 0) AS "bytes!"
        FROM payloads
        WHERE event_id = ANY($1)
        "#,
        &uuids(ids),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.event_id.into(), u64::from(row.bytes.unsigned_abs()))).collect())
}

/// Erases payloads and idempotency keys, with what is kept of the responses to their attempts, and adds the bytes of the
/// payloads to those that were erased of their tenants. Returns how many payloads there were.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.payloads.erase", level = "trace", skip_all, err(level = "debug"))]
pub async fn erase(connection: &mut PgConnection, ids: &[WebhookEventId]) -> Result<u64, sqlx::Error> {
    attempt_responses::erase(connection, ids).await?;
    let erased = sqlx::query_scalar!(
        r#"
        WITH erased AS (
            DELETE FROM payloads
            WHERE event_id = ANY($1)
            RETURNING tenant_id, octet_length(delivered)::bigint + coalesce(octet_length(received), 0) AS bytes
        ),
        counted AS (
            INSERT INTO retention_floors AS floor (tenant_id, erased_bytes)
            SELECT tenant_id, sum(bytes)::bigint
            FROM erased
            GROUP BY tenant_id
            ON CONFLICT (tenant_id) DO UPDATE SET erased_bytes = floor.erased_bytes + excluded.erased_bytes
        )
        SELECT count(*) AS "erased!" FROM erased
        "#,
        &uuids(ids),
    )
    .fetch_one(connection)
    .await?;
    Ok(erased.unsigned_abs())
}

/// Payloads are JSON, and JSON is UTF-8, so the conversion is lossless.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
