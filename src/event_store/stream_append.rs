//! The hot append after an attempt: `DeliveryAttempted` and what follows from it.
//!
//! An append of several facts is stored whole or not at all: its first fact is inserted if its version
//! is free, and the others follow only where the first went in. Streams have no gaps, so where the first
//! version is free the next ones are too.

use std::collections::HashSet;

use aggregates::ids::WebhookEventId;
use aggregates::webhook_event::{WebhookEvent, WebhookEventFact};
use sqlx::PgPool;

use super::append::{Columns, StreamAppend};
use super::group_commit::Batch;
use super::log_notifier::{LogNotifier, Notification};
use super::metadata::Metadata;

/// Facts to append to one webhook event's stream.
#[derive(Clone, Debug)]
pub struct StreamAppendItem {
    append: StreamAppend,
    bytes: usize,
}

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamAppendResult {
    /// All are in the log.
    Recorded,
    /// The stream has moved on; none is in the log.
    Conflict,
}

impl StreamAppendItem {
    /// Facts that follow `expected_version` in the stream of `event_id`.
    pub fn new(
        event_id: WebhookEventId,
        expected_version: u64,
        facts: &[WebhookEventFact],
        metadata: &Metadata,
    ) -> Result<Self, serde_json::Error> {
        let append = StreamAppend::new::<WebhookEvent>(event_id.0, expected_version, facts, metadata)?;
        let bytes = append.bytes();
        Ok(Self { append, bytes })
    }
}

/// Commits outcomes.
#[derive(Debug)]
pub struct StreamAppendBatch {
    pool: PgPool,
    notifier: LogNotifier,
}

impl StreamAppendBatch {
    /// Outcomes into the log of `pool`.
    #[must_use]
    pub fn new(pool: PgPool, notifier: LogNotifier) -> Self {
        Self { pool, notifier }
    }
}

impl Batch for StreamAppendBatch {
    type Item = StreamAppendItem;
    type Outcome = StreamAppendResult;

    fn bytes(item: &StreamAppendItem) -> usize {
        item.bytes
    }

    async fn commit(&self, items: &[StreamAppendItem]) -> Result<Vec<StreamAppendResult>, sqlx::Error> {
        let appends: Vec<StreamAppend> = items.iter().map(|item| item.append.clone()).collect();
        let recorded = record(&self.pool, &appends).await?;
        if !recorded.is_empty() {
            self.notifier.announce(Notification::Progress);
        }
        Ok((0i32..)
            .zip(items)
            .map(|(number, _)| {
                if recorded.contains(&number) {
                    StreamAppendResult::Recorded
                } else {
                    StreamAppendResult::Conflict
                }
            })
            .collect())
    }
}

/// Appends what does not conflict, and answers with the numbers of those appends.
#[tracing::instrument(name = "db.events.record", level = "debug", skip_all, fields(items = appends.len()), err(level = "debug"))]
async fn record(pool: &PgPool, appends: &[StreamAppend]) -> Result<HashSet<i32>, sqlx::Error> {
    let columns = Columns::of(appends);
    // A head that conflicts with another head of this very statement is told apart by its append:
    // `DISTINCT ON` lets one append a version through.
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
        candidates AS (
            SELECT DISTINCT ON (aggregate_type, aggregate_id, sequence) *
            FROM incoming
            WHERE head
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
            SELECT candidates.append
            FROM candidates
            JOIN heads USING (aggregate_type, aggregate_id, sequence)
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
        )
        SELECT append AS "append!" FROM recorded
        "#,
        &columns.aggregate_types,
        &columns.aggregate_ids,
        &columns.sequences,
        &columns.event_types,
        &columns.event_versions,
        &columns.payloads,
        &columns.metadata,
        &columns.appends,
        &columns.heads,
    )
    .fetch_all(pool)
    .await?;
    Ok(recorded.into_iter().collect())
}
