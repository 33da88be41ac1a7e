//! Statistics of deliveries by hour or by day.

pub(crate) mod destinations;

use aggregates::ids::DestinationId;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use projections::delivery_statistics::{self, Bucket, Counts, Interval};
use projections::webhook_events;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::principal::{DeliveryViewer, Principal};
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::query::{self, Query};
use crate::api::http::time::{Bound, Timestamp};
use crate::api::list_queries::ListQueries;
use crate::api::openapi::schemas::DateOrTime;
use crate::clock;

/// Largest number of points in a response: a leap year by hour, or 24 years by day.
const POINTS_MAX: i64 = 366 * 24;

/// Dependencies of the handler.
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    pub(crate) lists: ListQueries,
}

/// Duration of a point of the statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = StatsInterval)]
pub(crate) enum IntervalName {
    Hour,
    Day,
}

/// Statistics of a time range.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Stats)]
pub(crate) struct StatsView {
    /// Start of the range: that of the first hour or day.
    from: Timestamp,
    /// End of the range, which is not part of it.
    to: Timestamp,
    interval: IntervalName,
    /// Destination whose events are counted; `null`: all destinations.
    destination_id: Option<Uuid>,
    /// Events that wait for an attempt now, whenever they were accepted.
    #[schema(minimum = 0)]
    waiting: i64,
    /// Counts of the whole range.
    total: CountsView,
    /// Counts of each hour or day, oldest first, including those without events.
    points: Vec<PointView>,
}

/// Counts of an hour or day of UTC.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatsPoint)]
pub(crate) struct PointView {
    starts_at: Timestamp,
    #[serde(flatten)]
    counts: CountsView,
}

/// Counts by the time of what is counted: acceptance, delivery, attempt.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatsCounts)]
pub(crate) struct CountsView {
    accepted: u64,
    /// Events delivered.
    succeeded: u64,
    /// Attempts that failed.
    failed_attempts: u64,
    /// Deliveries given up. An event that was replayed may count again.
    critical_failures: u64,
    /// Events cancelled.
    cancelled: u64,
    /// Replays.
    replayed: u64,
    /// Median time from acceptance, or the last replay, to delivery in milliseconds, exact to one eighth. `null`
    /// without deliveries.
    p50_time_to_deliver_ms: Option<u64>,
    /// 95th percentile of the same time.
    p95_time_to_deliver_ms: Option<u64>,
}

/// Get statistics by hour or by day
///
/// The range is extended to whole hours or days of UTC, of which it may have at most 8,784: a year by hour, 24 years
/// by day.
#[utoipa::path(get, path = "/api/v1/stats", tag = "Stats",
    params(
        ("From" = Option<DateOrTime>, Query,
            description = "Start of the range in ISO 8601. Default: 24 hours or 30 days before its end."),
        ("To" = Option<DateOrTime>, Query,
            description = "End of the range in ISO 8601; a date includes that day. Default: now."),
        ("Interval" = Option<IntervalName>, Query, description = "Duration of a point. Default: hour."),
        ("DestinationId" = Option<Uuid>, Query, description = "Only this destination."),
    ),
    responses((status = 200, body = StatsView, description = "The statistics of the range."), (status = 400)))]
pub(crate) async fn handler(
    State(stats): State<Stats>,
    principal: Principal,
    mut query: Query,
) -> Result<Json<StatsView>, Problem> {
    let interval = query
        .optional("Interval", |text| match text {
            "hour" => Ok(Interval::Hour),
            "day" => Ok(Interval::Day),
            _ => Err("must be hour or day".into()),
        })
        .unwrap_or(Interval::Hour);
    let from = query.optional("From", query::moment(Bound::From));
    let to = query.optional("To", query::moment(Bound::To));
    let given = query.optional("DestinationId", query::uuid).map(DestinationId);
    let (tenant_id, destination_id) = principal.scope().narrow(given)?;
    query.complete()?;
    let range = Range::of(interval, from, to, clock::now()).map_err(Problem::invalid)?;

    let mut scope = stats.lists.begin(tenant_id).await?;
    let buckets =
        delivery_statistics::list(&mut scope, destination_id, interval, range.from, range.to).await?;
    let waiting = webhook_events::count_waiting(&mut scope, destination_id).await?;
    scope.end().await?;

    let mut total = Counts::default();
    for bucket in &buckets {
        total.add(&bucket.counts);
    }
    Ok(Json(StatsView {
        from: range.from.into(),
        to: range.to.into(),
        interval: interval.into(),
        destination_id: destination_id.map(|id| id.0),
        waiting,
        total: (&total).into(),
        points: range.points(buckets),
    }))
}

