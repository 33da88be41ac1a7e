//! Disk usage of tables and indexes.
//!
//! The queries are not checked at compile time, because they read PostgreSQL's catalog.

use secrecy::SecretString;
use serde::Serialize;
use sqlx::{PgConnection, Row};

use crate::database;

/// Tables with rows for each webhook.
const TABLES: [&str; 9] = [
    "events",
    "payloads",
    "webhook_events",
    "webhook_event_counts",
    "delivery_attempts",
    "delivery_statistics",
    "evidence_tiles",
    "evidence_trees",
    "evidence_checkpoints",
];

/// Table without its indexes, or an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Relation {
    pub table: String,
    /// `None` for the table itself.
    pub index: Option<String>,
    pub bytes: u64,
}

/// Measures the tables and their indexes.
pub(super) async fn measure(url: &SecretString) -> anyhow::Result<Vec<Relation>> {
    let mut connection = database::connect(url).await?;
    let rows = sqlx::query(
        "SELECT relation.relname::text AS \"table\", NULL::text AS index, pg_table_size(relation.oid) AS bytes
         FROM unnest($1::text[]) WITH ORDINALITY AS name (name, number)
         JOIN pg_class AS relation ON relation.oid = to_regclass(name.name)
         UNION ALL
         SELECT relation.relname, item.relname, pg_relation_size(item.oid)
         FROM unnest($1::text[]) AS name (name)
         JOIN pg_class AS relation ON relation.oid = to_regclass(name.name)
         JOIN pg_index ON pg_index.indrelid = relation.oid
         JOIN pg_class AS item ON item.oid = pg_index.indexrelid
         ORDER BY 1, 2 NULLS FIRST",
    )
    .bind(TABLES.map(str::to_owned).to_vec())
    .fetch_all(&mut connection)
    .await?;
    let relations = rows.iter().map(|row| {
        Ok(Relation {
            table: row.try_get("table")?,
            index: row.try_get("index")?,
            bytes: u64::try_from(row.try_get::<i64, _>("bytes")?)?,
        })
    });
    relations.collect()
}

/// Vacuums and analyzes the tables, as autovacuum would in time.
pub(super) async fn vacuum(connection: &mut PgConnection) -> anyhow::Result<()> {
    for table in TABLES {
        let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
            .bind(table)
            .fetch_one(&mut *connection)
            .await?;
        if exists {
            sqlx::query(&format!("VACUUM (ANALYZE) {table}")).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Counts the webhooks of all tenants.
pub(super) async fn events(url: &SecretString) -> anyhow::Result<u64> {
    let mut connection = database::connect(url).await?;
    let events: i64 =
        sqlx::query_scalar("SELECT count(*) FROM webhook_events").fetch_one(&mut connection).await?;
    Ok(u64::try_from(events)?)
}
