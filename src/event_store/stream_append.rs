//! Appends to the streams of webhook events, such as `DeliveryAttempted` and `RetryScheduled` after an
//! attempt.
//!
//! An append of several facts is stored completely or not at all: they are inserted if the first one follows the
//! stream's last one. When another process appends to one of the streams at the same moment, the batch is rejected and
//! committed again: then it sees the facts of the other.

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
        let appends: Vec<_> = items
            .iter()
            .map(|item| Recording { append: &item.append, response: item.response.as_ref() })
            .collect();
        let results = record(connection, &appends, None).await?;
        if results.contains(&StreamAppendResult::Recorded) {
            self.notifier.notify(Notification::Progress);
        }
        Ok(results)
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
        let appends: Vec<_> = appends.iter().map(|append| Recording { append, response: None }).collect();
        let results = database::in_time(database::SHORT, async {
            record(&mut *self.pool.acquire().await?, &appends, Some(epoch)).await
        })
        .await?;
        if results.contains(&StreamAppendResult::Recorded) {
            self.notifier.notify(Notification::NewWork);
        }
        Ok(results)
    }
}

/// An append with what is kept of the response.
#[derive(Clone, Copy, Debug)]
struct Recording<'a> {
    append: &'a StreamAppend,
    response: Option<&'a StoredResponse>,
}

/// Performs the appends that do not conflict, and returns a result for each. With an epoch of the dispatcher all conflict
/// if another process leads.
async fn record(
    connection: &mut PgConnection,
    appends: &[Recording<'_>],
    epoch: Option<u64>,
) -> Result<Vec<StreamAppendResult>, sqlx::Error> {
    // Of appends at the same version of a stream only the first is sent.
    let mut sent: Vec<_> = appends.iter().enumerate().filter(|(_, item)| !item.append.is_empty()).collect();
    sent.sort_by_key(|(_, item)| item.append.stream_version());
    sent.dedup_by_key(|(_, item)| item.append.stream_version());
    let distinct: Vec<Recording<'_>> = sent.iter().map(|(_, item)| **item).collect();
    let recorded = match append(connection, &distinct, epoch).await {
        Err(error) if database::is_unique_violation(&error) => append(connection, &distinct, epoch).await?,
        recorded => recorded?,
    };
    let mut results = vec![StreamAppendResult::Conflict; appends.len()];
    for ((index, _), is_recorded) in sent.into_iter().zip(recorded) {
        if is_recorded {
            results[index] = StreamAppendResult::Recorded;
        }
    }
    Ok(results)
}

/// Performs the appends that do not conflict, which are sorted by streams and have different versions, and returns for each
/// whether it was recorded.
#[tracing::instrument(name = "db.events.record", level = "debug", skip_all, fields(items = items.len()), err(level = "debug"))]
async fn append(
    connection: &mut PgConnection,
    items: &[Recording<'_>],
    epoch: Option<u64>,
) -> Result<Vec<bool>, sqlx::Error> {
    let heads = || items.iter().map(|item| item.append.stream_version());
    let columns = Columns::of(items.iter().map(|item| item.append));
    let kept: Vec<(i32, &StoredResponse)> =
        (1i32..).zip(items).filter_map(|(number, item)| Some((number, item.response?))).collect();
    let recorded = sqlx::query_file_scalar!(
        "src/event_store/stream_append.sql",
        &heads().map(|(aggregate_type, ..)| aggregate_type.to_owned()).collect::<Vec<_>>(),
        &heads().map(|(_, stream_id, _)| stream_id.to_string()).collect::<Vec<_>>(),
        &heads().map(|(.., version)| BigInt(version)).collect::<Vec<_>>() as &[BigInt],
        epoch.map(BigInt) as Option<BigInt>,
        &columns.appends,
        &columns.aggregate_types,
        &columns.aggregate_ids,
        &columns.sequences as &[BigInt],
        &columns.event_types,
        &columns.event_versions,
        &columns.payloads,
        &columns.metadata,
        &kept.iter().map(|(number, _)| *number).collect::<Vec<_>>(),
        &kept.iter().map(|(_, kept)| kept.event_id.0).collect::<Vec<_>>(),
        &kept.iter().map(|(_, kept)| kept.attempt.cast_signed()).collect::<Vec<_>>(),
        &kept.iter().map(|(_, kept)| kept.tenant_id.0).collect::<Vec<_>>(),
        &kept.iter().map(|(_, kept)| kept.json.clone()).collect::<Vec<_>>(),
        &kept.iter().map(|(_, kept)| kept.salt.as_bytes().to_vec()).collect::<Vec<_>>(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(recorded.unwrap_or_else(|| vec![true; items.len()]))
}
