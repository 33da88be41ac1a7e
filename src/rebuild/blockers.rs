//! Transactions that block a swap: they hold locks, or snapshots older than the shadow tables' last facts.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::shadow_schema::ShadowSchema;

/// Interval at which older snapshots are checked.
const CHECK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// SQLSTATE of a lock that was not granted in time, and of a deadlock.
const LOCK_NOT_AVAILABLE: &str = "55P03";
const DEADLOCK: &str = "40P01";

/// Whether a lock was not granted.
pub(super) fn is_lock_failure(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code == LOCK_NOT_AVAILABLE || code == DEADLOCK)
}

impl ShadowSchema {
    /// Describes the transaction that has held a snapshot for the longest time.
    pub(super) async fn describe_blocker(&mut self) -> Result<String, sqlx::Error> {
        let oldest = snapshot_holders(&mut self.reader, None).await?.into_iter().next();
        Ok(oldest.map_or_else(|| "a long transaction held a lock".to_owned(), |holder| holder.description))
    }

    /// Waits until every transaction has ended whose snapshot may be older than this call. Returns the description of
    /// one that has not ended by `deadline`.
    pub(super) async fn wait_for_older_snapshots(
        &mut self,
        deadline: Instant,
    ) -> Result<Option<String>, sqlx::Error> {
        let mut older = snapshot_holders(&mut self.reader, None).await?;
        while let Some(holder) = older.first() {
            if Instant::now() >= deadline {
                return Ok(Some(holder.description.clone()));
            }
            sleep(CHECK_AGAIN_AFTER).await;
            let transactions: Vec<String> = older.into_iter().map(|holder| holder.transaction).collect();
            older = snapshot_holders(&mut self.reader, Some(&transactions)).await?;
        }
        Ok(None)
    }
}

/// A transaction with a snapshot.
struct SnapshotHolder {
    /// Virtual transaction id, which is never reused.
    transaction: String,
    /// Application and process, as shown to the operator.
    description: String,
}

/// Returns the transactions of this database that have a snapshot, the oldest first: all, or those of `among`.
async fn snapshot_holders(
    connection: &mut PgConnection,
    among: Option<&[String]>,
) -> Result<Vec<SnapshotHolder>, sqlx::Error> {
    sqlx::query_as!(
        SnapshotHolder,
        r#"
        SELECT
            virtualtransaction AS "transaction!",
            format(
                'a long transaction of %s (PostgreSQL''s process %s) is open',
                coalesce(nullif(application_name, ''), 'an unnamed program'), activity.pid
            ) AS "description!"
        FROM pg_stat_activity AS activity
        JOIN pg_locks AS lock ON lock.pid = activity.pid
        WHERE datname = current_database()
          AND backend_xmin IS NOT NULL
          -- Not the server's own processes: a vacuum returns no rows to a client.
          AND usesysid IS NOT NULL
          AND activity.pid <> pg_backend_pid()
          AND locktype = 'virtualxid'
          AND virtualxid = virtualtransaction
          AND granted
          AND ($1::text[] IS NULL OR virtualtransaction = ANY($1))
        ORDER BY xact_start
        "#,
        among as Option<&[String]>,
    )
    .fetch_all(connection)
    .await
}
