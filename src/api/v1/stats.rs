//! Statistics: how many, how long, by hour or by day.

use aggregates::ids::DestinationId;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use projections::delivery_statistics::{self, Bucket, Counts, Interval};
use projections::{TenantScope, webhook_events};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::http::problem::{FieldErrors, Problem};
use crate::api::http::query::{self, Query};
use crate::api::http::time::{Bound, Timestamp};
use crate::api::openapi::schemas::DateOrTime;
use crate::clock;

/// Most points of an answer: a leap year by hour, or 24 years by day.
const POINTS_MAX: i64 = 366 * 24;

/// What statistics need.
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    pub(crate) pool: PgPool,
}

/// How long a point of the statistics is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = StatsInterval)]
pub(crate) enum IntervalName {
    Hour,
    Day,
}

/// What happened within a range of time.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Stats)]
pub(crate) struct StatsView {
    /// The first moment that counts: the start of the hour or day that was asked for.
    from: Timestamp,
    /// The first moment that counts no more.
    to: Timestamp,
    interval: IntervalName,
    /// The destination that was asked for; `null`: all of them.
    destination_id: Option<Uuid>,
    /// Events that wait for an attempt at this moment, whenever they were accepted.
    #[schema(minimum = 0)]
    waiting: i64,
    /// The whole range.
    total: CountsView,
    /// Each hour or day of it, oldest first, also those in which nothing happened.
    points: Vec<PointView>,
}

/// What happened within an hour or a day of UTC.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatsPoint)]
pub(crate) struct PointView {
    /// When it begins.
    starts_at: Timestamp,
    #[serde(flatten)]
    counts: CountsView,
}

/// What happened. Everything counts at the time when it happened.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StatsCounts)]
pub(crate) struct CountsView {
    /// Events accepted.
    accepted: u64,
    /// Events delivered.
    succeeded: u64,
    /// Attempts that failed.
    failed_attempts: u64,
    /// Events given up; one that was replayed may be given up again.
    critical_failures: u64,
    /// Events cancelled.
    cancelled: u64,
    /// Replays.
    replayed: u64,
    /// The time, in milliseconds, within which half of the deliveries were made, from acceptance or the
    /// last replay; off by an eighth at most. `null` without deliveries.
    p50_time_to_deliver_ms: Option<u64>,
    /// The time within which 95 of 100 deliveries were made.
    p95_time_to_deliver_ms: Option<u64>,
}

/// Count what happened, by hour or by day.
///
/// The range is widened to whole hours or days of UTC. It may have 8,784 of them: a year by hour, 24 years
/// by day.
#[utoipa::path(get, path = "/api/v1/stats", tag = "Stats",
    params(
        ("From" = Option<DateOrTime>, Query,
            description = "From the hour or day of this time, ISO 8601; 24 hours or 30 days before the end if absent."),
        ("To" = Option<DateOrTime>, Query,
            description = "Before this time, ISO 8601; a date alone includes that day. Now if absent."),
        ("Interval" = Option<IntervalName>, Query, description = "hour, unless something else is said."),
        ("DestinationId" = Option<Uuid>, Query, description = "Only this destination."),
    ),
    responses((status = 200, body = StatsView), (status = 400)))]