/// Range of whole hours or days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    interval: Interval,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Range {
    fn of(
        interval: Interval,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<Self, FieldErrors> {
        let usual = match interval {
            Interval::Hour => TimeDelta::hours(24),
            Interval::Day => TimeDelta::days(30),
        };
        let to = to.unwrap_or(now);
        let from = from.unwrap_or(to - usual);
        if from >= to {
            return Err(FieldErrors::of("To", "must be later than From"));
        }
        let last = interval.start(to);
        let to = if last == to { to } else { last + interval.length() };
        let range = Self { interval, from: interval.start(from), to };
        if range.len() > POINTS_MAX {
            let message = match interval {
                Interval::Hour => "must be at most 8784 hours before To; use Interval=day or a shorter range",
                Interval::Day => "must be at most 8784 days before To",
            };
            return Err(FieldErrors::of("From", message));
        }
        Ok(range)
    }

    /// Returns the number of points.
    fn len(&self) -> i64 {
        (self.to - self.from).num_seconds() / self.interval.length().num_seconds()
    }

    /// Returns the points in order: those of `buckets`, which is ordered, and empty ones between them.
    fn points(&self, buckets: Vec<Bucket>) -> Vec<PointView> {
        let empty = Counts::default();
        let mut buckets = buckets.iter().peekable();
        let mut points = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        let mut starts_at = self.from;
        while starts_at < self.to {
            let bucket = buckets.next_if(|bucket| bucket.starts_at == starts_at);
            let counts = bucket.map_or(&empty, |bucket| &bucket.counts);
            points.push(PointView { starts_at: starts_at.into(), counts: counts.into() });
            starts_at += self.interval.length();
        }
        points
    }
}

impl From<Interval> for IntervalName {
    fn from(interval: Interval) -> Self {
        match interval {
            Interval::Hour => Self::Hour,
            Interval::Day => Self::Day,
        }
    }
}

impl From<&Counts> for CountsView {
    fn from(counts: &Counts) -> Self {
        Self {
            accepted: counts.accepted,
            succeeded: counts.succeeded,
            failed_attempts: counts.failed_attempts,
            critical_failures: counts.critical_failures,
            cancelled: counts.cancelled,
            replayed: counts.replayed,
            p50_time_to_deliver_ms: counts.times_to_deliver.percentile(50),
            p95_time_to_deliver_ms: counts.times_to_deliver.percentile(95),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn range(
        interval: Interval,
        from: Option<&str>,
        to: Option<&str>,
    ) -> Result<(String, String, i64), FieldErrors> {
        let now = time("2026-07-03T14:32:00Z");
        let range = Range::of(interval, from.map(time), to.map(time), now)?;
        let text = |time: DateTime<Utc>| time.format("%Y-%m-%dT%H:%M").to_string();
        Ok((text(range.from), text(range.to), range.len()))
    }

    #[test]
    fn the_default_is_the_last_day_by_hour_or_month_by_day() {
        let expect = |from: &str, to: &str, len| Ok((from.to_owned(), to.to_owned(), len));
        assert_eq!(range(Interval::Hour, None, None), expect("2026-07-02T14:00", "2026-07-03T15:00", 25));
        assert_eq!(range(Interval::Day, None, None), expect("2026-06-03T00:00", "2026-07-04T00:00", 31));
    }

    #[test]
    fn bounds_are_extended_to_whole_hours_or_days_without_the_end() {
        let expect = |from: &str, to: &str, len| Ok((from.to_owned(), to.to_owned(), len));
        for (interval, from, to, expected) in [
            (
                Interval::Hour,
                "2026-07-01T10:00:00Z",
                "2026-07-01T12:00:00Z",
                expect("2026-07-01T10:00", "2026-07-01T12:00", 2),
            ),
            (
                Interval::Hour,
                "2026-07-01T10:59:59Z",
                "2026-07-01T12:00:01Z",
                expect("2026-07-01T10:00", "2026-07-01T13:00", 3),
            ),
            (
                Interval::Day,
                "2026-07-01T10:00:00Z",
                "2026-07-01T12:00:00Z",
                expect("2026-07-01T00:00", "2026-07-02T00:00", 1),
            ),
            // A date alone means its last moment.
            (
                Interval::Day,
                "2026-07-01T00:00:00Z",
                "2026-07-02T23:59:59.999999Z",
                expect("2026-07-01T00:00", "2026-07-03T00:00", 2),
            ),
        ] {
            assert_eq!(range(interval, Some(from), Some(to)), expected);
        }
    }

    #[test]
    fn a_range_ends_after_its_start_and_is_bounded() {
        let refused = |from, to| range(Interval::Hour, Some(from), Some(to)).unwrap_err();
        let order = FieldErrors::of("To", "must be later than From");
        assert_eq!(refused("2026-07-01T10:00:00Z", "2026-07-01T10:00:00Z"), order);
        assert_eq!(refused("2026-07-01T10:00:00Z", "2025-07-01T10:00:00Z"), order);
        assert!(range(Interval::Hour, Some("2024-01-01T00:00:00Z"), Some("2025-01-01T00:00:00Z")).is_ok());
        assert!(range(Interval::Hour, Some("2024-01-01T00:00:00Z"), Some("2025-01-01T00:00:01Z")).is_err());
        assert!(range(Interval::Day, Some("0001-01-01T00:00:00Z"), Some("9999-12-31T23:59:59Z")).is_err());
    }

    #[test]
    fn hours_without_events_are_points_too() {
        let from = time("2026-07-01T10:00:00Z");
        let range = Range { interval: Interval::Hour, from, to: from + TimeDelta::hours(3) };
        let counts = Counts { accepted: 7, ..Counts::default() };
        let points = range.points(vec![Bucket { starts_at: from + TimeDelta::hours(1), counts }]);
        let counted: Vec<_> = points.iter().map(|point| (point.starts_at.0, point.counts.accepted)).collect();
        assert_eq!(counted, [(from, 0), (from + TimeDelta::hours(1), 7), (from + TimeDelta::hours(2), 0)]);
        assert_eq!(points[0].counts.p50_time_to_deliver_ms, None);
    }
}
