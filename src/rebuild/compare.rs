//! Compares tables row by row: both sides are read in the order of their primary key and merged.

use std::cmp::Ordering;

use futures::{Stream, TryStreamExt};
use projections::Projection;
use serde_json::Value;
use sqlx::{PgConnection, Row as _};

use super::RebuildFailure;
use super::drift::{Drift, DriftedRow, between};

/// The schema of the live tables.
const LIVE: &str = "public";

/// Numbers of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RowCounts {
    /// Rows on either side; a row on both sides counts once.
    pub(super) rows: u64,
    pub(super) drifted: u64,
}

/// A row of either side.
struct ComparedRow {
    /// The values of its primary key.
    key: Vec<Value>,
    /// The whole row as JSON.
    text: String,
}

/// Compares the live rows of `projection`, read by `live`, with those in `schema`, read by `log`.
pub(super) async fn compare(
    live: &mut PgConnection,
    log: &mut PgConnection,
    schema: &str,
    projection: Projection,
    report: &mut (dyn FnMut(DriftedRow) + Send),
) -> Result<RowCounts, RebuildFailure> {
    let mut counted = RowCounts::default();
    for table in projection.tables().iter().copied() {
        let live_rows = selection(live, LIVE, table).await?;
        let log_rows = selection(log, schema, table).await?;
        let live_rows = sqlx::query(&live_rows).fetch(&mut *live).map_err(RebuildFailure::from);
        let log_rows = sqlx::query(&log_rows).fetch(&mut *log).map_err(RebuildFailure::from);
        let mut live_rows = Side::new(table, live_rows);
        let mut log_rows = Side::new(table, log_rows);
        let (mut here, mut there) = (live_rows.next().await?, log_rows.next().await?);
        while let Some(order) = next_of(here.as_ref(), there.as_ref()) {
            counted.rows += 1;
            let (key, drift) = match (order, &here, &there) {
                (Ordering::Less, Some(row), _) => (&row.key, Some(Drift::Extra)),
                (Ordering::Greater, _, Some(row)) => (&row.key, Some(Drift::Missing)),
                (_, Some(one), Some(other)) => (&one.key, drift_of(one, other, table)?),
                _ => break,
            };
            if let Some(drift) = drift {
                counted.drifted += 1;
                let key = Value::Array(key.clone()).to_string();
                report(DriftedRow { projection, table, key, drift });
            }
            if order.is_le() {
                here = live_rows.next().await?;
            }
            if order.is_ge() {
                there = log_rows.next().await?;
            }
        }
    }
    Ok(counted)
}

/// Returns which side has the next row; `None`, when both have ended.
fn next_of(here: Option<&ComparedRow>, there: Option<&ComparedRow>) -> Option<Ordering> {
    match (here, there) {
        (None, None) => None,
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (Some(here), Some(there)) => Some(in_order(&here.key, &there.key)),
    }
}

/// Returns how two rows of the same key differ, if they do.
fn drift_of(
    live: &ComparedRow,
    log: &ComparedRow,
    table: &'static str,
) -> Result<Option<Drift>, RebuildFailure> {
    if live.text == log.text {
        return Ok(None);
    }
    let read = |row: &ComparedRow| serde_json::from_str(&row.text).map_err(|_| unexpected_order(table));
    let columns = between(&read(live)?, &read(log)?);
    Ok(if columns.is_empty() { None } else { Some(Drift::Different(columns)) })
}

/// One side of the merge. It checks the order of its rows: in another order every row would seem to differ.
struct Side<S> {
    table: &'static str,
    rows: S,
    last: Option<Vec<Value>>,
}

impl<S> Side<S>
where
    S: Stream<Item = Result<sqlx::postgres::PgRow, RebuildFailure>> + Unpin,
{
    fn new(table: &'static str, rows: S) -> Self {
        Self { table, rows, last: None }
    }

    async fn next(&mut self) -> Result<Option<ComparedRow>, RebuildFailure> {
        let Some(row) = self.rows.try_next().await? else { return Ok(None) };
        let (key, text): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let key: Vec<Value> = serde_json::from_str(&key).map_err(|_| unexpected_order(self.table))?;
        let is_in_order = self.last.as_ref().is_none_or(|last| in_order(last, &key).is_lt());
        if !is_in_order {
            return Err(unexpected_order(self.table));
        }
        self.last = Some(key.clone());
        Ok(Some(ComparedRow { key, text }))
    }
}

fn unexpected_order(table: &'static str) -> RebuildFailure {
    RebuildFailure::UnexpectedOrder { table: table.to_owned() }
}

/// Compares keys in PostgreSQL's order, for the types that keys have.
fn in_order(one: &[Value], other: &[Value]) -> Ordering {
    let parts = one.iter().zip(other).map(|(one, other)| match (one, other) {
        (Value::String(one), Value::String(other)) => one.cmp(other),
        (Value::Number(one), Value::Number(other)) => one.as_i64().cmp(&other.as_i64()),
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        _ => Ordering::Equal,
    });
    parts.fold(Ordering::Equal, Ordering::then)
}

/// Returns the query for all rows of a table in the order of its primary key, written by the server from the catalog.
/// Both sides are read by it.
#[tracing::instrument(name = "db.catalog.selection", level = "debug", skip_all, err(level = "debug"))]
async fn selection(
    connection: &mut PgConnection,
    schema: &str,
    table: &str,
) -> Result<String, RebuildFailure> {
    let selection = sqlx::query_scalar!(
        r#"
        SELECT format(
            'SELECT jsonb_build_array(%s)::text, to_jsonb(compared)::text FROM %s.%s AS compared ORDER BY %s',
            string_agg(format('compared.%I', attname), ', ' ORDER BY ordinality),
            quote_ident($1),
            quote_ident($2),
            -- Text in the order of its bytes, which is also that of this program.
            string_agg(
                format('compared.%I %s', attname, CASE WHEN attcollation <> 0 THEN 'COLLATE "C"' END),
                ', ' ORDER BY ordinality
            )
        )
        FROM pg_constraint
        CROSS JOIN unnest(conkey) WITH ORDINALITY AS part (number, ordinality)
        JOIN pg_attribute ON attrelid = conrelid AND attnum = part.number
        WHERE contype = 'p' AND conrelid = (quote_ident($1) || '.' || quote_ident($2))::regclass
        HAVING count(*) > 0
        "#,
        schema,
        table,
    )
    .fetch_optional(connection)
    .await?
    .flatten();
    selection.ok_or_else(|| RebuildFailure::NoPrimaryKey { table: table.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_ordered_part_by_part() {
        let key = |value: Value| value.as_array().cloned().unwrap_or_default();
        let ascending = [
            json!(["0a", 2, "2026-01-02T00:00:00+00:00"]),
            json!(["0a", 10, "2026-01-01T00:00:00+00:00"]),
            json!(["0a", 10, "2026-01-01T00:00:00.5+00:00"]),
            json!(["0b", -1, "2026-01-01T00:00:00+00:00"]),
        ]
        .map(key);
        for pair in ascending.windows(2) {
            assert_eq!(in_order(&pair[0], &pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(in_order(&pair[1], &pair[0]), Ordering::Greater, "{pair:?}");
            assert_eq!(in_order(&pair[0], &pair[0]), Ordering::Equal, "{pair:?}");
        }
    }
}
