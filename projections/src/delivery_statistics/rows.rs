//! Rows of `delivery_statistics`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Counts, Interval, TimesToDeliver};
use crate::logged_fact::{LogPosition, TransactionId};

/// Primary key of a bucket. Ordered, so that two writers lock rows in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) tenant_id: Uuid,
    pub(super) destination_id: Uuid,
    pub(super) interval: Interval,
    pub(super) starts_at: DateTime<Utc>,
}

/// Content of a bucket.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) counts: Counts,
    /// Position of the last fact that was counted.
    pub(super) position: LogPosition,
}

/// Columns of a bucket.
pub(super) struct StoredRow {
    pub(super) tenant_id: Uuid,
    pub(super) destination_id: Uuid,
    pub(super) hours: i16,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) accepted: i64,
    pub(super) succeeded: i64,
    pub(super) failed_attempts: i64,
    pub(super) critical_failures: i64,
    pub(super) cancelled: i64,
    pub(super) replayed: i64,
    pub(super) times_to_deliver: Vec<i32>,
    pub(super) transaction_id: TransactionId,
    pub(super) position: i64,
}

impl StoredRow {
    pub(super) fn counts(&self) -> Counts {
        let count = |column: i64| u64::try_from(column).unwrap_or_default();
        Counts {
            accepted: count(self.accepted),
            succeeded: count(self.succeeded),
            failed_attempts: count(self.failed_attempts),
            critical_failures: count(self.critical_failures),
            cancelled: count(self.cancelled),
            replayed: count(self.replayed),
            times_to_deliver: TimesToDeliver::from_stored(&self.times_to_deliver),
        }
    }

    fn read(self) -> (Key, Row) {
        let counts = self.counts();
        let Self { tenant_id, destination_id, hours, starts_at, transaction_id, position, .. } = self;
        let interval = if hours == Interval::Hour.hours() { Interval::Hour } else { Interval::Day };
        let row = Row { counts, position: LogPosition { transaction_id, position } };
        (Key { tenant_id, destination_id, interval, starts_at }, row)
    }
}

/// Reads those of the buckets that exist.
#[tracing::instrument(name = "db.delivery_statistics.load", level = "trace", skip_all, err(level = "debug"))]
pub(super) async fn load(
    connection: &mut PgConnection,
    keys: &BTreeSet<Key>,
) -> Result<BTreeMap<Key, Row>, sqlx::Error> {
    let rows = sqlx::query_as!(
        StoredRow,
        r#"
        SELECT
            row.tenant_id, row.destination_id, row.hours, row.starts_at, row.accepted, row.succeeded,
            row.failed_attempts, row.critical_failures, row.cancelled, row.replayed,
            row.times_to_deliver, row.transaction_id AS "transaction_id: _", row.position
        FROM unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::timestamptz[])
            AS key (tenant_id, destination_id, hours, starts_at)
        JOIN delivery_statistics AS row USING (tenant_id, destination_id, hours, starts_at)
        "#,
        &keys.iter().map(|key| key.tenant_id).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.destination_id).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.interval.hours()).collect::<Vec<_>>(),
        &keys.iter().map(|key| key.starts_at).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(StoredRow::read).collect())
}

/// Writes buckets. A row with a later position is not changed.
#[tracing::instrument(name = "db.delivery_statistics.store", level = "trace", skip_all, err(level = "debug"))]
pub(super) async fn store(
    connection: &mut PgConnection,
    rows: &BTreeMap<Key, Row>,
) -> Result<(), sqlx::Error> {
    let column = |of: fn(&Counts) -> u64| -> Vec<i64> {
        rows.values().map(|row| i64::try_from(of(&row.counts)).unwrap_or(i64::MAX)).collect()
    };
    sqlx::query!(
        r#"
        INSERT INTO delivery_statistics AS row (
            tenant_id, destination_id, hours, starts_at, accepted, succeeded, failed_attempts,
            critical_failures, cancelled, replayed, times_to_deliver, transaction_id, position
        )
        SELECT
            tenant_id, destination_id, hours, starts_at, accepted, succeeded, failed_attempts,
            critical_failures, cancelled, replayed, times_to_deliver::integer[], transaction_id, position
        FROM unnest(
            $1::uuid[], $2::uuid[], $3::smallint[], $4::timestamptz[], $5::bigint[], $6::bigint[],
            $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
            -- Arrays of different lengths do not fit into one array of arrays.
            $11::text[], $12::xid8[], $13::bigint[]
        ) AS incoming (
            tenant_id, destination_id, hours, starts_at, accepted, succeeded, failed_attempts,
            critical_failures, cancelled, replayed, times_to_deliver, transaction_id, position
        )
        ON CONFLICT (tenant_id, destination_id, hours, starts_at) DO UPDATE SET
            accepted = excluded.accepted,
            succeeded = excluded.succeeded,
            failed_attempts = excluded.failed_attempts,
            critical_failures = excluded.critical_failures,
            cancelled = excluded.cancelled,
            replayed = excluded.replayed,
            times_to_deliver = excluded.times_to_deliver,
            transaction_id = excluded.transaction_id,
            position = excluded.position
        WHERE (row.transaction_id, row.position) < (excluded.transaction_id, excluded.position)
        "#,
        &rows.keys().map(|key| key.tenant_id).collect::<Vec<_>>(),
        &rows.keys().map(|key| key.destination_id).collect::<Vec<_>>(),
        &rows.keys().map(|key| key.interval.hours()).collect::<Vec<_>>(),
        &rows.keys().map(|key| key.starts_at).collect::<Vec<_>>(),
        &column(|counts| counts.accepted),
        &column(|counts| counts.succeeded),
        &column(|counts| counts.failed_attempts),
        &column(|counts| counts.critical_failures),
        &column(|counts| counts.cancelled),
        &column(|counts| counts.replayed),
        &rows.values().map(|row| array(&row.counts.times_to_deliver.to_stored())).collect::<Vec<_>>(),
        &rows.values().map(|row| row.position.transaction_id).collect::<Vec<_>>() as &[TransactionId],
        &rows.values().map(|row| row.position.position).collect::<Vec<_>>(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Returns the text form of an array.
fn array(numbers: &[i32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(i32::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}
