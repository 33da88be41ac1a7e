//! Where in the log a search reads. It is found outside the scope of the tenant, which sees only its own facts.

use chrono::{DateTime, Utc};
use projections::paging::Direction;
use projections::{LogPosition, TransactionId};
use sqlx::{FromRow, PgConnection};

use super::search::{Selection, TrailFilter};
use crate::event_store::log_reader;

/// Facts of the log, of all tenants, that one search looks at if it can use no index of the tenant.
const LOOKED_AT_MAX: i64 = 20_000;

/// Range of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Before the first fact of the range.
    pub(super) after: LogPosition,
    /// Behind the last fact of the range.
    pub(super) before: LogPosition,
    /// Position from which to go on when all matching facts of the range are found; `None`: that were all.
    pub(super) goes_on: Option<LogPosition>,
}

#[derive(FromRow)]
struct Row {
    transaction_id: TransactionId,
    position: i64,
}

impl From<Row> for LogPosition {
    fn from(row: Row) -> Self {
        Self { transaction_id: row.transaction_id, position: row.position }
    }
}

/// Returns a position such that no fact before it will be added any more: as far as the readers of the log have come.
/// Must not be called within a transaction.
///
/// # Errors
/// When the database fails.
pub(crate) async fn settled(connection: &mut PgConnection) -> Result<LogPosition, sqlx::Error> {
    let horizon = log_reader::horizon(connection, &[]).await?;
    // What some reader has passed is settled as well. A caller finds what its last request has changed, since that
    // waited for these readers.
    let settled: Row = sqlx::query_as(
        "SELECT log_transaction_id((SELECT max(era) FROM log_eras), $1) AS transaction_id, 0::bigint AS position
         UNION ALL
         SELECT transaction_id, position + 1 FROM checkpoints
         ORDER BY transaction_id DESC, position DESC
         LIMIT 1",
    )
    .bind(horizon)
    .fetch_one(connection)
    .await?;
    Ok(settled.into())
}

/// Returns the range in which to search, from `from` on, within the facts before `settled`.
///
/// # Errors
/// When the database fails.
pub(crate) async fn bounds(
    connection: &mut PgConnection,
    filter: &TrailFilter,
    direction: Direction,
    from: Option<LogPosition>,
    settled: LogPosition,
) -> Result<Bounds, sqlx::Error> {
    let mut bounds = Bounds { after: LogPosition::default(), before: settled, goes_on: None };
    match (direction, from) {
        (Direction::Ascending, Some(from)) => bounds.after = from,
        (Direction::Descending, Some(from)) => bounds.before = bounds.before.min(from),
        (_, None) => {}
    }
    if filter.selection == Selection::All {
        bounds.limit_to_times(connection, filter).await?;
        bounds.limit_facts(connection, direction).await?;
    }
    Ok(bounds)
}

impl Bounds {
    /// Leaves out what was certainly recorded at other times.
    async fn limit_to_times(
        &mut self,
        connection: &mut PgConnection,
        filter: &TrailFilter,
    ) -> Result<(), sqlx::Error> {
        if let Some(from) = filter.from {
            let first = LogPosition { transaction_id: log_at(connection, from).await?, position: 0 };
            self.after = self.after.max(first);
        }
        if let Some(to) = filter.to
            // Twice the margin of the function.
            && let Some(to) = to.checked_add_signed(chrono::TimeDelta::minutes(20))
        {
            let last = LogPosition { transaction_id: log_at(connection, to).await?, position: i64::MAX };
            self.before = self.before.min(last);
        }
        Ok(())
    }

    /// Bounds the number of facts in the range.
    async fn limit_facts(
        &mut self,
        connection: &mut PgConnection,
        direction: Direction,
    ) -> Result<(), sqlx::Error> {
        let keyword = match direction {
            Direction::Ascending => "",
            Direction::Descending => "DESC",
        };
        let last: Option<Row> = sqlx::query_as(&format!(
            "SELECT transaction_id, position FROM events
             WHERE (transaction_id, position) > ($1, $2) AND (transaction_id, position) < ($3, $4)
             ORDER BY transaction_id {keyword}, position {keyword} OFFSET $5 LIMIT 1"
        ))
        .bind(self.after.transaction_id)
        .bind(self.after.position)
        .bind(self.before.transaction_id)
        .bind(self.before.position)
        .bind(LOOKED_AT_MAX)
        .fetch_optional(connection)
        .await?;
        let Some(LogPosition { transaction_id, position }) = last.map(LogPosition::from) else {
            return Ok(());
        };
        match direction {
            Direction::Ascending => {
                self.before = LogPosition { transaction_id, position };
                self.goes_on = Some(LogPosition { transaction_id, position: position - 1 });
            }
            Direction::Descending => {
                self.after = LogPosition { transaction_id, position };
                self.goes_on = Some(LogPosition { transaction_id, position: position + 1 });
            }
        }
        Ok(())
    }
}

async fn log_at(connection: &mut PgConnection, time: DateTime<Utc>) -> Result<TransactionId, sqlx::Error> {
    sqlx::query_scalar("SELECT log_transaction_at($1)").bind(time).fetch_one(connection).await
}