pub(crate) async fn get(
    State(stats): State<Stats>,
    caller: Caller,
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
    let destination_id = query.optional("DestinationId", query::uuid).map(DestinationId);
    query.complete()?;
    let range = Range::of(interval, from, to, clock::now()).map_err(Problem::invalid)?;

    let mut scope = TenantScope::begin(&stats.pool, caller.tenant_id).await?;
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

/// Whole hours or days, one after the other.
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
                Interval::Hour => "must be at most 8784 hours before To; ask for days, or for less",
                Interval::Day => "must be at most 8784 days before To",
            };
            return Err(FieldErrors::of("From", message));
        }
        Ok(range)
    }

    /// How many points it has.
    fn len(&self) -> i64 {
        (self.to - self.from).num_seconds() / self.interval.length().num_seconds()
    }

    /// Its points: those of `buckets`, which are in order, and those in which nothing happened.
    fn points(&self, buckets: Vec<Bucket>) -> Vec<PointView> {
        let nothing = Counts::default();
        let mut buckets = buckets.iter().peekable();
        let mut points = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        let mut starts_at = self.from;
        while starts_at < self.to {
            let bucket = buckets.next_if(|bucket| bucket.starts_at == starts_at);
            let counts = bucket.map_or(&nothing, |bucket| &bucket.counts);
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
    fn without_bounds_it_is_the_last_day_by_hour_or_month_by_day() {
        let told = |from: &str, to: &str, len| Ok((from.to_owned(), to.to_owned(), len));
        assert_eq!(range(Interval::Hour, None, None), told("2026-07-02T14:00", "2026-07-03T15:00", 25));
        assert_eq!(range(Interval::Day, None, None), told("2026-06-03T00:00", "2026-07-04T00:00", 31));
    }

    #[test]
    fn bounds_are_widened_to_whole_hours_or_days_and_the_end_is_not_in_it() {
        let told = |from: &str, to: &str, len| Ok((from.to_owned(), to.to_owned(), len));
        for (interval, from, to, expected) in [
            (
                Interval::Hour,
                "2026-07-01T10:00:00Z",
                "2026-07-01T12:00:00Z",
                told("2026-07-01T10:00", "2026-07-01T12:00", 2),
            ),
            (
                Interval::Hour,
                "2026-07-01T10:59:59Z",
                "2026-07-01T12:00:01Z",
                told("2026-07-01T10:00", "2026-07-01T13:00", 3),
            ),
            (
                Interval::Day,
                "2026-07-01T10:00:00Z",
                "2026-07-01T12:00:00Z",
                told("2026-07-01T00:00", "2026-07-02T00:00", 1),
            ),
            // A date alone means its last moment.
            (
                Interval::Day,
                "2026-07-01T00:00:00Z",
                "2026-07-02T23:59:59.999999Z",
                told("2026-07-01T00:00", "2026-07-03T00:00", 2),
            ),
        ] {
            assert_eq!(range(interval, Some(from), Some(to)), expected);
        }
    }

    #[test]
    fn a_range_goes_forward_and_is_bounded() {
        let refused = |from, to| range(Interval::Hour, Some(from), Some(to)).unwrap_err();
        let order = FieldErrors::of("To", "must be later than From");
        assert_eq!(refused("2026-07-01T10:00:00Z", "2026-07-01T10:00:00Z"), order);
        assert_eq!(refused("2026-07-01T10:00:00Z", "2025-07-01T10:00:00Z"), order);
        assert!(range(Interval::Hour, Some("2024-01-01T00:00:00Z"), Some("2025-01-01T00:00:00Z")).is_ok());
        assert!(range(Interval::Hour, Some("2024-01-01T00:00:00Z"), Some("2025-01-01T00:00:01Z")).is_err());
        assert!(range(Interval::Day, Some("0001-01-01T00:00:00Z"), Some("9999-12-31T23:59:59Z")).is_err());
    }

    #[test]
    fn hours_in_which_nothing_happened_are_points_too() {
        let from = time("2026-07-01T10:00:00Z");
        let range = Range { interval: Interval::Hour, from, to: from + TimeDelta::hours(3) };
        let counts = Counts { accepted: 7, ..Counts::default() };
        let points = range.points(vec![Bucket { starts_at: from + TimeDelta::hours(1), counts }]);
        let told: Vec<_> = points.iter().map(|point| (point.starts_at.0, point.counts.accepted)).collect();
        assert_eq!(told, [(from, 0), (from + TimeDelta::hours(1), 7), (from + TimeDelta::hours(2), 0)]);
        assert_eq!(points[0].counts.p50_time_to_deliver_ms, None);
    }
}
