//! Distance of readers from the end of the log.

use std::time::Duration;

use sqlx::PgConnection;

use super::names;
use crate::logged_fact::{LogPosition, TransactionId};

/// Distance of a reader from the end of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Lag {
    pub reader: String,
    /// Approximate number of facts that are not folded; 0 only if there is none. Positions that the log skipped are
    /// counted.
    pub facts: u64,
    /// Time since the oldest of them was recorded.
    pub age: Duration,
    /// Reason for a halt; `None`: not halted.
    pub halted_because: Option<String>,
}

/// Maximum distance of a reader from the foremost one, in facts, at which requests wait for it. Catching up from
/// further behind takes longer than a request waits. A new read model is as far behind as the log is long.
pub const BEHIND_FACTS_MAX: i64 = 10_000;

/// Returns whether all of `readers` have folded the fact at `position`, except those that are halted or more than
/// [`BEHIND_FACTS_MAX`] facts behind the foremost.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.checkpoints.have_reached", level = "trace", skip_all, err(level = "debug"))]
pub async fn have_reached(
    connection: &mut PgConnection,
    readers: &[&'static str],
    position: LogPosition,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT count(*) = cardinality($1::text[]) AS "reached!"
        FROM checkpoints
        WHERE reader = ANY($1)
          AND (
            halted_because IS NOT NULL
            OR (transaction_id, position) >= ($2, $3)
            OR position < (SELECT max(position) FROM checkpoints WHERE reader = ANY($1)) - $4
          )
        "#,
        &names(readers.iter().copied()),
        position.transaction_id as TransactionId,
        position.position,
        BEHIND_FACTS_MAX,
    )
    .fetch_one(connection)
    .await
}

/// Returns the distance of each of `readers` from the end of the committed log.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.checkpoints.lag", level = "trace", skip_all, err(level = "debug"))]
pub async fn lag(connection: &mut PgConnection, readers: &[&'static str]) -> Result<Vec<Lag>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        WITH last AS (
            SELECT position
            FROM events
            ORDER BY transaction_id DESC, position DESC
            LIMIT 1
        ),
        reader AS (
            SELECT
                incoming.name,
                coalesce(checkpoint.transaction_id, '0') AS transaction_id,
                coalesce(checkpoint.position, 0) AS position,
                checkpoint.halted_because
            FROM unnest($1::text[]) AS incoming (name)
            LEFT JOIN checkpoints AS checkpoint ON checkpoint.reader = incoming.name
        )
        SELECT
            reader.name AS "name!",
            reader.halted_because,
            next.recorded_at IS NOT NULL AS "behind!",
            coalesce(last.position - reader.position, 0) AS "facts!",
            coalesce(extract(epoch FROM clock_timestamp() - next.recorded_at), 0)::float8 AS "age!"
        FROM reader
        LEFT JOIN last ON true
        LEFT JOIN LATERAL (
            SELECT recorded_at
            FROM events
            WHERE (events.transaction_id, events.position) > (reader.transaction_id, reader.position)
            ORDER BY events.transaction_id, events.position
            LIMIT 1
        ) AS next ON true
        "#,
        &names(readers.iter().copied()),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Lag {
            reader: row.name,
            // The positions of concurrent writers may differ from the order of the log.
            facts: if row.behind { u64::try_from(row.facts).unwrap_or_default().max(1) } else { 0 },
            age: Duration::try_from_secs_f64(row.age).unwrap_or_default(),
            halted_because: row.halted_because,
        })
        .collect())
}
