//! Erasure of payloads on request.

mod event;
mod hold;
mod many;

use serde_json::Value;
use sqlx::PgPool;

/// Tables of the database with a row that contains one of `texts`, as text or as bytes.
async fn tables_with(pool: &PgPool, texts: &[&str]) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', schemaname, tablename)
         FROM pg_tables
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
         ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .expect("tables");
    assert!(tables.iter().any(|table| table == "public.events"), "{tables:?}");
    let wanted: Vec<String> = texts.iter().flat_map(|text| [(*text).to_owned(), hex::encode(text)]).collect();
    let mut found = vec![];
    for table in tables {
        let query = format!(
            "SELECT EXISTS (SELECT FROM {table} AS row, unnest($1::text[]) AS wanted (text)
                            WHERE strpos(row::text, wanted.text) > 0)"
        );
        let is_there: bool =
            sqlx::query_scalar(&query).bind(&wanted).fetch_one(pool).await.expect("an answer");
        if is_there {
            found.push(table);
        }
    }
    found
}

/// Types of the facts of a history.
fn types(history: &Value) -> Vec<&str> {
    history["items"]
        .as_array()
        .expect("facts")
        .iter()
        .map(|fact| fact["type"].as_str().expect("a type"))
        .collect()
}
