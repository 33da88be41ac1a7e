//! In what a live row strays from the log, as it may be shown.
//!
//! Rows hold hashes, sealed secrets and what people wrote. Values are shown only of kinds that can be none
//! of these: numbers, truth values, times and ids. Of other columns the name has to do.

use chrono::DateTime;
use projections::Projection;
use serde_json::Value;
use uuid::Uuid;

/// A live row that strays from what the log says.
#[derive(Clone, Debug, PartialEq)]
pub struct DriftedRow {
    pub projection: Projection,
    /// In which of its tables.
    pub table: &'static str,
    /// The primary key, as a JSON array.
    pub key: String,
    pub difference: RowDifference,
}

/// How a live row strays.
#[derive(Clone, Debug, PartialEq)]
pub enum RowDifference {
    /// It is not there.
    Missing,
    /// The log knows nothing of it.
    Surplus,
    /// Some columns are different.
    Different(Vec<ColumnDifference>),
}

/// A column that is different.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDifference {
    pub column: String,
    /// What the live row says.
    pub live: Shown,
    /// What the log says.
    pub log: Shown,
}

/// A value, if it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Shown {
    /// This.
    Value(String),
    /// It may be a secret.
    Withheld,
}

/// Longest text that may be a number, a time or an id. Hashes are longer.
const TEXT_BYTES_MAX: usize = 36;
/// Most elements of an array that are shown.
const ELEMENTS_MAX: usize = 64;

impl Shown {
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

/// Transaction ids are numbers that JSON cannot hold.
fn is_xid(text: &str) -> bool {
    text.parse::<u64>().is_ok()
}

/// The columns in which two rows are different.
pub(super) fn between(live: &Value, log: &Value) -> Vec<ColumnDifference> {
    let columns = [live, log].into_iter().filter_map(Value::as_object).flat_map(|row| row.keys());
    let mut columns: Vec<&String> = columns.collect();
    columns.sort_unstable();
    columns.dedup();
    columns
        .into_iter()
        .filter(|column| live.get(column) != log.get(column))
        .map(|column| ColumnDifference {
            column: column.clone(),
            live: Shown::of(live.get(column)),
            log: Shown::of(log.get(column)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_a_secret_is_named_and_not_shown() {
        let hash = "1".repeat(64);
        let live =
            json!({ "version": 3, "key_hash": hash, "name": "ours", "at": "2026-01-02T03:04:05.6+00:00" });
        let log = json!({ "version": 2, "key_hash": "0", "name": "theirs", "at": null });
        let shown: Vec<(String, Shown, Shown)> = between(&live, &log)
            .into_iter()
            .map(|difference| (difference.column, difference.live, difference.log))
            .collect();
        let value = |text: &str| Shown::Value(text.to_owned());
        assert_eq!(
            shown,
            [
                ("at".to_owned(), value("2026-01-02T03:04:05.6+00:00"), value("null")),
                ("key_hash".to_owned(), Shown::Withheld, value("0")),
                ("name".to_owned(), Shown::Withheld, Shown::Withheld),
                ("version".to_owned(), value("3"), value("2")),
            ]
        );
        for withheld in [json!("a password"), json!(hash), json!({ "a": 1 }), json!(["x"])] {
            assert_eq!(Shown::of(Some(&withheld)), Shown::Withheld, "{withheld}");
        }
        for shown in [json!(true), json!("18446744073709551615"), json!([1, 2])] {
            assert_ne!(Shown::of(Some(&shown)), Shown::Withheld, "{shown}");
        }
    }

    #[test]
    fn equal_rows_have_no_difference() {
        let row = json!({ "a": 1, "b": { "c": [1, 2] } });
        assert_eq!(between(&row, &row.clone()), []);
    }
}
