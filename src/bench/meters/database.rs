//! What the database did: WAL, transactions, statements.
//!
//! The queries are not checked against our schema, because none of what they read is ours: PostgreSQL's
//! statistics, and an extension that may be absent.

use std::collections::HashMap;

use anyhow::Context;
use serde::Serialize;
use sqlx::{Connection, PgConnection, Row};

use crate::config::DatabaseUrl;

/// Statements that are shown, those that took longest.
const STATEMENTS_MAX: usize = 15;

/// A connection that reads statistics.
pub(crate) struct DatabaseMeter {
    connection: PgConnection,
    with_statements: bool,
}

/// Counters of a database, as they stood at one moment or as they grew between two.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct DatabaseReading {
    /// Bytes of write-ahead log, of the whole server.
    pub(crate) wal_bytes: u64,
    /// Transactions that committed, those that only read included.
    pub(crate) commits: u64,
    /// Transactions of the whole server that wrote.
    pub(crate) writes: u64,
    /// By PostgreSQL's id of the statement.
    pub(crate) statements: HashMap<i64, Statement>,
}

/// What a statement cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Its beginning.
    pub text: String,
    /// How often it ran.
    pub calls: u64,
    /// Rows it returned or touched.
    pub rows: u64,
    /// Milliseconds it took in all.
    pub milliseconds: f64,
    /// Bytes of write-ahead log it made.
    pub wal_bytes: u64,
}

impl DatabaseMeter {
    pub(crate) async fn connect(url: &DatabaseUrl) -> anyhow::Result<Self> {
        let options = url.options().clone().application_name("hooksentry bench");
        let mut connection =
            PgConnection::connect_with(&options).await.with_context(|| format!("cannot connect to {url}"))?;
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
        // The same text of several users is several rows; what reads the statistics is ours.
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
    /// How the counters grew since `earlier`.
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

    /// The statements that took longest.
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
    fn what_counts_is_what_came_since() {
        let before = reading(100, &[(1, 5, 10.0), (2, 7, 1.0)]);
        let after = reading(180, &[(1, 8, 11.0), (2, 7, 1.0), (3, 1, 40.0)]);
        let grown = after.since(&before);
        assert_eq!((grown.wal_bytes, grown.commits, grown.writes), (80, 40, 20));
        let slowest: Vec<_> = grown.slowest().iter().map(|s| (s.calls, s.milliseconds)).collect();
        assert_eq!(slowest, [(1, 40.0), (3, 1.0)]);
    }
}
