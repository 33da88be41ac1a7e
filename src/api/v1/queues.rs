//! Queues: what waits for a destination, all of it cancelled at once.
//!
//! Nothing is locked. What waits is read from the read model, batch by batch, and each event is cancelled
//! at the version at which it waits; where an attempt was quicker, the event is looked at again. An event
//! whose attempt is under way is not waiting and is left alone.

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
use crate::event_store::group_commit::GroupCommit;
use crate::event_store::{Metadata, StreamAppendBatch, StreamAppendItem, StreamAppendResult};

/// Events that are cancelled at once.
const BATCH_ITEMS: i64 = 256;
/// How often one event is looked at again.
const CONFLICTS_MAX: u32 = 10;

const REASON: &str = "the queue was purged";

/// What purging needs.
#[derive(Clone)]
pub(crate) struct Queues {
    pub(crate) commands: Commands,
    pub(crate) outcomes: GroupCommit<StreamAppendBatch>,
}

/// Cancel everything that waits for a destination.
///
/// Every event that is Pending or WaitingRetry becomes Cancelled, for good. Later events are not held up.
#[utoipa::path(delete, path = "/api/v1/queues/{id}", tag = "Queues",
    responses((status = 204), (status = 403), (status = 404)))]
pub(crate) async fn purge(
    State(queues): State<Queues>,
    caller: Caller,
    Id(destination_id): Id<DestinationId>,
) -> Result<StatusCode, Problem> {
    destinations::check_owner(&queues.commands, &caller, destination_id).await?;
    let pool = queues.commands.pool();
    // What was accepted before this request is to be found by the queries below.
    if !queues.commands.catch_up().await? {
        return Err(Problem::unavailable("the read models are too far behind for a purge"));
    }
    let metadata = caller.metadata();
    let (mut after, mut cancelled) = (None, 0);
    loop {
        let mut scope = TenantScope::begin(pool, caller.tenant_id).await?;
        let batch = webhook_events::waiting(&mut scope, destination_id, after, BATCH_ITEMS).await?;
        scope.end().await?;
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
    /// Cancels an event, unless it ceased to wait; says whether it did.
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
            match self.decide_anew(waiting.id).await? {
                Some((newer, decided)) => (version, facts) = (newer, decided),
                None => return Ok(false),
            }
        }
        // So much happens to it that it is not waiting in any sense its owner would mean.
        Ok(false)
    }

    /// What cancels an event as it stands now; `None` when it does not wait any more.
    async fn decide_anew(&self, id: WebhookEventId) -> Result<Option<(u64, Vec<WebhookEventFact>)>, Problem> {
        let event = self.commands.store().load::<WebhookEvent>(id.0).await?;
        let command = WebhookEventCommand::Cancel { reason: REASON.to_owned(), at: clock::now() };
        Ok(event.state.decide(command).ok().map(|facts| (event.version, facts)))
    }
}
