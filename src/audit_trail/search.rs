//! Searching the trail of a tenant.

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use projections::paging::Direction;
use projections::{LogPosition, TenantScope, TransactionId};
use sqlx::{FromRow, Postgres, QueryBuilder};
use uuid::Uuid;

use super::bounds::Bounds;
use super::catalogue::{About, FactType};

/// Bytes of facts in one answer; a single fact may be larger.
const FACT_BYTES_MAX: usize = 4 << 20;

/// What a search is restricted to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TrailFilter {
    pub(crate) selection: Selection,
    /// As facts have it, such as `user:<id>`.
    pub(crate) actor: Option<String>,
    pub(crate) fact_type: Option<&'static FactType>,
    /// First time of the range.
    pub(crate) from: Option<DateTime<Utc>>,
    /// Last time of the range.
    pub(crate) to: Option<DateTime<Utc>>,
}

/// Facts that are searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Selection {
    /// All but those of the delivery of single webhooks.
    #[default]
    Administration,
    All,
    /// Those about one subject.
    Stream(StreamName),
}

/// Name of a stream of facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamName {
    pub(crate) aggregate: &'static str,
    pub(crate) id: Uuid,
}

/// A fact as the log has it.
#[derive(Clone, Debug, FromRow)]
pub(super) struct TrailRow {
    transaction_id: TransactionId,
    position: i64,
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) sequence: i64,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: String,
    pub(super) actor: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) trace_id: Option<String>,
    pub(super) origin_id: Option<String>,
    pub(super) recorded_at: DateTime<Utc>,
}

/// Facts that a search has found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(super) rows: Vec<TrailRow>,
    /// Position after which the search goes on; `None`: nothing more matches.
    pub(crate) next: Option<LogPosition>,
}

impl TrailRow {
    pub(super) fn log_position(&self) -> LogPosition {
        LogPosition { transaction_id: self.transaction_id, position: self.position }
    }
}

impl TrailFilter {
    /// Returns the filter in a form that is equal for equal filters.
    pub(crate) fn terms(&self) -> String {
        let name = self.fact_type.map(|fact| fact.name);
        let times = [self.from, self.to].map(|time| time.map(|time| time.timestamp_micros()));
        format!("{:?} {:?} {name:?} {times:?}", self.selection, self.actor)
    }
}

/// Returns the facts of the scope's tenant in these bounds that match the filter, at most `limit`. There may be fewer and
/// still a `next`, because the number of facts looked at and that of their bytes are bounded as well.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.search", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn search(
    scope: &mut TenantScope,
    filter: &TrailFilter,
    bounds: Bounds,
    direction: Direction,
    limit: usize,
) -> Result<Found, sqlx::Error> {
    // One more shows whether there is a next page.
    let rows_max = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    // PostgreSQL estimates two bounds of a position badly. It would read and sort all that matches, or scan the table,
    // instead of following an index from the first to the last row of the page.
    sqlx::query(
        "SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)",
    )
    .execute(scope.connection())
    .await?;
    let mut query = statement(scope.tenant_id().0, filter, bounds, direction, rows_max);
    let (mut found, mut bytes) = (Found { rows: vec![], next: bounds.goes_on }, 0);
    {
        let mut rows = query.build_query_as::<TrailRow>().fetch(scope.connection());
        while let Some(row) = rows.try_next().await? {
            bytes += row.payload.len();
            if found.rows.len() == limit || (bytes > FACT_BYTES_MAX && !found.rows.is_empty()) {
                found.next = found.rows.last().map(TrailRow::log_position);
                break;
            }
            found.rows.push(row);
        }
    }
    Ok(found)
}

fn statement(
    tenant_id: Uuid,
    filter: &TrailFilter,
    Bounds { after, before, .. }: Bounds,
    direction: Direction,
    rows_max: i64,
) -> QueryBuilder<'static, Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT transaction_id, position, aggregate_type, aggregate_id, sequence, event_type, event_version,
            payload::text AS payload, metadata ->> 'actor' AS actor, metadata ->> 'requestId' AS request_id,
            metadata ->> 'traceId' AS trace_id, metadata ->> 'originId' AS origin_id, recorded_at
         FROM events ",
    );
    if let (Selection::Administration, Some(actor)) = (filter.selection, &filter.actor) {
        query.push("JOIN trail_of_actor(");
        let mut arguments = query.separated(", ");
        arguments.push_bind(actor.clone()).push_bind(filter.fact_type.map(|fact| fact.name));
        for position in [after, before] {
            arguments.push_bind(position.transaction_id).push_bind(position.position);
        }
        arguments.push_bind(filter.from).push_bind(filter.to);
        arguments.push_bind(direction == Direction::Descending).push_bind(rows_max);
        query.push(") USING (transaction_id, position) ");
    }
    query.push("WHERE tenant_id = ").push_bind(tenant_id);
    query.push(" AND (transaction_id, position) > (").push_bind(after.transaction_id);
    query.push(", ").push_bind(after.position);
    query.push(") AND (transaction_id, position) < (").push_bind(before.transaction_id);
    query.push(", ").push_bind(before.position).push(")");
    if let Some(from) = filter.from {
        query.push(" AND recorded_at >= ").push_bind(from);
    }
    if let Some(to) = filter.to {
        query.push(" AND recorded_at <= ").push_bind(to);
    }
    match filter.selection {
        Selection::Administration => {
            query.push(" AND NOT fact_is_of_delivery(event_type)");
        }
        Selection::All => {}
        Selection::Stream(StreamName { aggregate, id }) => {
            query.push(" AND aggregate_type = ANY(").push_bind(About::streams_of(aggregate)).push(")");
            query.push(" AND aggregate_id = ").push_bind(id.to_string());
        }
    }
    if let Some(fact) = filter.fact_type {
        query.push(" AND event_type = ").push_bind(fact.name);
    }
    if let Some(actor) = &filter.actor {
        query.push(" AND metadata ->> 'actor' = ").push_bind(actor.clone());
    }
    let keyword = match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    };
    query.push(format_args!(" ORDER BY transaction_id {keyword}, position {keyword} LIMIT "));
    query.push_bind(rows_max);
    query
}
