//! Counters of the database: WAL, transactions, statements.
//!
//! The queries are not checked at compile time, because they read no table of our schema: they read
//! PostgreSQL's statistics, and an extension that may be absent.

use std::collections::HashMap;

use anyhow::Context;
use secrecy::SecretString;
use serde::Serialize;
use sqlx::{PgConnection, Row};

use crate::database;

/// Upper bound of the statements in a report.
const STATEMENTS_MAX: usize = 15;

/// Connection that reads the counters.
pub(crate) struct DatabaseMeter {
    connection: PgConnection,
    with_statements: bool,
}

/// Counters of a database at one time, or their growth between two times.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DatabaseReading {
    /// Bytes of write-ahead log of the whole server.
    pub(crate) wal_bytes: u64,
    /// Committed transactions, including read-only ones.
    pub(crate) commits: u64,
    /// Transactions of the whole server that wrote.
    pub(crate) writes: u64,
    /// By PostgreSQL's `queryid`.
    pub(crate) statements: HashMap<i64, Statement>,
}

/// Cost of a statement.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Beginning of the statement.
    pub text: String,
    pub calls: u64,
    /// Rows that it returned or changed.
    pub rows: u64,
    /// Total time.
    pub milliseconds: f64,
    pub wal_bytes: u64,
}

impl DatabaseMeter {
    pub(crate) async fn connect(url: &SecretString) -> anyhow::Result<Self> {
        let mut connection = database::connect(url).await?;
        let with_statements = sqlx::query_scalar("SELECT to_regclass('pg_stat_statements') IS NOT NULL")
            .fetch_one(&mut connection)
            .await?;
        Ok(Self { connection, with_statements })
    }

    pub(crate) async fn read(&mut self) -> anyhow::Result<DatabaseReading> {
        let row = sqlx::query(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint AS wal_bytes,
                    xact_commit AS commits,
                    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS writes
               FROM pg_stat_database
              WHERE datname = current_database()",
        )
        .fetch_one(&mut self.connection)
        .await
        .context("the database's statistics cannot be read")?;
        let statements = if self.with_statements { self.statements().await? } else { HashMap::new() };
        Ok(DatabaseReading {
            wal_bytes: counter(&row, "wal_bytes")?,
            commits: counter(&row, "commits")?,
            writes: counter(&row, "writes")?,
            statements,
        })
    }

    async fn statements(&mut self) -> anyhow::Result<HashMap<i64, Statement>> {
        // A statement has a row for each database user. Statements that read statistics are our own.
        let rows = sqlx::query(
            "SELECT queryid, left(regexp_replace(min(query), '\\s+', ' ', 'g'), 200) AS text,
                    sum(calls)::bigint AS calls, sum(rows)::bigint AS rows,
                    sum(total_exec_time) AS milliseconds, sum(wal_bytes)::bigint AS wal_bytes
               FROM pg_stat_statements
              WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND queryid IS NOT NULL
                AND query NOT LIKE '%pg_stat_%'
              GROUP BY queryid",
        )
        .fetch_all(&mut self.connection)
        .await
        .context("pg_stat_statements cannot be read")?;
        let statement = |row: &sqlx::postgres::PgRow| {
            let statement = Statement {
                text: row.try_get::<Option<String>, _>("text")?.unwrap_or_default(),
                calls: counter(row, "calls")?,
                rows: counter(row, "rows")?,
                milliseconds: row.try_get("milliseconds")?,
                wal_bytes: counter(row, "wal_bytes")?,
            };
            Ok((row.try_get("queryid")?, statement))
        };
        rows.iter().map(statement).collect()
    }
}

fn counter(row: &sqlx::postgres::PgRow, name: &str) -> anyhow::Result<u64> {
    Ok(u64::try_from(row.try_get::<i64, _>(name)?)?)
}

impl DatabaseReading {
    /// Returns the growth of the counters since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let grown = |(id, now): (&i64, &Statement)| {
            let before = earlier.statements.get(id).cloned().unwrap_or_default();
            let statement = Statement {
                text: now.text.clone(),
                calls: now.calls.saturating_sub(before.calls),
                rows: now.rows.saturating_sub(before.rows),
                milliseconds: now.milliseconds - before.milliseconds,
                wal_bytes: now.wal_bytes.saturating_sub(before.wal_bytes),
            };
            (statement.calls > 0).then_some((*id, statement))
        };
        Self {
            wal_bytes: self.wal_bytes.saturating_sub(earlier.wal_bytes),
            commits: self.commits.saturating_sub(earlier.commits),
            writes: self.writes.saturating_sub(earlier.writes),
            statements: self.statements.iter().filter_map(grown).collect(),
        }
    }

    /// Returns the statements with the longest total time.
    pub(crate) fn slowest(&self) -> Vec<Statement> {
        let mut statements: Vec<_> = self.statements.values().cloned().collect();
        statements.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
        statements.truncate(STATEMENTS_MAX);
        statements
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(wal_bytes: u64, statements: &[(i64, u64, f64)]) -> DatabaseReading {
        let statement = |&(id, calls, milliseconds): &(i64, u64, f64)| {
            (id, Statement { calls, milliseconds, ..Statement::default() })
        };
        DatabaseReading {
            wal_bytes,
            commits: wal_bytes / 2,
            writes: wal_bytes / 4,
            statements: statements.iter().map(statement).collect(),
        }
    }

    #[test]
    fn only_growth_since_the_earlier_reading_counts() {
        let before = reading(100, &[(1, 5, 10.0), (2, 7, 1.0)]);
        let after = reading(180, &[(1, 8, 11.0), (2, 7, 1.0), (3, 1, 40.0)]);
        let grown = after.since(&before);
        assert_eq!((grown.wal_bytes, grown.commits, grown.writes), (80, 40, 20));
        let slowest: Vec<_> = grown.slowest().iter().map(|s| (s.calls, s.milliseconds)).collect();
        assert_eq!(slowest, [(1, 40.0), (3, 1.0)]);
    }
}
