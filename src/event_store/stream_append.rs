//! Appends to the streams of webhook events, such as `DeliveryAttempted` and `RetryScheduled` after an
//! attempt.
//!
//! An append of several facts is stored completely or not at all: its first fact is inserted if it follows the
//! stream's last one and its version is still free, and the others only if the first was.

use std::collections::HashSet;

use aggregates::ids::{TenantId, WebhookEventId};
use aggregates::webhook_event::{WebhookEvent, WebhookEventFact};
use projections::BigInt;
use sqlx::PgConnection;

use super::EventStore;
use super::append::{Columns, StreamAppend};
use super::group_commit::Batch;
use super::log_notifier::{LogNotifier, Notification};
use super::metadata::Metadata;
use crate::database;
use crate::secrets::salt::Salt;

/// Facts to append to one webhook event's stream.
#[derive(Clone, Debug)]
pub struct StreamAppendItem {
    append: StreamAppend,
    response: Option<StoredResponse>,
    bytes: usize,
}

/// What is kept of the response to an attempt, to store with the facts.
#[derive(Clone, Debug)]
pub struct StoredResponse {
    pub event_id: WebhookEventId,
    pub attempt: u32,
    pub tenant_id: TenantId,
    /// Text that the commitment in the fact is for.
    pub json: String,
    /// Key of the commitment.
    pub salt: Salt,
}

/// Outcome of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamAppendResult {
    /// All facts are in the log.
    Recorded,
    /// The stream has another version; no fact was appended.
    Conflict,
}

impl StreamAppendItem {
    /// Returns an append of facts to the stream of `event_id`, which must have `expected_version`.
    ///
    /// # Errors
    /// When a fact or the metadata cannot be written as JSON.
    pub fn new(
        event_id: WebhookEventId,
        expected_version: u64,
        facts: &[WebhookEventFact],
        metadata: &Metadata,
    ) -> Result<Self, serde_json::Error> {
        let append = StreamAppend::new::<WebhookEvent>(event_id.0, expected_version, facts, metadata)?;
        let bytes = append.bytes();
        Ok(Self { append, response: None, bytes })
    }

    /// Stores what is kept of a response with the facts.
    #[must_use]
    pub fn with_response(self, response: Option<StoredResponse>) -> Self {
        let bytes = self.bytes + response.as_ref().map_or(0, |response| response.json.len());
        Self { response, bytes, ..self }
    }
}

/// Group commit of appends.
#[derive(Debug)]
pub struct StreamAppendBatch {
    notifier: LogNotifier,
}

impl StreamAppendBatch {
    #[must_use]
    pub fn new(notifier: LogNotifier) -> Self {
        Self { notifier }
    }
}

impl Batch for StreamAppendBatch {
    type Item = StreamAppendItem;
    type Outcome = StreamAppendResult;

    fn bytes(item: &StreamAppendItem) -> usize {
        item.bytes
    }

    async fn commit(
        &self,
        connection: &mut PgConnection,
        items: &[StreamAppendItem],
    ) -> Result<Vec<StreamAppendResult>, sqlx::Error> {
        let appends: Vec<StreamAppend> = items.iter().map(|item| item.append.clone()).collect();
        let responses: Vec<_> = (0i32..)
            .zip(items)
            .filter_map(|(number, item)| Some((number, item.response.as_ref()?)))
            .collect();
        let recorded = record(connection, &appends, &responses, None).await?;
        if !recorded.is_empty() {
            self.notifier.notify(Notification::Progress);
        }
        Ok(results(items.len(), &recorded))
    }
}

impl EventStore {
    /// Performs those appends that do not conflict, in one statement, if the dispatcher's epoch is still
    /// `epoch`: what a former leader decided is not appended. Returns a result for each append, in their order.
    ///
    /// # Errors
    /// When the database fails; then nothing was appended.
    pub async fn append_in_epoch(
        &self,
        epoch: u64,
        appends: &[StreamAppend],
    ) -> Result<Vec<StreamAppendResult>, sqlx::Error> {
        let recorded = database::in_time(database::SHORT, async {
            record(&mut *self.pool.acquire().await?, appends, &[], Some(epoch)).await
        })
        .await?;
        if !recorded.is_empty() {
            self.notifier.notify(Notification::NewWork);
        }
        Ok(results(appends.len(), &recorded))
    }
}

fn results(count: usize, recorded: &HashSet<i32>) -> Vec<StreamAppendResult> {
    let result = |number| match recorded.contains(&number) {
        true => StreamAppendResult::Recorded,
        false => StreamAppendResult::Conflict,
    };
    (0i32..).take(count).map(result).collect()
}

