//! Facts of the event log with the exact texts that their leaves commit to.

use aggregates::ids::{DestinationId, TenantId};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use evidence::leaf::{EvidenceKey, FactLeaf, LeafError, Salt};
use projections::paging::{Direction, Listed, Page};
use projections::{BigInt, LogPosition, TransactionId};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Executor, Row};
use uuid::Uuid;

use super::trees::Tree;
use crate::event_store::log_reader;

/// Facts that are read at once when logs are verified.
const PART_FACTS: i64 = 8_192;

/// A row of the event log. Payload and metadata are `json`, which keeps the text, so they are the bytes that were
/// appended. `Text` is `String`, or `&str` in a [`FactPage`].
#[derive(Clone, Debug)]
pub(crate) struct FactRow<Text = String> {
    transaction_id: TransactionId,
    position: i64,
    pub(crate) aggregate_type: Text,
    pub(crate) aggregate_id: Text,
    pub(crate) sequence: BigInt,
    pub(crate) event_type: Text,
    pub(crate) event_version: Text,
    pub(crate) payload: Text,
    pub(crate) metadata: Text,
    pub(crate) recorded_at: DateTime<Utc>,
    /// The nil id for facts of the installation.
    pub(crate) tenant_id: Uuid,
}

/// Many facts, as PostgreSQL sent them: to copy their texts takes as long as to receive them.
pub(crate) struct FactPage(Vec<PgRow>);

impl FactPage {
    /// Returns the facts in their order.
    ///
    /// # Errors
    /// When a value cannot be decoded.
    pub(crate) fn facts(&self) -> Result<Vec<FactRow<&str>>, sqlx::Error> {
        self.0.iter().map(FactRow::borrowed).collect()
    }
}

/// Facts that no fact will precede.
pub(crate) struct SettledFacts {
    pub(crate) page: FactPage,
    /// Whether more facts are committed that must not be read yet, because an older transaction is running.
    pub(crate) held_back: bool,
}

impl<'row> FactRow<&'row str> {
    /// Decodes a row of `fact_rows!`, whose columns are in this order. The compiler has checked their types.
    fn borrowed(row: &'row PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            transaction_id: row.try_get_unchecked(0)?,
            position: row.try_get_unchecked(1)?,
            aggregate_type: row.try_get_unchecked(2)?,
            aggregate_id: row.try_get_unchecked(3)?,
            sequence: row.try_get_unchecked(4)?,
            event_type: row.try_get_unchecked(5)?,
            event_version: row.try_get_unchecked(6)?,
            payload: row.try_get_unchecked(7)?,
            metadata: row.try_get_unchecked(8)?,
            recorded_at: row.try_get_unchecked(9)?,
            tenant_id: row.try_get_unchecked(10)?,
        })
    }
}

impl<Text: AsRef<str>> FactRow<Text> {
    pub(crate) fn log_position(&self) -> LogPosition {
        LogPosition { transaction_id: self.transaction_id, position: self.position }
    }

    /// Returns the salt of the fact's leaf.
    ///
    /// # Errors
    /// A name that a leaf cannot contain.
    pub(crate) fn salt(&self, key: &EvidenceKey) -> Result<Salt, LeafError> {
        key.fact_salt(self.aggregate_type.as_ref(), self.aggregate_id.as_ref(), self.sequence.0)
    }

    /// Returns the entry of the tenant's log.
    ///
    /// # Errors
    /// A name that a leaf cannot contain.
    pub(crate) fn entry(&self, salt: &Salt) -> Result<String, LeafError> {
        self.leaf().entry(salt)
    }

    /// Returns what the leaf in the tenant's log is made of.
    pub(crate) fn leaf(&self) -> FactLeaf<'_> {
        FactLeaf {
            stream_type: self.aggregate_type.as_ref(),
            stream_id: self.aggregate_id.as_ref(),
            sequence: self.sequence.0,
            fact_type: self.event_type.as_ref(),
            fact_version: self.event_version.as_ref(),
            recorded_micros: self.recorded_at.timestamp_micros(),
            metadata: self.metadata.as_ref(),
            fact: self.payload.as_ref(),
        }
    }
}

