//! How the newest events of a list are distributed over what it can be filtered by.

use aggregates::attempt_outcome::Outcome;
use aggregates::ids::{DestinationId, SenderId};
use sqlx::QueryBuilder;
use uuid::Uuid;

use super::filter::{Filter, Selection};
use super::{EventStatus, page, row};
use crate::tenant_scope::TenantScope;

/// Events that are examined, the newest ones of the list.
pub const EXAMINED_MAX: i64 = 10_000;
/// Values of each field, those of the most events.
const VALUES_MAX: usize = 20;

/// Numbers of events by the values of some fields, each sorted by the number, descending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facets {
    /// Events that were examined.
    pub examined: i64,
    pub statuses: Vec<(EventStatus, i64)>,
    pub destinations: Vec<(DestinationId, i64)>,
    pub senders: Vec<(SenderId, i64)>,
    /// Outcomes of the attempts that ended last.
    pub outcomes: Vec<(Outcome, i64)>,
    /// HTTP statuses of the responses to these attempts.
    pub http_statuses: Vec<(u16, i64)>,
}

/// Row of the statement: one field has a value unless that is absent, and the others are NULL.
type Row = (Option<i16>, Option<Uuid>, Option<Uuid>, Option<i16>, Option<i16>, i64);

/// Counts the newest events of the scope's tenant that match `filter`, at most [`EXAMINED_MAX`].
///
/// # Errors
/// When the database fails, or a row cannot be converted.
#[tracing::instrument(name = "db.webhook_events.facets", level = "debug", skip_all, err(level = "debug"))]
pub async fn facets(scope: &mut TenantScope, filter: Filter) -> Result<Facets, sqlx::Error> {
    let mut query = QueryBuilder::new(
        "SELECT status, destination_id, sender_id, last_outcome, last_http_status, count(*) \
         FROM (SELECT status, destination_id, sender_id, last_outcome, last_http_status",
    );
    page::push_events(&mut query, scope, "", "true", Selection::from(filter));
    query.push(" ORDER BY accepted_at DESC, id DESC LIMIT ").push_bind(EXAMINED_MAX);
    query.push(
        ") AS newest GROUP BY GROUPING SETS \
         ((status), (destination_id), (sender_id), (last_outcome), (last_http_status)) \
         ORDER BY count(*) DESC, status, destination_id, sender_id, last_outcome, last_http_status",
    );
    let rows: Vec<Row> = query.build_query_as().fetch_all(scope.connection()).await?;
    let mut facets = Facets::default();
    for row in rows {
        facets.add(row)?;
    }
    Ok(facets)
}

impl Facets {
    fn add(&mut self, row: Row) -> Result<(), sqlx::Error> {
        let (status, destination, sender, outcome, http_status, count) = row;
        if let Some(status) = status {
            self.examined += count;
            self.statuses.push((row::status(status)?, count));
        } else if let Some(id) = destination {
            push(&mut self.destinations, id.into(), count);
        } else if let Some(id) = sender {
            push(&mut self.senders, id.into(), count);
        } else if let Some(outcome) = outcome {
            self.outcomes.push((row::outcome(outcome)?, count));
        } else if let Some(status) = http_status {
            push(&mut self.http_statuses, status.unsigned_abs(), count);
        }
        Ok(())
    }
}

fn push<T>(values: &mut Vec<(T, i64)>, value: T, count: i64) {
    if values.len() < VALUES_MAX {
        values.push((value, count));
    }
}
