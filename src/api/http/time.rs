//! Times in requests and responses.

use std::fmt;

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, Utc};
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A time in UTC with milliseconds: `2026-07-03T14:32:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timestamp(pub(crate) DateTime<Utc>);

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.format("%Y-%m-%dT%H:%M:%S%.3fZ").fmt(f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl PartialSchema for Timestamp {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .description(Some("A time in UTC, with milliseconds."))
            .examples(["2026-07-03T14:32:00.000Z"])
            .into()
    }
}

impl ToSchema for Timestamp {}

/// End of a range that a time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// First instant of the range.
    From,
    /// Last instant of the range.
    To,
}

/// Reads ISO 8601: a date and time, with an offset or in UTC, or a date, which means its first or its last instant.
pub(crate) fn parse(text: &str, bound: Bound) -> Option<DateTime<Utc>> {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        let time = match bound {
            Bound::From => NaiveTime::MIN,
            Bound::To => NaiveTime::from_hms_micro_opt(23, 59, 59, 999_999)?,
        };
        return four_digit_year(text).then(|| date.and_time(time).and_utc());
    }
    if !four_digit_year(text) {
        return None;
    }
    // A `+` that a client did not encode in a query is received as a space.
    let text = match text.rfind(' ') {
        Some(at) if at > "2026-07-03 ".len() => format!("{}+{}", &text[..at], &text[at + 1..]),
        _ => text.to_owned(),
    };
    let text = text.replacen(' ', "T", 1).to_ascii_uppercase();
    with_offset(&text).map(|time| time.to_utc()).or_else(|| without_offset(&text))
}

fn four_digit_year(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 10 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}

fn with_offset(text: &str) -> Option<DateTime<FixedOffset>> {
    let zulu = text.strip_suffix('Z').map(|time| format!("{time}+00:00"));
    let text = zulu.as_deref().unwrap_or(text);
    ["%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M%:z", "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z"]
        .iter()
        .find_map(|format| DateTime::parse_from_str(text, format).ok())
}

fn without_offset(text: &str) -> Option<DateTime<Utc>> {
    ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .map(|time| time.and_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        parse(text, Bound::From)
            .map(|time| serde_json::to_value(Timestamp(time)).unwrap().as_str().unwrap().into())
    }

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(read("2026-07-03T14:32:00Z").as_deref(), Some("2026-07-03T14:32:00.000Z"));
        assert_eq!(read("2026-07-03T14:32:00.1234567Z").as_deref(), Some("2026-07-03T14:32:00.123Z"));
    }

    #[test]
    fn an_offset_is_honoured_and_none_means_utc() {
        for (given, utc) in [
            ("2026-07-03T14:32:00+02:00", "2026-07-03T12:32:00.000Z"),
            ("2026-07-03T14:32:00 02:00", "2026-07-03T12:32:00.000Z"),
            ("2026-07-03 14:32:00 02:00", "2026-07-03T12:32:00.000Z"),
            ("2026-07-03T14:32:00-0230", "2026-07-03T17:02:00.000Z"),
            ("2026-07-03T14:32:00.5", "2026-07-03T14:32:00.500Z"),
            ("2026-07-03t14:32z", "2026-07-03T14:32:00.000Z"),
            ("2026-07-03 14:32", "2026-07-03T14:32:00.000Z"),
            ("2026-07-03", "2026-07-03T00:00:00.000Z"),
        ] {
            assert_eq!(read(given).as_deref(), Some(utc), "{given}");
        }
    }

    #[test]
    fn a_date_that_ends_a_range_means_its_last_instant() {
        let end = parse("2026-07-03", Bound::To).unwrap();
        assert!(parse("2026-07-03T23:59:59.999Z", Bound::From).unwrap() <= end);
        assert!(parse("2026-07-04", Bound::From).unwrap() > end);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "now",
            "2026",
            "2026-13-01",
            "2026-02-30",
            "2026-07-03T25:00:00Z",
            "+10000-01-01",
            "26-07-03",
            "2026-07-03T14:32:00+",
            "2026-07-03T",
            "1783089120",
            "2026-07-03T14:32:00Zx",
            "-001-01-01",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
