//! `GET /api/v1/stats/destinations`

use std::collections::HashMap;

use aggregates::ids::DestinationId;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use projections::delivery_statistics::{self, Hour, Interval};
use projections::destinations;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Stats;
use crate::api::access::authentication::Caller;
use crate::api::http::filter::FilterParameters;
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::query::{self, Query};
use crate::api::http::time::{Bound, Timestamp};
use crate::api::openapi::schemas::{DateOrTime, Page};
use crate::clock;

/// Largest number of hours in a range. A page has 200 destinations, and each of them a point for every hour.
const HOURS_MAX: i64 = 48;
const HOURS_DEFAULT: i64 = 24;

/// Statistics of a destination by hour.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DestinationStats)]
pub(crate) struct DestinationStatsView {
    destination_id: Uuid,
    /// Counts of each hour of UTC, oldest first, without hours in which nothing was counted.
    points: Vec<HourView>,
}

/// Counts of a destination within an hour of UTC, by the time of what is counted.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DestinationStatsPoint)]
pub(crate) struct HourView {
    starts_at: Timestamp,
    /// Events accepted.
    accepted: u64,
    /// Events delivered.
    succeeded: u64,
    /// Attempts that failed.
    failed_attempts: u64,
    /// Deliveries given up. An event that was replayed may count again.
    critical_failures: u64,
}

/// List destinations with their statistics
///
/// Returns a page of the list of destinations, each with its statistics by hour. The range is extended to whole hours of
/// UTC, of which it may have at most 48.
#[utoipa::path(get, path = "/api/v1/stats/destinations", tag = "Stats",
    params(
        ("From" = Option<DateOrTime>, Query,
            description = "Start of the range in ISO 8601. Default: 24 hours before its end."),
        ("To" = Option<DateOrTime>, Query,
            description = "End of the range in ISO 8601; a date includes that day. Default: now."),
        FilterParameters<destinations::Filter>,
    ),
    responses((status = 200, body = Page<DestinationStatsView>,
        description = "A page of the tenant's destinations, with the statistics of each."), (status = 400)))]
pub(crate) async fn handler(
    State(stats): State<Stats>,
    caller: Caller,
    mut query: Query,
) -> Result<Json<Page<DestinationStatsView>>, Problem> {
    let from = query.optional("From", query::moment(Bound::From));
    let to = query.optional("To", query::moment(Bound::To));
    let paging = query.paging();
    let filter: destinations::Filter = query.filter();
    query.complete()?;
    let (from, to) = range(from, to, clock::now()).map_err(Problem::invalid)?;

    let mut scope = stats.lists.begin(caller.tenant_id).await?;
    let listed = destinations::list(&mut scope, filter, paging.sort, paging.direction, paging.page).await?;
    let ids: Vec<DestinationId> = listed.items.iter().map(|destination| destination.id).collect();
    let hours = delivery_statistics::by_destination(&mut scope, &ids, from, to).await?;
    scope.end().await?;

    let mut points: HashMap<DestinationId, Vec<HourView>> = HashMap::new();
    for hour in hours {
        points.entry(hour.destination_id).or_default().push(hour.into());
    }
    let of = |id: DestinationId| DestinationStatsView {
        destination_id: id.0,
        points: points.remove(&id).unwrap_or_default(),
    };
    Ok(Json(Page { total: listed.total, items: ids.into_iter().map(of).collect() }))
}

/// Returns whole hours, the last one not included.
fn range(
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), FieldErrors> {
    let to = to.unwrap_or(now);
    let from = from.unwrap_or(to - TimeDelta::hours(HOURS_DEFAULT));
    if from >= to {
        return Err(FieldErrors::of("To", "must be later than From"));
    }
    let (from, last) = (Interval::Hour.start(from), Interval::Hour.start(to));
    let to = if last == to { to } else { last + Interval::Hour.length() };
    if to - from > TimeDelta::hours(HOURS_MAX) {
        return Err(FieldErrors::of("From", format!("must be at most {HOURS_MAX} hours before To")));
    }
    Ok((from, to))
}

impl From<Hour> for HourView {
    fn from(hour: Hour) -> Self {
        let Hour { starts_at, accepted, succeeded, failed_attempts, critical_failures, .. } = hour;
        Self { starts_at: starts_at.into(), accepted, succeeded, failed_attempts, critical_failures }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_whole_hours_and_is_bounded() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let now = time("2026-07-03T14:32:00Z");
        let ranges = [
            (None, None, "2026-07-02T14:00:00Z", "2026-07-03T15:00:00Z"),
            (Some("2026-07-03T14:00:00Z"), None, "2026-07-03T14:00:00Z", "2026-07-03T15:00:00Z"),
            (None, Some("2026-07-01T10:00:00Z"), "2026-06-30T10:00:00Z", "2026-07-01T10:00:00Z"),
        ];
        for (from, to, start, end) in ranges {
            assert_eq!(range(from.map(time), to.map(time), now), Ok((time(start), time(end))));
        }
        let refused = |from: &str| range(Some(time(from)), None, now).unwrap_err();
        assert_eq!(refused("2026-07-03T14:32:00Z"), FieldErrors::of("To", "must be later than From"));
        let early = FieldErrors::of("From", "must be at most 48 hours before To");
        assert_eq!(refused("2026-07-01T14:59:59Z"), early);
        assert_eq!(refused("0001-01-01T00:00:00Z"), early);
        assert!(range(Some(time("2026-07-01T15:00:00Z")), None, now).is_ok());
    }
}
