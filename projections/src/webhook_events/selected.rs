//! Events that a bulk action examines.

use aggregates::bulk_action::EventAction;
use aggregates::ids::{TenantId, WebhookEventId};
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgConnection, QueryBuilder};
use uuid::Uuid;

use super::EventStatus;
use super::filter::Filter;
use crate::listing::push_conditions;
use crate::retention::AcceptancePosition;

/// Event that a bulk action may be for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkCandidate {
    pub id: WebhookEventId,
    pub accepted_at: DateTime<Utc>,
    /// Whether it is likely to take the action, as far as its row shows.
    pub is_ready: bool,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    accepted_at: DateTime<Utc>,
    status: i16,
}

/// Statuses of events that can take `action`, now or in a moment.
fn ready_for(action: EventAction) -> &'static [EventStatus] {
    match action {
        EventAction::Replay => &[EventStatus::CriticalFailure],
        EventAction::Cancel => {
            &[EventStatus::Pending, EventStatus::Processing, EventStatus::Failed, EventStatus::WaitingRetry]
        }
    }
}

/// Returns at most `limit` events of a tenant, oldest first, from `after` on: those that match `filter`, and those that
/// match all of it but the status and can take `action`. These may have had that status before.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(
    name = "db.webhook_events.candidates_of_bulk_action",
    level = "trace",
    skip_all,
    err(level = "debug")
)]
pub async fn candidates_of_bulk_action(
    connection: &mut PgConnection,
    tenant_id: TenantId,
    filter: Filter,
    action: EventAction,
    after: Option<AcceptancePosition>,
    limit: i64,
) -> Result<Vec<BulkCandidate>, sqlx::Error> {
    let ready = ready_for(action);
    let filters: Vec<Filter> = match filter.status {
        None => vec![filter],
        Some(status) => {
            let others = ready.iter().copied().filter(|other| *other != status);
            std::iter::once(status)
                .chain(others)
                .map(|status| Filter { status: Some(status), ..filter })
                .collect()
        }
    };
    // One branch for each status follows the index by status. Together they see one snapshot.
    let mut query = QueryBuilder::new("SELECT id, accepted_at, status FROM (");
    for (number, filter) in filters.into_iter().enumerate() {
        query.push(if number > 0 { " UNION ALL (" } else { "(" });
        query.push("SELECT id, accepted_at, status FROM webhook_events WHERE tenant_id = ");
        query.push_bind(tenant_id.0);
        push_conditions(&mut query, filter);
        if let Some(AcceptancePosition { accepted_at, id }) = after {
            query.push(" AND (accepted_at, id) > (").push_bind(accepted_at);
            query.push(", ").push_bind(id.0).push(")");
        }
        query.push(" ORDER BY accepted_at, id LIMIT ").push_bind(limit).push(")");
    }
    query.push(") AS candidates ORDER BY accepted_at, id LIMIT ").push_bind(limit);
    let rows: Vec<Row> = query.build_query_as().fetch_all(connection).await?;
    let is_ready = |row: &Row| ready.iter().any(|status| status.number() == row.status);
    Ok(rows
        .into_iter()
        .map(|row| BulkCandidate {
            id: row.id.into(),
            accepted_at: row.accepted_at,
            is_ready: is_ready(&row),
        })
        .collect())
}
