//! Events whose payloads an erasure on request is for.

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, QueryBuilder};
use uuid::Uuid;

use super::filter::Filter;
use crate::listing::push_conditions;
use crate::retention::AcceptancePosition;

/// Event in the scope of an erasure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasureCandidate {
    pub id: WebhookEventId,
    pub destination_id: DestinationId,
    pub accepted_at: DateTime<Utc>,
    /// Whether its payload is stored.
    pub has_payload: bool,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    destination_id: Uuid,
    accepted_at: DateTime<Utc>,
    has_payload: bool,
}

/// Returns at most `limit` events of a tenant that match `filter`, oldest first, from `after` on.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.webhook_events.to_erase", level = "trace", skip_all, err(level = "debug"))]
pub async fn to_erase(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    filter: Filter,
    after: Option<AcceptancePosition>,
    limit: i64,
) -> Result<Vec<ErasureCandidate>, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT id, destination_id, accepted_at, \
             EXISTS (SELECT FROM payloads WHERE payloads.event_id = webhook_events.id) AS has_payload \
         FROM webhook_events \
         WHERE tenant_id = ",
    );
    query.push_bind(tenant_id.0);
    push_conditions(&mut query, filter);
    if let Some(AcceptancePosition { accepted_at, id }) = after {
        query.push(" AND (accepted_at, id) > (").push_bind(accepted_at).push(", ").push_bind(id.0).push(")");
    }
    query.push(" ORDER BY accepted_at, id LIMIT ").push_bind(limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(connection).await?;
    Ok(rows
        .into_iter()
        .map(|row| ErasureCandidate {
            id: row.id.into(),
            destination_id: row.destination_id.into(),
            accepted_at: row.accepted_at,
            has_payload: row.has_payload,
        })
        .collect())
}