/// Performs the appends that do not conflict, stores the responses of those among them by their indexes, and returns the
/// indexes. With an epoch of the dispatcher there are none if another process leads.
#[tracing::instrument(name = "db.events.record", level = "debug", skip_all, fields(items = appends.len()), err(level = "debug"))]
async fn record(
    connection: &mut PgConnection,
    appends: &[StreamAppend],
    responses: &[(i32, &StoredResponse)],
    epoch: Option<u64>,
) -> Result<HashSet<i32>, sqlx::Error> {
    let columns = Columns::of(appends);
    // `DISTINCT ON` lets only one of the appends in this statement that expect the same version insert its
    // head.
    let recorded = sqlx::query_scalar!(
        r#"
        WITH incoming AS (
            SELECT *
            FROM unnest(
                $1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[],
                $6::text[], $7::text[], $8::int[], $9::bool[]
            ) AS incoming (
                aggregate_type, aggregate_id, sequence, event_type, event_version,
                payload, metadata, append, head
            )
        ),
        -- The next leader waits for this lock before it reads what its predecessors have appended.
        leadership AS MATERIALIZED (
            SELECT lock_epoch('dispatcher') AS epoch
        ),
        candidates AS (
            SELECT DISTINCT ON (aggregate_type, aggregate_id, sequence) incoming.*
            FROM incoming
            -- The fact that the head follows, by its key. LIMIT forbids every other plan, such as a join with the log.
            LEFT JOIN LATERAL (
                SELECT true AS found
                FROM events
                WHERE aggregate_type = incoming.aggregate_type
                  AND aggregate_id = incoming.aggregate_id
                  AND sequence = incoming.sequence - 1
                LIMIT 1
            ) AS predecessor ON true
            WHERE head
              AND (predecessor.found OR sequence = 1)
              AND ($10::bigint IS NULL OR EXISTS (SELECT FROM leadership WHERE epoch = $10))
            ORDER BY aggregate_type, aggregate_id, sequence, append
        ),
        heads AS (
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            SELECT
                aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, metadata::json
            FROM candidates
            ORDER BY aggregate_type, aggregate_id
            ON CONFLICT DO NOTHING
            RETURNING aggregate_type, aggregate_id, sequence
        ),
        recorded AS (
            SELECT append
            FROM candidates
            -- IS TRUE makes it a lookup in a hash table: PostgreSQL would compare every row of the one with every row of
            -- the other, because it expects one row.
            WHERE ((aggregate_type, aggregate_id, sequence) IN (SELECT * FROM heads)) IS TRUE
        ),
        tails AS (
            INSERT INTO events
                (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
            SELECT
                aggregate_type, aggregate_id, sequence, event_type, event_version, payload::json, metadata::json
            FROM incoming
            JOIN recorded USING (append)
            WHERE NOT head
            ORDER BY append, sequence
        ),
        responses AS (
            INSERT INTO attempt_responses (event_id, attempt, tenant_id, response, salt)
            SELECT event_id, attempt, tenant_id, response::json, salt
            FROM unnest($11::int[], $12::uuid[], $13::int[], $14::uuid[], $15::text[], $16::bytea[])
                AS kept (append, event_id, attempt, tenant_id, response, salt)
            WHERE (append IN (SELECT append FROM recorded)) IS TRUE
        )
        SELECT append AS "append!" FROM recorded
        "#,
        &columns.aggregate_types,
        &columns.aggregate_ids,
        &columns.sequences as &[BigInt],
        &columns.event_types,
        &columns.event_versions,
        &columns.payloads,
        &columns.metadata,
        &columns.appends,
        &columns.heads,
        epoch.map(BigInt) as Option<BigInt>,
        &responses.iter().map(|(append, _)| *append).collect::<Vec<_>>(),
        &responses.iter().map(|(_, kept)| kept.event_id.0).collect::<Vec<_>>(),
        &responses.iter().map(|(_, kept)| kept.attempt.cast_signed()).collect::<Vec<_>>(),
        &responses.iter().map(|(_, kept)| kept.tenant_id.0).collect::<Vec<_>>(),
        &responses.iter().map(|(_, kept)| kept.json.clone()).collect::<Vec<_>>(),
        &responses.iter().map(|(_, kept)| kept.salt.as_bytes().to_vec()).collect::<Vec<_>>(),
    )
    .fetch_all(connection)
    .await?;
    Ok(recorded.into_iter().collect())
}
