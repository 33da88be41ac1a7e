//! How many webhook events match a filter, along the time of their acceptance.
//!
//! `webhook_event_counts` has them by whole days and hours. What a time range cuts off at either end is less
//! than an hour, and is counted along an index. So the length of a list, and the hour of its millionth event,
//! follow from as many rows as there are days.

use chrono::{DateTime, TimeDelta, Utc};

use super::counts::{self, Bucket, Days, Spans};
use super::filter::{Filter, Selection};
use super::page;
use crate::delivery_statistics::Interval;
use crate::paging::Direction;
use crate::tenant_scope::TenantScope;

/// Resolution of times in columns.
const TICK: TimeDelta = TimeDelta::microseconds(1);

/// Number of events in a time range, both ends included; `None`: without bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    count: i64,
    is_day: bool,
}

/// Time range, both ends included, and how many of its first events to skip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: Option<DateTime<Utc>>,
    pub(super) to: Option<DateTime<Utc>>,
    pub(super) offset: i64,
}

/// The events of a selection in segments of time, oldest first. Segments do not overlap, and there are no
/// events between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timeline {
    selection: Selection,
    segments: Vec<Segment>,
}

impl Timeline {
    /// Counts the events of `selection`. While the counts are incomplete (`recounting`), or where they are not
    /// divided by what the selection is filtered by, it counts row by row, and there is one segment.
    pub(super) async fn read(
        scope: &mut TenantScope,
        selection: Selection,
        recounting: bool,
    ) -> Result<Self, sqlx::Error> {
        let segments = if recounting || !selection.is_counted() {
            let Filter { from, to, .. } = selection.filter;
            vec![Segment { from, to, count: page::count(scope, selection).await?, is_day: false }]
        } else {
            segments(scope, selection).await?
        };
        let segments = segments.into_iter().filter(|segment| segment.count > 0).collect();
        Ok(Self { selection, segments })
    }

    /// Returns the number of events.
    pub(super) fn total(&self) -> i64 {
        self.segments.iter().map(|segment| segment.count).sum()
    }

    /// Returns where to look for `wanted` events after the first `offset`; `None` when there are none.
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
        // A day may have many events; its hours are counted too.
        if self.segments[index].is_day && offset > passed {
            let hours = self.hours_of(scope, self.segments[index]).await?;
            self.segments.splice(index..=index, hours);
        }
        let Some((index, passed)) = find(&self.segments, direction, offset) else { return Ok(None) };
        let last = self.reaching(index, direction, offset - passed + wanted);
        Ok(Some(self.between(index, last, direction, offset - passed)))
    }

    /// Returns where to look for `wanted` events at or after the time `after`.
    pub(super) fn window_after(
        &self,
        direction: Direction,
        after: DateTime<Utc>,
        wanted: i64,
    ) -> Option<Window> {
        let is_ahead = |segment: &Segment| match direction {
            Direction::Ascending => segment.to.is_none_or(|to| to >= after),
            Direction::Descending => segment.from.is_none_or(|from| from <= after),
        };
        let order: Vec<usize> = order(self.segments.len(), direction).collect();
        let index = order.into_iter().find(|index| is_ahead(&self.segments[*index]))?;
        // How many events of the segment of `after` are left is unknown.
        let last = self.reaching(index, direction, self.segments[index].count + wanted);
        Some(self.between(index, last, direction, 0))
    }

    /// Returns the segment with which `wanted` events are reached from `first` on, or the last one.
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
        let hours = counts::read(scope, self.selection.filter.destination_id, spans).await?;
        let hours = hours.iter().map(|bucket| segment(bucket, self.selection));
        Ok(hours.filter(|segment| segment.count > 0).collect())
    }
}

/// Returns the indexes of segments in the direction of a list.
fn order(len: usize, direction: Direction) -> impl Iterator<Item = usize> {
    (0..len).map(move |index| if direction.is_descending() { len - 1 - index } else { index })
}

/// Returns the segment of the event after the first `offset`, and the number of events before that segment.
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

fn segment(bucket: &Bucket, selection: Selection) -> Segment {
    Segment {
        from: Some(bucket.starts_at),
        to: Some(bucket.starts_at + bucket.interval.length() - TICK),
        count: bucket.counts.sum(|status| selection.includes(status)),
        is_day: bucket.interval == Interval::Day,
    }
}

/// Returns the first start of a bucket at or after `time`.
fn next_start(interval: Interval, time: DateTime<Utc>) -> DateTime<Utc> {
    let start = interval.start(time);
    if start == time { time } else { start.checked_add_signed(interval.length()).unwrap_or(time) }
}

/// Division of a time range, `to` included, into whole days and hours, and what is left at its ends.
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

async fn segments(scope: &mut TenantScope, selection: Selection) -> Result<Vec<Segment>, sqlx::Error> {
    let filter = selection.filter;
    if filter.from.zip(filter.to).is_some_and(|(from, to)| from > to) {
        return Ok(vec![]);
    }
    let division = Division::of(filter.from, filter.to);
    let mut segments = vec![];
    if let Some((from, end)) = division.head {
        segments.push(edge(scope, selection, from, end - TICK).await?);
    }
    let buckets = counts::read(scope, filter.destination_id, division.spans).await?;
    segments.extend(buckets.iter().map(|bucket| segment(bucket, selection)));
    if let Some((from, to)) = division.tail {
        segments.push(edge(scope, selection, from, to).await?);
    }
    Ok(segments)
}

/// Counts what is less than an hour row by row.
async fn edge(
    scope: &mut TenantScope,
    selection: Selection,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Segment, sqlx::Error> {
    let (from, to) = (Some(from), Some(to));
    let selection = Selection { filter: Filter { from, to, ..selection.filter }, ..selection };
    Ok(Segment { from, to, count: page::count(scope, selection).await?, is_day: false })
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
