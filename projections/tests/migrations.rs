//! Migrations keep the rows that are there.
//!
//! `migrations/after_<version>_<name>.sql` has sample rows as the program of that version stores them. A new
//! migration that changes a table needs no new samples: those of the versions before show that it keeps their rows.
//! One that creates a table needs a file for its version.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use sqlx::migrate::Migrator;
use sqlx::{Executor, PgPool};

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/migrations");

/// The rows of each table.
type Rows = BTreeMap<String, Vec<Value>>;

/// Applies the migrations up to a version.
async fn migrate_to(pool: &PgPool, all: &Migrator, version: i64) {
    let migrations = all.iter().filter(|migration| migration.version <= version).cloned().collect();
    let migrator = Migrator { migrations, ..Migrator::DEFAULT };
    migrator.run(pool).await.unwrap();
}

async fn rows(pool: &PgPool) -> Rows {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> '_sqlx_migrations'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut rows = Rows::new();
    for table in tables {
        let statement = format!("SELECT to_jsonb(row) FROM {table} AS row");
        rows.insert(table, sqlx::query_scalar(&statement).fetch_all(pool).await.unwrap());
    }
    rows
}

/// Returns whether `after` has the columns of `before`, with the same values.
fn keeps(before: &Value, after: &Value) -> bool {
    let (Some(before), Some(after)) = (before.as_object(), after.as_object()) else { return false };
    before.iter().all(|(column, value)| after.get(column) == Some(value))
}

#[sqlx::test(migrations = false)]
async fn every_migration_keeps_the_rows_of_the_versions_before(pool: PgPool) {
    let all = Migrator::new(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations"))).await.unwrap();
    let (mut expected, mut sample_files) = (Rows::new(), 0);
    for migration in all.iter() {
        migrate_to(&pool, &all, migration.version).await;
        let name = migration.description.replace(' ', "_");
        let file = format!("{SAMPLES}/after_{:04}_{name}.sql", migration.version);
        let migrated = rows(&pool).await;
        for (table, before) in &expected {
            for row in before {
                let is_kept = migrated[table].iter().any(|after| keeps(row, after));
                assert!(is_kept, "{name} lost a row of {table}: {row}");
            }
        }
        if let Ok(samples) = std::fs::read_to_string(&file) {
            pool.execute(samples.as_str()).await.unwrap();
            sample_files += 1;
        }
        expected = rows(&pool).await;
        let empty = expected.iter().find(|(_, rows)| rows.is_empty()).map(|(table, _)| table);
        assert_eq!(empty, None, "this table has no sample rows: add {file}");
    }
    let files = std::fs::read_dir(SAMPLES).unwrap().count();
    assert_eq!(sample_files, files, "each file of samples is named like its migration");
}

#[test]
fn versions_have_no_gaps() {
    let mut versions: Vec<i64> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap()[..4].parse().unwrap())
        .collect();
    versions.sort_unstable();
    assert!(versions.iter().copied().eq(1..=versions.len() as i64), "{versions:?}");
}
