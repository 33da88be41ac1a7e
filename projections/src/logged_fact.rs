//! A fact with its place in the log, as every reader of the log sees it.

use aggregates::fact::{Fact, StoredFact, UnreadableFact};
use aggregates::ids::TenantId;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A place in the log's total order: first by transaction, then by position within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The `xid8` of the transaction that wrote the fact.
    pub transaction_id: u64,
    /// The fact's number within the order of insertion.
    pub position: i64,
}

/// A fact as it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedFact {
    pub position: LogPosition,
    /// Whose it is; claims of names belong to whoever made them.
    pub tenant_id: TenantId,
    /// Its stream: the aggregate's id.
    pub stream_id: Uuid,
    /// Its version within the stream, from 1.
    pub sequence: u64,
    /// When the database recorded it.
    pub recorded_at: DateTime<Utc>,
    pub fact: Fact,
}

/// One row of the `events` table, as it was read.
#[derive(Clone, Debug)]
pub struct LogRow {
    /// The `xid8` of its transaction, as text: drivers know no such type.
    pub transaction_id: String,
    pub position: i64,
    /// Name of its aggregate.
    pub aggregate_type: String,
    /// Id of its aggregate.
    pub aggregate_id: String,
    /// Its version within the stream.
    pub sequence: i64,
    pub event_type: String,
    /// Version of the form in which it is stored.
    pub event_version: String,
    /// The fact as JSON text.
    pub payload: String,
    pub tenant_id: Option<Uuid>,
    /// When the database recorded it.
    pub recorded_at: DateTime<Utc>,
}

/// A row of the log that cannot be read as a fact, named so that a person can find it.
#[derive(Debug, thiserror::Error)]
#[error("the fact at {position:?} ({aggregate_type} {aggregate_id}, version {sequence}) cannot be read")]
pub struct UnreadableRow {
    pub position: LogPosition,
    /// Name of its aggregate.
    pub aggregate_type: String,
    /// Id of its aggregate.
    pub aggregate_id: String,
    /// Its version within the stream.
    pub sequence: i64,
    /// What is wrong with it.
    #[source]
    pub source: UnreadableRowCause,
}

/// What is wrong with a row of the log.
#[derive(Debug, thiserror::Error)]
pub enum UnreadableRowCause {
    /// Its payload.
    #[error(transparent)]
    Fact(#[from] UnreadableFact),
    /// Its stream's id is no UUID.
    #[error("its stream's id is not a UUID")]
    StreamId(#[from] uuid::Error),
}

impl LogRow {
    /// The row's place in the log.
    #[must_use]
    pub fn log_position(&self) -> LogPosition {
        // The column is xid8: its text is always a number of 64 bits.
        LogPosition {
            transaction_id: self.transaction_id.parse().unwrap_or_default(),
            position: self.position,
        }
    }
}

impl TryFrom<LogRow> for LoggedFact {
    type Error = UnreadableRow;

    fn try_from(row: LogRow) -> Result<Self, UnreadableRow> {
        let read = || -> Result<(Uuid, Fact), UnreadableRowCause> {
            let fact = Fact::read(StoredFact {
                aggregate_type: &row.aggregate_type,
                event_type: &row.event_type,
                event_version: &row.event_version,
                payload: &row.payload,
            })?;
            Ok((Uuid::parse_str(&row.aggregate_id)?, fact))
        };
        let position = row.log_position();
        match read() {
            Ok((stream_id, fact)) => Ok(Self {
                position,
                tenant_id: TenantId(row.tenant_id.unwrap_or_default()),
                stream_id,
                sequence: u64::try_from(row.sequence).unwrap_or_default(),
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
