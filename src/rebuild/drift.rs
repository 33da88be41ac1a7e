//! Differences between live rows and the log, in a form that may be printed.
//!
//! Rows hold hashes, sealed secrets and texts of users. Only values that can be none of these are printed: numbers,
//! booleans, times and ids. Of other columns only the name is printed.

use chrono::DateTime;
use projections::Projection;
use serde_json::Value;
use uuid::Uuid;

/// A row that differs between the live table and the log.
#[derive(Clone, Debug, PartialEq)]
pub struct DriftedRow {
    pub projection: Projection,
    pub table: &'static str,
    /// The primary key, as a JSON array.
    pub key: String,
    pub drift: Drift,
}

/// How a row differs.
#[derive(Clone, Debug, PartialEq)]
pub enum Drift {
    /// Only the log has the row.
    Missing,
    /// Only the live table has the row.
    Extra,
    /// Some columns differ.
    Different(Vec<ColumnDrift>),
}

/// A column that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDrift {
    pub column: String,
    /// The value of the live row.
    pub live: DisplayedValue,
    /// The value that follows from the log.
    pub log: DisplayedValue,
}

/// A value as it may be printed.
#[derive(Clone, Debug, PartialEq)]
pub enum DisplayedValue {
    Value(String),
    /// Not printed, because it may be a secret.
    Withheld,
}

/// Bytes of the longest text that may be a number, a time or an id. Hashes are longer.
const TEXT_BYTES_MAX: usize = 36;
/// Elements of the longest array that is printed.
const ELEMENTS_MAX: usize = 64;

impl DisplayedValue {
    fn of(value: Option<&Value>) -> Self {
        match value {
            None | Some(Value::Null) => Self::Value("null".to_owned()),
            Some(value) if is_harmless(value) => match value {
                Value::String(text) => Self::Value(text.clone()),
                other => Self::Value(other.to_string()),
            },
            Some(_) => Self::Withheld,
        }
    }
}

fn is_harmless(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) if text.len() > TEXT_BYTES_MAX => false,
        Value::String(text) => {
            Uuid::try_parse(text).is_ok() || DateTime::parse_from_rfc3339(text).is_ok() || is_xid(text)
        }
        Value::Array(elements) => {
            elements.len() <= ELEMENTS_MAX && elements.iter().all(|element| element.is_number())
        }
        Value::Object(_) => false,
    }
}

/// Transaction ids are written as text, because JSON numbers are too small.
fn is_xid(text: &str) -> bool {
    text.parse::<u64>().is_ok()
}

/// Returns the columns in which two rows differ.
pub(super) fn between(live: &Value, log: &Value) -> Vec<ColumnDrift> {
    let columns = [live, log].into_iter().filter_map(Value::as_object).flat_map(|row| row.keys());
    let mut columns: Vec<&String> = columns.collect();
    columns.sort_unstable();
    columns.dedup();
    columns
        .into_iter()
        .filter(|column| live.get(column) != log.get(column))
        .map(|column| ColumnDrift {
            column: column.clone(),
            live: DisplayedValue::of(live.get(column)),
            log: DisplayedValue::of(log.get(column)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_that_may_be_secrets_are_withheld() {
        let hash = "1".repeat(64);
        let live =
            json!({ "version": 3, "key_hash": hash, "name": "ours", "at": "2026-01-02T03:04:05.6+00:00" });
        let log = json!({ "version": 2, "key_hash": "0", "name": "theirs", "at": null });
        let shown: Vec<(String, DisplayedValue, DisplayedValue)> =
            between(&live, &log).into_iter().map(|drift| (drift.column, drift.live, drift.log)).collect();
        let value = |text: &str| DisplayedValue::Value(text.to_owned());
        assert_eq!(
            shown,
            [
                ("at".to_owned(), value("2026-01-02T03:04:05.6+00:00"), value("null")),
                ("key_hash".to_owned(), DisplayedValue::Withheld, value("0")),
                ("name".to_owned(), DisplayedValue::Withheld, DisplayedValue::Withheld),
                ("version".to_owned(), value("3"), value("2")),
            ]
        );
        for withheld in [json!("a password"), json!(hash), json!({ "a": 1 }), json!(["x"])] {
            assert_eq!(DisplayedValue::of(Some(&withheld)), DisplayedValue::Withheld, "{withheld}");
        }
        for shown in [json!(true), json!("18446744073709551615"), json!([1, 2])] {
            assert_ne!(DisplayedValue::of(Some(&shown)), DisplayedValue::Withheld, "{shown}");
        }
    }

    #[test]
    fn equal_rows_have_no_difference() {
        let row = json!({ "a": 1, "b": { "c": [1, 2] } });
        assert_eq!(between(&row, &row.clone()), []);
    }
}
