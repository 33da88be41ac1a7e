//! Facts of the log with their positions, as all readers of the log see them.

use std::fmt;

use aggregates::fact::{Fact, StoredFact, UnreadableFact};
use aggregates::ids::TenantId;
use chrono::{DateTime, Utc};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};
use uuid::Uuid;

/// Object ids of `xid8` and `xid8[]` in PostgreSQL's catalog, which sqlx has no types for.
const XID8: Oid = Oid(5069);
const XID8_ARRAY: Oid = Oid(271);

/// Id of a transaction in the log: the era in the upper 16 bits, and in the lower 48 PostgreSQL's `xid8`, which a
/// cluster never uses again. So facts of a later era come after all facts of an earlier one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub u64);

/// Position in the total order of the log: by era, transaction, and order of insertion. The default is before
/// the first fact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The transaction that wrote the fact.
    pub transaction_id: TransactionId,
    /// Number of the fact in the order of insertion, over all transactions.
    pub position: i64,
}

/// A fact of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedFact {
    pub position: LogPosition,
    /// The owner of the stream; a reservation belongs to the tenant that made it.
    pub tenant_id: TenantId,
    /// The aggregate's id.
    pub stream_id: Uuid,
    /// Version of the stream with this fact, from 1.
    pub sequence: u64,
    /// By the clock of the database.
    pub recorded_at: DateTime<Utc>,
    pub fact: Fact,
}

/// A row of the `events` table, selected by [`log_rows!`](crate::log_rows).
#[derive(Clone, Debug)]
pub struct LogRow {
    pub transaction_id: TransactionId,
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    /// Version of the stream with this fact, from 1.
    pub sequence: i64,
    pub event_type: String,
    /// Version of the form in which the payload is stored.
    pub event_version: String,
    /// The fact as JSON text.
    pub payload: String,
    pub tenant_id: Option<Uuid>,
    /// By the clock of the database.
    pub recorded_at: DateTime<Utc>,
}

/// Selects [`LogRow`]s with a query that the compiler checks. The arguments are the query from its `FROM` clause
/// on, and the values of its parameters. `payload` takes another expression for the payload's text.
#[macro_export]
macro_rules! log_rows {
    (payload: $payload:literal, $from:literal $(, $($arguments:tt)*)?) => {
        sqlx::query_as!(
            $crate::LogRow,
            r#"SELECT
                transaction_id AS "transaction_id!: _", position AS "position!",
                aggregate_type AS "aggregate_type!", aggregate_id AS "aggregate_id!", sequence AS "sequence!",
                event_type AS "event_type!", event_version AS "event_version!", tenant_id,
                recorded_at AS "recorded_at!", "# + $payload + r#" AS "payload!" "# + $from,
            $($($arguments)*)?
        )
    };
    ($from:literal $(, $($arguments:tt)*)?) => {
        $crate::log_rows!(payload: "payload::text", $from $(, $($arguments)*)?)
    };
}

/// Error of a row of the log that is not a valid fact, with what identifies the row.
#[derive(Debug, thiserror::Error)]
#[error("the fact at {position:?} ({aggregate_type} {aggregate_id}, version {sequence}) cannot be read")]
pub struct UnreadableRow {
    pub position: LogPosition,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    #[source]
    pub source: UnreadableRowCause,
}

/// The part of an unreadable row that is invalid.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRowCause {
    #[error(transparent)]
    Fact(#[from] UnreadableFact),
    #[error("the stream's id is not a UUID")]
    StreamId(#[from] uuid::Error),
    #[error("the stream's version is negative")]
    Sequence(#[from] std::num::TryFromIntError),
}

impl LogRow {
    #[must_use]
    pub fn log_position(&self) -> LogPosition {
        LogPosition { transaction_id: self.transaction_id, position: self.position }
    }
}

impl TryFrom<LogRow> for LoggedFact {
    type Error = UnreadableRow;

    fn try_from(row: LogRow) -> Result<Self, UnreadableRow> {
        let read = || -> Result<(Uuid, u64, Fact), UnreadableRowCause> {
            let fact = Fact::read(StoredFact {
                aggregate_type: &row.aggregate_type,
                event_type: &row.event_type,
                event_version: &row.event_version,
                payload: &row.payload,
            })?;
            Ok((Uuid::parse_str(&row.aggregate_id)?, u64::try_from(row.sequence)?, fact))
        };
        let position = row.log_position();
        match read() {
            Ok((stream_id, sequence, fact)) => Ok(Self {
                position,
                tenant_id: TenantId(row.tenant_id.unwrap_or_default()),
                stream_id,
                sequence,
                recorded_at: row.recorded_at,
                fact,
            }),
            Err(source) => Err(UnreadableRow {
                position,
                aggregate_type: row.aggregate_type,
                aggregate_id: row.aggregate_id,
                sequence: row.sequence,
                source,
            }),
        }
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Type<Postgres> for TransactionId {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(XID8)
    }
}

impl PgHasArrayType for TransactionId {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(XID8_ARRAY)
    }
}

impl Encode<'_, Postgres> for TransactionId {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend(self.0.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for TransactionId {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(Self(match value.format() {
            PgValueFormat::Binary => u64::from_be_bytes(value.as_bytes()?.try_into()?),
            PgValueFormat::Text => value.as_str()?.parse()?,
        }))
    }
}