/// Selects [`FactRow`]s with a query that the compiler checks.
macro_rules! fact_rows {
    ($from:literal, $($arguments:tt)*) => {
        sqlx::query_as!(
            FactRow::<String>,
            r#"SELECT
                transaction_id AS "transaction_id!: _", position AS "position!",
                aggregate_type AS "aggregate_type!", aggregate_id AS "aggregate_id!", sequence AS "sequence!: _",
                event_type AS "event_type!", event_version AS "event_version!", payload::text AS "payload!",
                metadata::text AS "metadata!", recorded_at AS "recorded_at!",
                coalesce(tenant_id, '00000000-0000-0000-0000-000000000000') AS "tenant_id!" "# + $from,
            $($arguments)*
        )
    };
}

/// Returns the next facts after `after`, at most `rows_max`, without waiting for the transactions `elsewhere`, which
/// cannot append. Must not be called within a transaction.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.read_settled", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn read_settled(
    connection: &mut PgConnection,
    after: LogPosition,
    rows_max: usize,
    elsewhere: &[TransactionId],
) -> Result<SettledFacts, sqlx::Error> {
    // First: what has ended by now is seen by the next statement.
    let horizon = log_reader::horizon(connection, elsewhere).await?;
    let query = fact_rows!(
        r#"
        FROM events
        WHERE (transaction_id, position) > ($1, $2)
          AND transaction_id < log_transaction_id((SELECT max(era) FROM log_eras), $3)
        ORDER BY transaction_id, position
        LIMIT $4
        "#,
        after.transaction_id as TransactionId,
        after.position,
        horizon as TransactionId,
        BigInt(rows_max as u64) as BigInt,
    );
    let page = FactPage(connection.fetch_all(query).await?);
    let held_back = page.0.is_empty() && log_reader::last_committed(connection).await? > Some(after);
    Ok(SettledFacts { page, held_back })
}

/// Returns the facts of the owner of a tree at these positions, in any order. Those that are missing are left out.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.at", level = "debug", skip_all, err(level = "debug"))]
pub(super) async fn at(
    connection: &mut PgConnection,
    tree: &Tree,
    positions: &[LogPosition],
) -> Result<Vec<FactRow>, sqlx::Error> {
    fact_rows!(
        r#"
        FROM unnest($2::xid8[], $3::bigint[]) AS wanted (transaction_id, position)
        JOIN events USING (transaction_id, position)
        WHERE tenant_id = $1
        "#,
        tree.owner().tenant_id(),
        &positions.iter().map(|position| position.transaction_id).collect::<Vec<_>>() as &[TransactionId],
        &positions.iter().map(|position| position.position).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await
}

/// Returns the positions that divide the log up to `until` into parts of at most [`PART_FACTS`]; the last of them is
/// `until`.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.parts", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn parts(
    connection: &mut PgConnection,
    until: LogPosition,
) -> Result<Vec<LogPosition>, sqlx::Error> {
    let mut parts = sqlx::query_as!(
        LogPosition,
        r#"
        SELECT transaction_id AS "transaction_id: _", position
        FROM (
            SELECT transaction_id, position, row_number() OVER (ORDER BY transaction_id, position) AS number
            FROM events
            WHERE (transaction_id, position) <= ($1, $2)
        ) AS numbered
        WHERE number % $3 = 0
        ORDER BY transaction_id, position
        "#,
        until.transaction_id as TransactionId,
        until.position,
        PART_FACTS,
    )
    .fetch_all(connection)
    .await?;
    if parts.last() != Some(&until) {
        parts.push(until);
    }
    Ok(parts)
}

/// Returns the facts of a part, of all tenants or of one: those after one position and up to another, of which
/// [`parts`] has found at most [`PART_FACTS`].
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.part", level = "trace", skip_all, err(level = "debug"))]
pub(crate) async fn part(
    connection: &mut PgConnection,
    tenant: Option<Uuid>,
    after: LogPosition,
    until: LogPosition,
) -> Result<FactPage, sqlx::Error> {
    let query = fact_rows!(
        r#"
        FROM events
        WHERE (transaction_id, position) > ($1, $2)
          AND (transaction_id, position) <= ($3, $4)
          AND ($5::uuid IS NULL OR coalesce(tenant_id, '00000000-0000-0000-0000-000000000000') = $5)
        ORDER BY transaction_id, position
        -- PART_FACTS as a literal. Without it PostgreSQL expects a share of the log, and reads all of it for each part.
        LIMIT 8192
        "#,
        after.transaction_id as TransactionId,
        after.position,
        until.transaction_id as TransactionId,
        until.position,
        tenant,
    );
    Ok(FactPage(connection.fetch_all(query).await?))
}

