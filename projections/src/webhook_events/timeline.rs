//! How many webhook events match a filter, along the time of their acceptance.
//!
//! Whole days and hours are counted already; what a range of time cuts off at either end is less than an
//! hour, and is counted in an index. So the length of a list, and the hour in which its millionth event
//! lies, are known from as many rows as there are days.

use chrono::{DateTime, TimeDelta, Utc};

use super::counts::{self, Bucket, ByStatus, Days, Spans};
use super::{Filter, Status};
use crate::delivery_statistics::Interval;
use crate::paging::Direction;
use crate::tenant_scope::TenantScope;

/// The smallest step of a time, as columns hold it.
const TICK: TimeDelta = TimeDelta::microseconds(1);

/// Which statuses are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statuses {
    All,
    Only(Status),
    AllBut(Status),
}

impl Statuses {
    pub(super) fn of(filter: Filter) -> Self {
        filter.status.map_or(Self::All, Self::Only)
    }

    fn sum(self, counts: &ByStatus) -> i64 {
        let includes = |number: i16| match self {
            Self::All => true,
            Self::Only(status) => status.number() == number,
            Self::AllBut(status) => status.number() != number,
        };
        (0i16..).zip(counts).filter(|(number, _)| includes(*number)).map(|(_, count)| count).sum()
    }

    fn only(self) -> Option<i16> {
        if let Self::Only(status) = self { Some(status.number()) } else { None }
    }

    pub(super) fn all_but(self) -> Option<i16> {
        if let Self::AllBut(status) = self { Some(status.number()) } else { None }
    }
}

/// So many events from a time to another, both included; `None`: without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    count: i64,
    is_day: bool,
}

/// A range of time, both ends included, and how many of its first events to pass over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
    pub(super) offset: i64,
}

/// The events that match a filter, in segments of time, oldest first. They lie side by side; what lies
/// between two holds none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    filter: Filter,
    statuses: Statuses,
    segments: Vec<Segment>,
}

impl Timeline {
    /// Counts what matches `filter`, but for its status: that is `statuses`. While the counts are not to
    /// be trusted it counts row by row, and all is one segment.
    pub(super) async fn read(
        scope: &mut TenantScope,
        filter: Filter,
        statuses: Statuses,
        recounting: bool,
    ) -> Result<Self, sqlx::Error> {
        let segments = if recounting {
            let count = count(scope, filter, statuses).await?;
            vec![Segment { from: filter.from, to: filter.to, count, is_day: false }]
        } else {
            segments(scope, filter, statuses).await?
        };
        let segments = segments.into_iter().filter(|segment| segment.count > 0).collect();
        Ok(Self { filter, statuses, segments })
    }

    /// How many there are.
    pub(super) fn total(&self) -> i64 {
        self.segments.iter().map(|segment| segment.count).sum()
    }

    /// Where to look for `wanted` events after the first `offset`; `None` when there are none.
    pub(super) async fn window(
        mut self,
        scope: &mut TenantScope,
        direction: Direction,
        offset: i64,
        wanted: i64,
    ) -> Result<Option<Window>, sqlx::Error> {
        let (index, passed) = match find(&self.segments, direction, offset) {
            Some(found) => found,
            None => return Ok(None),
        };
        // A day may be long; its hours are known too.
        if self.segments[index].is_day && offset > passed {
            let hours = self.hours_of(scope, self.segments[index]).await?;
            self.segments.splice(index..=index, hours);
        }
        let Some((index, passed)) = find(&self.segments, direction, offset) else { return Ok(None) };
        let last = self.reaching(index, direction, offset - passed + wanted);
        Ok(Some(self.between(index, last, direction, offset - passed)))
    }

    /// Where to look for `wanted` events that lie after the time `after`, or at it.
    pub(super) fn window_after(
        &self,
        direction: Direction,
        after: DateTime<Utc>,
        wanted: i64,
    ) -> Option<Window> {
        let lies_ahead = |segment: &Segment| match direction {
            Direction::Ascending => segment.to.is_none_or(|to| to >= after),
            Direction::Descending => segment.from.is_none_or(|from| from <= after),
        };
        let order: Vec<usize> = order(self.segments.len(), direction).collect();
        let index = order.into_iter().find(|index| lies_ahead(&self.segments[*index]))?;
        // Of the segment in which `after` lies nobody knows how many are left.
        let last = self.reaching(index, direction, self.segments[index].count + wanted);
        Some(self.between(index, last, direction, 0))
    }

