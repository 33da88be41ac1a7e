//! Times and durations as people read them. Times are in UTC; a script adds the reader's own.

use std::borrow::Borrow;

use chrono::{DateTime, TimeDelta, Utc};

/// A time, for `<time>`: the machine-readable form, the one to read, and the distance from now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// `2026-07-03T14:32:00.000Z`.
    pub(crate) iso: String,
    /// `2026-07-03 14:32:00`.
    pub(crate) text: String,
    /// `4 min ago`, `in 4 min`.
    pub(crate) distance: String,
}

impl Moment {
    pub(crate) fn of(time: DateTime<Utc>, now: DateTime<Utc>) -> Self {
        let difference = time - now;
        let distance = if difference > TimeDelta::zero() {
            format!("in {}", rough(difference))
        } else if difference > TimeDelta::seconds(-1) {
            "just now".to_owned()
        } else {
            format!("{} ago", rough(-difference))
        };
        Self {
            iso: time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            text: time.format("%Y-%m-%d %H:%M:%S").to_string(),
            distance,
        }
    }
}

/// Returns a time of the API to the fraction of a second, to read.
pub(crate) fn exact(time: &str) -> String {
    time.parse::<DateTime<Utc>>()
        .map_or_else(|_| time.to_owned(), |time| time.format("%Y-%m-%d %H:%M:%S%.f UTC").to_string())
}

/// Returns a duration in its two largest units at most.
pub(crate) fn duration(length: TimeDelta) -> String {
    let seconds = length.num_seconds();
    match seconds {
        ..1 => format!("{} ms", length.num_milliseconds().max(0)),
        1..60 => format!("{seconds} s"),
        60..600 => two(seconds / 60, "min", seconds % 60, "s"),
        600..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => two(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => two(
            seconds / 86_400,
            if seconds < 2 * 86_400 { "day" } else { "days" },
            seconds / 3_600 % 24,
            "h",
        ),
    }
}

/// Returns a duration in its largest unit, as words of a sentence: `12 seconds`.
pub(crate) fn in_words(length: TimeDelta) -> String {
    let (count, unit) = match length.num_seconds() {
        seconds @ ..60 => (seconds, "second"),
        seconds @ 60..3_600 => (seconds / 60, "minute"),
        seconds @ 3_600..86_400 => (seconds / 3_600, "hour"),
        seconds => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Returns a duration in its largest unit. Minutes are rounded, longer units are not.
fn rough(length: TimeDelta) -> String {
    match length.num_seconds() {
        ..60 => format!("{} s", length.num_seconds().max(1)),
        seconds @ 60..3_600 => format!("{} min", (seconds + 30) / 60),
        seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
        seconds if seconds < 2 * 86_400 => "1 day".to_owned(),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// Returns a number with its thousands divided.
pub(crate) fn grouped(number: impl Borrow<u64>) -> String {
    let digits = number.borrow().to_string();
    let first = digits.len() % 3;
    let mut out = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        if !out.is_empty() {
            out.push('\u{202f}');
        }
        out.extend(group.iter().map(|digit| char::from(*digit)));
    }
    out
}

/// Returns a duration in milliseconds as a table shows it.
pub(crate) fn milliseconds(ms: u64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..10_000 => format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10),
        10_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        _ => duration(TimeDelta::milliseconds(i64::try_from(ms).unwrap_or(i64::MAX))),
    }
}

fn two(count: i64, unit: &str, rest: i64, of_rest: &str) -> String {
    if rest == 0 { format!("{count} {unit}") } else { format!("{count} {unit} {rest} {of_rest}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_at_most_two_units() {
        for (seconds, text) in [
            (0, "0 ms"),
            (59, "59 s"),
            (60, "1 min"),
            (65, "1 min 5 s"),
            (1_799, "29 min"),
            (3_600, "1 h"),
            (5_430, "1 h 30 min"),
            (86_400, "1 day"),
            (200_000, "2 days 7 h"),
        ] {
            assert_eq!(duration(TimeDelta::seconds(seconds)), text);
        }
        for (ms, text) in [(7, "7 ms"), (1_234, "1.23 s"), (12_345, "12.3 s"), (65_000, "1 min 5 s")] {
            assert_eq!(milliseconds(ms), text);
        }
    }

    #[test]
    fn a_duration_in_a_sentence_has_one_unit_in_words() {
        for (seconds, text) in
            [(1, "1 second"), (12, "12 seconds"), (119, "1 minute"), (7_300, "2 hours"), (90_000, "1 day")]
        {
            assert_eq!(in_words(TimeDelta::seconds(seconds)), text);
        }
    }

    #[test]
    fn thousands_are_divided() {
        for (number, text) in [(0_u64, "0"), (999, "999"), (1_000, "1\u{202f}000"), (48_213, "48\u{202f}213")]
        {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_moment_says_how_far_it_is() {
        let now = DateTime::from_timestamp(1_750_000_000, 0).unwrap();
        let distance = |seconds| Moment::of(now + TimeDelta::seconds(seconds), now).distance;
        assert_eq!(distance(240), "in 4 min");
        assert_eq!(distance(-240), "4 min ago");
        assert_eq!(distance(0), "just now");
        assert_eq!(distance(-86), "1 min ago");
        assert_eq!(distance(-200_000), "2 days ago");
        assert_eq!(Moment::of(now, now).iso, "2025-06-15T15:06:40.000Z");
    }
}
