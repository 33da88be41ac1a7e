//! `DELETE /api/v1/queues/{id}`
//!
//! Nothing is locked. Waiting events are read from the read model in batches, and each is cancelled at the version
//! at which it waits; if an attempt has started first, the event is examined again. An event with an attempt in
//! progress does not wait and is left alone.

use aggregates::Decide;
use aggregates::ids::{DestinationId, WebhookEventId};
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand, WebhookEventFact};
use axum::extract::State;
use axum::http::StatusCode;
use futures::future;
use projections::TenantScope;
use projections::webhook_events::{self, WaitingEvent};

use crate::api::access::authentication::Caller;
use crate::api::commands::Commands;
use crate::api::http::path::Id;
use crate::api::http::problem::Problem;
use crate::api::v1::destinations;
use crate::clock;
use crate::database;
use crate::event_store::group_commit::GroupCommit;
use crate::event_store::{Metadata, StreamAppendBatch, StreamAppendItem, StreamAppendResult};

/// Events that are cancelled concurrently.
const BATCH_ITEMS: i64 = 256;
/// Number of times that one event is examined again after a conflict.
const CONFLICTS_MAX: u32 = 10;

const REASON: &str = "the queue was purged";

/// Dependencies of the handler.
#[derive(Clone)]
pub(crate) struct Queues {
    pub(crate) commands: Commands,
    pub(crate) outcomes: GroupCommit<StreamAppendBatch>,
}

/// Purge the queue of a destination
///
/// Cancels every event of the destination that is Pending or WaitingRetry. Events that are accepted later are not
/// affected.
#[utoipa::path(delete, path = "/api/v1/queues/{id}", tag = "Queues",
    responses((status = 204, description = "All waiting events were cancelled."), (status = 403), (status = 404)))]
pub(crate) async fn handler(
    State(queues): State<Queues>,
    caller: Caller,
    Id(destination_id): Id<DestinationId>,
) -> Result<StatusCode, Problem> {
    destinations::check_owner(&queues.commands, &caller, destination_id).await?;
    let pool = queues.commands.pool();
    // The queries below must find every event that was accepted before this request.
    if !queues.commands.catch_up().await? {
        return Err(Problem::unavailable("the read models are too far behind for a purge"));
    }
    let metadata = caller.metadata();
    queues.commands.store().store_origin(&metadata).await?;
    let (mut after, mut cancelled) = (None, 0);
    loop {
        // The request itself has no timeout.
        let batch = database::in_time(database::LONG, async {
            let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
            let batch = webhook_events::waiting(&mut scope, destination_id, after, BATCH_ITEMS).await?;
            scope.end().await?;
            Ok::<_, sqlx::Error>(batch)
        })
        .await?;
        let Some(last) = batch.last() else { break };
        after = Some(last.id);
        let each = batch.iter().map(|waiting| queues.cancel(destination_id, *waiting, &metadata));
        let each = future::try_join_all(each).await?;
        cancelled += each.into_iter().filter(|cancelled| *cancelled).count();
    }
    tracing::info!(destination.id = %destination_id, cancelled, "a queue was purged");
    queues.commands.catch_up().await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Queues {
    /// Cancels an event if it still waits, and returns whether it did.
    async fn cancel(
        &self,
        destination_id: DestinationId,
        waiting: WaitingEvent,
        metadata: &Metadata,
    ) -> Result<bool, Problem> {
        let cancelled =
            WebhookEventFact::Cancelled { destination_id, reason: REASON.to_owned(), at: clock::now() };
        let mut version = waiting.version;
        let mut facts = vec![cancelled];
        for _ in 0..CONFLICTS_MAX {
            let item = StreamAppendItem::new(waiting.id, version, &facts, metadata)?;
            if self.outcomes.commit(item).await? == StreamAppendResult::Recorded {
                return Ok(true);
            }
            match self.decide_again(waiting.id).await? {
                Some((newer, decided)) => (version, facts) = (newer, decided),
                None => return Ok(false),
            }
        }
        // An event that changes so often is being delivered.
        Ok(false)
    }

    /// Returns the version and the facts that cancel an event in its current state; `None` if it does not wait.
    async fn decide_again(
        &self,
        id: WebhookEventId,
    ) -> Result<Option<(u64, Vec<WebhookEventFact>)>, Problem> {
        let event = self.commands.store().load::<WebhookEvent>(id.0).await?;
        let command = WebhookEventCommand::Cancel { reason: REASON.to_owned(), at: clock::now() };
        Ok(event.state.decide(command).ok().map(|facts| (event.version, facts)))
    }
}
