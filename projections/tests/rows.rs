//! The rows of every read model, to be compared as a whole.

use projections::Projection;
use serde_json::{Map, Value};
use sqlx::{Acquire, PgPool, Postgres};

fn tables() -> impl Iterator<Item = &'static str> {
    Projection::ALL.into_iter().flat_map(|projection| projection.tables()).copied()
}

/// Returns everything that the projections have written, by table. Rows are in an order that depends on
/// their contents alone.
pub(crate) async fn all(database: impl Acquire<'_, Database = Postgres>) -> Value {
    let mut connection = database.acquire().await.unwrap();
    let mut rows = Map::new();
    for table in tables() {
        let query = format!("SELECT jsonb_agg(to_jsonb(r) ORDER BY to_jsonb(r)) FROM {table} AS r");
        let found: Option<Value> = sqlx::query_scalar(&query).fetch_one(&mut *connection).await.unwrap();
        rows.insert(table.to_owned(), found.unwrap_or_default());
    }
    rows.into()
}

/// Deletes everything that the projections have written.
pub(crate) async fn delete_all(pool: &PgPool) {
    let tables: Vec<&str> = tables().collect();
    sqlx::query(&format!("TRUNCATE {}", tables.join(", "))).execute(pool).await.unwrap();
}