    /// The segment with which `wanted` events are reached from `first` on, or the last one.
    fn reaching(&self, first: usize, direction: Direction, wanted: i64) -> usize {
        let mut reached = 0;
        let mut last = first;
        for index in order(self.segments.len(), direction).skip_while(|index| *index != first) {
            last = index;
            reached += self.segments[index].count;
            if reached >= wanted {
                break;
            }
        }
        last
    }

    fn between(&self, first: usize, last: usize, direction: Direction, offset: i64) -> Window {
        let (earlier, later) = if direction.is_descending() { (last, first) } else { (first, last) };
        Window { from: self.segments[earlier].from, to: self.segments[later].to, offset }
    }

    async fn hours_of(&self, scope: &mut TenantScope, day: Segment) -> Result<Vec<Segment>, sqlx::Error> {
        let Some((from, to)) = day.from.zip(day.to) else { return Ok(vec![day]) };
        let spans = Spans { days: None, first_hours: Some((from, to)), last_hours: None };
        let hours = counts::read(scope, self.filter.destination_id, spans).await?;
        let hours = hours.iter().map(|bucket| segment(bucket, self.statuses));
        Ok(hours.filter(|segment| segment.count > 0).collect())
    }
}

/// The numbers of segments, in the direction of a list.
fn order(len: usize, direction: Direction) -> impl Iterator<Item = usize> {
    (0..len).map(move |index| if direction.is_descending() { len - 1 - index } else { index })
}

/// The segment in which the event after the first `offset` lies, and how many lie before that segment.
fn find(segments: &[Segment], direction: Direction, offset: i64) -> Option<(usize, i64)> {
    let mut passed = 0;
    for index in order(segments.len(), direction) {
        if offset < passed + segments[index].count {
            return Some((index, passed));
        }
        passed += segments[index].count;
    }
    None
}

fn segment(bucket: &Bucket, statuses: Statuses) -> Segment {
    Segment {
        from: Some(bucket.starts_at),
        to: Some(bucket.starts_at + bucket.interval.length() - TICK),
        count: statuses.sum(&bucket.counts),
        is_day: bucket.interval == Interval::Day,
    }
}

/// The first start of a bucket at or after `time`.
fn next_start(interval: Interval, time: DateTime<Utc>) -> DateTime<Utc> {
    let start = interval.start(time);
    if start == time { time } else { start.checked_add_signed(interval.length()).unwrap_or(time) }
}

/// How a range of time, `to` included, is made up of whole days and hours, and what is left at its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Division {
    spans: Spans,
    /// The range before the first whole hour, its end not included.
    head: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// The range after the last whole hour, its end included.
    tail: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Division {
    fn of(from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>) -> Self {
        use Interval::{Day, Hour};
        let nothing = Spans { days: None, first_hours: None, last_hours: None };
        let first_hour = from.map(|from| next_start(Hour, from));
        let end_of_hours = to.map(|to| Hour.start(to));
        if let (Some(first), Some(end), Some(from), Some(to)) = (first_hour, end_of_hours, from, to)
            && first > end
        {
            // Within an hour.
            return Self { spans: nothing, head: None, tail: Some((from, to)) };
        }
        let head = from.zip(first_hour).filter(|(from, end)| from < end);
        let tail = end_of_hours.zip(to);
        let first_day = first_hour.map(|first| next_start(Day, first));
        let end_of_days = end_of_hours.map(|end| Day.start(end));
        let spans = match (first_day.zip(end_of_days), first_hour.zip(end_of_hours)) {
            // Within a day.
            (Some((first, end)), Some(hours)) if first > end => Spans { first_hours: Some(hours), ..nothing },
            _ => Spans {
                days: Some(Days { from: first_day, before: end_of_days }),
                first_hours: first_hour.zip(first_day),
                last_hours: end_of_days.zip(end_of_hours),
            },
        };
        Self { spans, head, tail }
    }
}

