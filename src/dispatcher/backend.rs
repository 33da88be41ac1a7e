//! The dispatcher's tables, streams and queue in the running service.

use aggregates::Decide;
use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::circuit_breaker::BreakerStep;
use aggregates::destination::{Destination, DestinationCommand};
use aggregates::ids::{DestinationId, TenantId};
use aggregates::tenant::{Resilience, Tenant};
use aggregates::webhook_event::{Delivery, UNKNOWN_IN_A_ROW_TOLERATED, WebhookEvent, WebhookEventCommand};
use chrono::{DateTime, Utc};
use futures::future::join_all;
use futures::{StreamExt, stream};
use projections::LogPosition;
use projections::checkpoints::{self, CheckpointFailure};
use sqlx::{Connection, PgPool};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::dispatch_core::{Backend, DueEvents, Snapshot};
use super::due_deliveries::{self, DueDelivery, Window};
use super::lane::LaneState;
use super::publisher::Publisher;
use super::schedule::Changes;
use super::{Dispatcher, READER_NAME, TermEnded, dispatch_lanes};
use crate::event_store::{self, Metadata, StreamAppendItem, StreamAppendResult};
use crate::identifiers;
use crate::queue::Job;

/// Breaker steps executed at once, each with a connection to the database.
const BREAKER_STEPS_AT_ONCE: usize = 4;

/// PostgreSQL, the event store and the job queue, for one term.
pub(super) struct ServiceBackend<'a> {
    dispatcher: &'a Dispatcher,
    pub(super) publisher: Publisher,
    /// The term's epoch, which fences what it writes and publishes.
    epoch: u64,
    /// The write in progress. If the term ends first, the write completes all the same, or is refused because
    /// another process has taken the lead.
    write: Option<JoinHandle<Result<(), TermEnded>>>,
}

impl<'a> ServiceBackend<'a> {
    pub(super) fn new(dispatcher: &'a Dispatcher, publisher: Publisher, epoch: u64) -> Self {
        Self { dispatcher, publisher, epoch, write: None }
    }
}

impl Backend for ServiceBackend<'_> {
    type Error = TermEnded;

    async fn load(&mut self) -> Result<Snapshot, TermEnded> {
        let mut connection = self.dispatcher.pool.acquire().await?;
        let checkpoint = checkpoints::take_over(&mut connection, READER_NAME, self.epoch).await?;
        let in_flight = due_deliveries::in_flight(&mut connection).await?;
        let mut lanes: Vec<Uuid> = in_flight.iter().map(|delivery| delivery.destination_id.0).collect();
        lanes.extend(due_deliveries::destinations_with_backlog(&mut connection).await?.iter().map(|id| id.0));
        lanes.extend(dispatch_lanes::suspended(&mut connection).await?.iter().map(|id| id.0));
        lanes.sort_unstable();
        lanes.dedup();
        let lanes = dispatch_lanes::load(&mut connection, &lanes).await?;
        Ok(Snapshot { checkpoint, in_flight, lanes })
    }

    async fn deliveries(&mut self, events: &[Uuid]) -> Result<Vec<DueDelivery>, TermEnded> {
        let mut connection = self.dispatcher.pool.acquire().await?;
        Ok(due_deliveries::load(&mut connection, events).await?)
    }

    async fn lanes(&mut self, destinations: &[Uuid]) -> Result<Vec<(DestinationId, LaneState)>, TermEnded> {
        let mut connection = self.dispatcher.pool.acquire().await?;
        Ok(dispatch_lanes::load(&mut connection, destinations).await?)
    }

    async fn due_events(
        &mut self,
        windows: &[Window],
        in_memory: &[Uuid],
        now: DateTime<Utc>,
    ) -> Result<DueEvents, TermEnded> {
        let destinations: Vec<Uuid> = windows.iter().map(|window| window.destination_id.0).collect();
        let mut connection = self.dispatcher.pool.acquire().await?;
        let due = due_deliveries::windows(&mut connection, windows, in_memory, now).await?;
        let next_due = due_deliveries::next_due(&mut connection, &destinations, now).await?;
        Ok(DueEvents { due, next_due })
    }

    fn begin_write(&mut self, changes: Changes, position: LogPosition) {
        let pool = self.dispatcher.pool.clone();
        self.write = Some(self.dispatcher.tasks.spawn(write(pool, changes, self.epoch, position)));
    }

    async fn end_write(&mut self) -> Result<(), TermEnded> {
        match self.write.take() {
            Some(write) => write.await?,
            None => Ok(()),
        }
    }

    fn is_write_over(&self) -> bool {
        self.write.as_ref().is_some_and(JoinHandle::is_finished)
    }

    async fn execute_breaker_steps(
        &mut self,
        steps: Vec<(DestinationId, LaneState, BreakerStep)>,
        now: DateTime<Utc>,
    ) -> Vec<DestinationId> {
        let this = &*self;
        // Concurrently: when many destinations fail at once, the jobs of all others wait for this.
        let results: Vec<_> = stream::iter(steps)
            .map(async |(id, lane, step)| (id, this.execute_breaker_step(id, &lane, step, now).await))
            .buffer_unordered(BREAKER_STEPS_AT_ONCE)
            .collect()
            .await;
        let failed = results.into_iter().filter_map(|(id, result)| {
            let error = result.err()?;
            tracing::warn!(
                destination.id = %id,
                error = ?error,
                "circuit breaker transition failed, will retry"
            );
            Some(id)
        });
        failed.collect()
    }

    async fn give_up(&mut self, vanished: &[DueDelivery], now: DateTime<Utc>) {
        let this = &*self;
        // Concurrently: a vanished worker leaves many attempts, and one commit records the outcome of many.
        let results = join_all(vanished.iter().map(|delivery| this.give_up_one(delivery, now))).await;
        for (delivery, result) in vanished.iter().zip(results) {
            match result {
                Ok(StreamAppendResult::Recorded) => tracing::warn!(
                    event.id = %delivery.event_id,
                    attempt = delivery.attempts,
                    "an attempt has no outcome because its worker vanished, will retry"
                ),
                // The worker was slow, and has recorded the outcome.
                Ok(StreamAppendResult::Conflict) => {}
                Err(error) => tracing::warn!(
                    event.id = %delivery.event_id,
                    error = ?error,
                    "giving up an attempt without outcome failed, will retry"
                ),
            }
        }
    }

    fn can_publish(&self) -> bool {
        self.publisher.can_publish()
    }

    fn publish(&mut self, deliveries: Vec<(DueDelivery, u64)>) {
        let jobs = deliveries.into_iter().map(|(delivery, stage_version)| Job {
            event_id: delivery.event_id,
            tenant_id: delivery.tenant_id,
            destination_id: delivery.destination_id,
            stream_version: delivery.stream_version,
            attempt: delivery.attempts + 1,
            failed_attempts: delivery.failed_attempts,
            unknown_in_a_row: delivery.unknown_in_a_row,
            epoch: self.epoch,
            stage_version,
        });
        self.publisher.publish(jobs.collect());
    }
}