/// Returns the number of facts after a position, of all tenants or of one.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.count_after", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn count_after(
    connection: &mut PgConnection,
    tenant: Option<Uuid>,
    after: LogPosition,
) -> Result<u64, sqlx::Error> {
    let BigInt(count) = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "count!: BigInt"
        FROM events
        WHERE (transaction_id, position) > ($1, $2) AND ($3::uuid IS NULL OR tenant_id = $3)
        "#,
        after.transaction_id as TransactionId,
        after.position,
        tenant,
    )
    .fetch_one(connection)
    .await?;
    Ok(count)
}

/// Returns the stream and the sequence of the fact at a position; `None`: there is none.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.name_of", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn name_of(
    connection: &mut PgConnection,
    position: LogPosition,
) -> Result<Option<(String, u64)>, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        SELECT aggregate_type || '/' || aggregate_id AS "stream!", sequence AS "sequence: BigInt"
        FROM events
        WHERE transaction_id = $1 AND position = $2
        LIMIT 1
        "#,
        position.transaction_id as TransactionId,
        position.position,
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.stream, row.sequence.0)))
}

/// Returns a page of the facts of a stream of a tenant.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.of_stream", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn facts_of_stream<A: Aggregate>(
    connection: &mut PgConnection,
    tenant: TenantId,
    id: Uuid,
    direction: Direction,
    page: Page,
) -> Result<Listed<FactRow>, sqlx::Error> {
    let id = id.to_string();
    let total = sqlx::query_scalar!(
        r#"
        SELECT count(*) AS "total!"
        FROM events
        WHERE aggregate_type = $1 AND aggregate_id = $2 AND tenant_id = $3
        "#,
        A::TYPE,
        id,
        tenant.0,
    )
    .fetch_one(&mut *connection)
    .await?;
    let items = fact_rows!(
        r#"
        FROM events
        WHERE aggregate_type = $1 AND aggregate_id = $2 AND tenant_id = $3
        ORDER BY CASE WHEN $4 THEN -sequence ELSE sequence END
        LIMIT $5
        OFFSET $6
        "#,
        A::TYPE,
        id,
        tenant.0,
        direction == Direction::Descending,
        page.limit,
        page.offset,
    )
    .fetch_all(connection)
    .await?;
    Ok(Listed { total, items })
}

/// Returns the positions of the first and the last fact of a tenant that were recorded in a time; `None`: there is none.
/// The connection must have no short timeout: the log is read up to the first of them, and back to the last.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.between", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn positions_between(
    connection: &mut PgConnection,
    tenant: TenantId,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Result<Option<(LogPosition, LogPosition)>, sqlx::Error> {
    let first = sqlx::query_as!(
        LogPosition,
        r#"
        SELECT transaction_id AS "transaction_id: _", position
        FROM events
        WHERE tenant_id = $1
          AND recorded_at >= coalesce($2, '-infinity'::timestamptz)
          AND recorded_at < coalesce($3, 'infinity'::timestamptz)
        ORDER BY transaction_id, position
        LIMIT 1
        "#,
        tenant.0,
        from,
        to,
    )
    .fetch_optional(&mut *connection)
    .await?;
    let last = sqlx::query_as!(
        LogPosition,
        r#"
        SELECT transaction_id AS "transaction_id: _", position
        FROM events
        WHERE tenant_id = $1
          AND recorded_at >= coalesce($2, '-infinity'::timestamptz)
          AND recorded_at < coalesce($3, 'infinity'::timestamptz)
        ORDER BY transaction_id DESC, position DESC
        LIMIT 1
        "#,
        tenant.0,
        from,
        to,
    )
    .fetch_optional(connection)
    .await?;
    Ok(first.zip(last))
}

/// Returns those of these webhook events of a tenant that were accepted for a destination.
///
/// # Errors
/// When the database fails.
#[tracing::instrument(name = "db.events.of_destination", level = "debug", skip_all, err(level = "debug"))]
pub(crate) async fn accepted_for(
    connection: &mut PgConnection,
    tenant: TenantId,
    destination: DestinationId,
    events: &[String],
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        SELECT aggregate_id
        FROM events
        WHERE aggregate_type = 'WebhookEvent' AND aggregate_id = ANY($3) AND sequence = 1 AND tenant_id = $1
          AND payload -> 'EventAccepted' ->> 'destinationId' = $2
        "#,
        tenant.0,
        destination.to_string(),
        events,
    )
    .fetch_all(connection)
    .await
}