async fn segments(
    scope: &mut TenantScope,
    filter: Filter,
    statuses: Statuses,
) -> Result<Vec<Segment>, sqlx::Error> {
    if filter.from.zip(filter.to).is_some_and(|(from, to)| from > to) {
        return Ok(vec![]);
    }
    let division = Division::of(filter.from, filter.to);
    let mut segments = vec![];
    if let Some((from, end)) = division.head {
        segments.push(edge(scope, filter, statuses, from, end - TICK).await?);
    }
    let buckets = counts::read(scope, filter.destination_id, division.spans).await?;
    segments.extend(buckets.iter().map(|bucket| segment(bucket, statuses)));
    if let Some((from, to)) = division.tail {
        segments.push(edge(scope, filter, statuses, from, to).await?);
    }
    Ok(segments)
}

async fn edge(
    scope: &mut TenantScope,
    filter: Filter,
    statuses: Statuses,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Segment, sqlx::Error> {
    let (from, to) = (Some(from), Some(to));
    let count = count(scope, Filter { from, to, ..filter }, statuses).await?;
    Ok(Segment { from, to, count, is_day: false })
}

/// Counts row by row.
#[tracing::instrument(name = "db.webhook_events.count", level = "debug", skip_all, err(level = "debug"))]
async fn count(scope: &mut TenantScope, filter: Filter, statuses: Statuses) -> Result<i64, sqlx::Error> {
    let tenant_id = scope.tenant_id().0;
    sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!"
        FROM webhook_events
        WHERE tenant_id = $1
          AND ($2::smallint IS NULL OR status = $2)
          AND ($3::smallint IS NULL OR status <> $3)
          AND ($4::uuid IS NULL OR destination_id = $4)
          AND ($5::timestamptz IS NULL OR accepted_at >= $5)
          AND ($6::timestamptz IS NULL OR accepted_at <= $6)
        "#,
        tenant_id,
        statuses.only(),
        statuses.all_but(),
        filter.destination_id.map(|id| id.0),
        filter.from,
        filter.to,
    )
    .fetch_one(scope.connection())
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// What a range is made of, as text.
    fn divided(from: Option<&str>, to: Option<&str>) -> [String; 5] {
        let Division { spans, head, tail } = Division::of(from.map(time), to.map(time));
        let text =
            |time: Option<DateTime<Utc>>| time.map_or("".to_owned(), |t| t.format("%dT%H:%M").to_string());
        let range = |range: Option<(DateTime<Utc>, DateTime<Utc>)>| {
            range.map_or(String::new(), |(from, to)| format!("{}-{}", text(Some(from)), text(Some(to))))
        };
        let days =
            spans.days.map_or(String::new(), |days| format!("{}-{}", text(days.from), text(days.before)));
        [range(head), range(spans.first_hours), days, range(spans.last_hours), range(tail)]
    }

    #[test]
    fn a_range_is_its_edges_its_hours_and_its_days() {
        let (from, to) = ("2026-07-03T14:32:00Z", "2026-07-09T02:10:00Z");
        assert_eq!(divided(None, None), ["", "", "-", "", ""]);
        assert_eq!(
            divided(Some(from), None),
            ["03T14:32-03T15:00", "03T15:00-04T00:00", "04T00:00-", "", ""]
        );
        assert_eq!(divided(None, Some(to)), ["", "", "-09T00:00", "09T00:00-09T02:00", "09T02:00-09T02:10"]);
        assert_eq!(
            divided(Some(from), Some(to)),
            [
                "03T14:32-03T15:00",
                "03T15:00-04T00:00",
                "04T00:00-09T00:00",
                "09T00:00-09T02:00",
                "09T02:00-09T02:10"
            ]
        );
        let the_same_day = "2026-07-03T20:10:00Z";
        assert_eq!(
            divided(Some(from), Some(the_same_day)),
            ["03T14:32-03T15:00", "03T15:00-03T20:00", "", "", "03T20:00-03T20:10"]
        );
        let the_same_hour = "2026-07-03T14:40:00Z";
        assert_eq!(divided(Some(from), Some(the_same_hour)), ["", "", "", "", "03T14:32-03T14:40"]);
        let midnight = "2026-07-04T00:00:00Z";
        assert_eq!(
            divided(Some(midnight), Some(midnight)),
            ["", "04T00:00-04T00:00", "04T00:00-04T00:00", "04T00:00-04T00:00", "04T00:00-04T00:00"]
        );
    }

    #[test]
    fn the_ends_of_time_are_no_surprise() {
        for time in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            Division::of(Some(time), Some(time));
            Division::of(Some(DateTime::<Utc>::MIN_UTC), Some(time));
        }
    }
}