impl ServiceBackend<'_> {
    async fn execute_breaker_step(
        &self,
        id: DestinationId,
        lane: &LaneState,
        step: BreakerStep,
        at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let command = match step {
            BreakerStep::Open => DestinationCommand::Suspend {
                consecutive_failures: lane.breaker.consecutive_failures,
                timer_seconds: self.resilience(lane.tenant_id).await?.circuit_breaker_timer,
                at,
            },
            BreakerStep::HalfOpen => DestinationCommand::Probe { at },
            BreakerStep::Close => DestinationCommand::Resume { at },
        };
        let metadata = Metadata::of_role(lane.tenant_id, "dispatcher");
        self.dispatcher.store.execute::<Destination>(id.0, command, &metadata).await?;
        tracing::info!(destination.id = %id, step = ?step, "circuit breaker transition");
        Ok(())
    }

    /// Gives up an attempt that started and has no outcome long after the timeout.
    ///
    /// Whether the request arrived is unknown, so the outcome is `unknown`, and the event is retried. That does
    /// not count against the tenant's limit of attempts, unless several workers in a row vanish with this event.
    /// If the worker was merely slow, its own append finds the version taken and is dropped; the destination may
    /// then get the event twice, which "at least once" allows.
    async fn give_up_one(
        &self,
        delivery: &DueDelivery,
        now: DateTime<Utc>,
    ) -> anyhow::Result<StreamAppendResult> {
        let started = delivery.started_at.unwrap_or(now);
        // A clock that was set back makes this negative.
        let duration_ms = u64::try_from((now - started).num_milliseconds()).unwrap_or_default();
        let event = WebhookEvent::Delivering(Delivery {
            destination_id: delivery.destination_id,
            attempts: delivery.attempts,
            failed_attempts: delivery.failed_attempts,
            unknown_in_a_row: delivery.unknown_in_a_row,
        });
        // The limit applies only after several unknown outcomes; before that the tenant is not loaded.
        let max_attempts = match delivery.unknown_in_a_row < UNKNOWN_IN_A_ROW_TOLERATED {
            true => u32::MAX,
            false => self.resilience(delivery.tenant_id).await?.max_attempts,
        };
        let detail = "the worker vanished before it recorded an outcome".to_owned();
        let facts = event.decide(WebhookEventCommand::RecordAttempt {
            report: AttemptReport::without_answer(Outcome::Unknown, duration_ms, Some(detail)),
            backoff: self.dispatcher.backoff,
            max_attempts,
            jitter_sample: identifiers::random_fraction(),
            at: now,
        })?;
        let metadata = Metadata::of_role(delivery.tenant_id, "dispatcher");
        let item = StreamAppendItem::new(delivery.event_id, delivery.stream_version, &facts, &metadata)?;
        Ok(self.dispatcher.outcomes.commit(item).await?)
    }

    /// Returns a tenant's retry policy, from its stream.
    async fn resilience(&self, tenant_id: TenantId) -> anyhow::Result<Resilience> {
        let tenant = self.dispatcher.store.load::<Tenant>(tenant_id.0).await?;
        Ok(match tenant.state {
            Tenant::Registered(account) => account.resilience,
            Tenant::Unknown => Resilience::default(),
        })
    }
}

async fn write(pool: PgPool, changes: Changes, epoch: u64, position: LogPosition) -> Result<(), TermEnded> {
    let mut connection = pool.acquire().await?;
    let mut transaction = connection.begin().await?;
    event_store::mark_non_appending(&mut transaction).await?;
    // Rows are looked up by their keys. The table is empty at times and long at others: a plan that scans it,
    // made while it was short, took a second for each flush of a backlog.
    sqlx::query!("SELECT set_config('enable_seqscan', 'off', true) AS scans")
        .fetch_one(&mut *transaction)
        .await?;
    due_deliveries::write(&mut transaction, &changes.written).await?;
    due_deliveries::remove(&mut transaction, &changes.removed).await?;
    dispatch_lanes::write(&mut transaction, &changes.lanes).await?;
    if !event_store::leader_is_connected(&mut transaction, READER_NAME).await? {
        return Err(CheckpointFailure::Fenced.into());
    }
    checkpoints::advance(&mut transaction, READER_NAME, epoch, position).await?;
    transaction.commit().await?;
    Ok(())
}
