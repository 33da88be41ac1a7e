//! Lengths and boundaries of buckets.

use chrono::{DateTime, TimeDelta, Utc};

/// Length of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Interval {
    Hour,
    /// A day in UTC.
    Day,
}

impl Interval {
    /// Every interval.
    pub const ALL: [Self; 2] = [Self::Hour, Self::Day];

    #[must_use]
    pub fn length(self) -> TimeDelta {
        TimeDelta::hours(self.hours().into())
    }

    /// Returns the start of the bucket that contains `time`.
    #[must_use]
    pub fn start(self, time: DateTime<Utc>) -> DateTime<Utc> {
        let seconds = self.length().num_seconds();
        let start = time.timestamp().div_euclid(seconds) * seconds;
        // The start of the bucket of the first representable times is not representable.
        DateTime::from_timestamp(start, 0).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    pub(crate) fn hours(self) -> i16 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_with_the_hour_and_the_day_of_utc() {
        let time: DateTime<Utc> = "2026-07-03T14:32:07.125Z".parse().unwrap();
        assert_eq!(Interval::Hour.start(time), "2026-07-03T14:00:00Z".parse::<DateTime<Utc>>().unwrap());
        assert_eq!(Interval::Day.start(time), "2026-07-03T00:00:00Z".parse::<DateTime<Utc>>().unwrap());
        let before_1970: DateTime<Utc> = "1969-12-31T23:59:59Z".parse().unwrap();
        assert_eq!(
            Interval::Day.start(before_1970),
            "1969-12-31T00:00:00Z".parse::<DateTime<Utc>>().unwrap()
        );
        assert_eq!(Interval::Day.start(Interval::Day.start(time)), Interval::Day.start(time));
    }
}
