//! The dispatcher's tables, streams and queue in the running service.

use aggregates::Decide;
use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::ids::DestinationId;
use aggregates::webhook_event::{Delivery, UNKNOWN_IN_A_ROW_TOLERATED, WebhookEvent, WebhookEventCommand};
use chrono::{DateTime, Utc};
use projections::LogPosition;
use projections::checkpoints::{self, CheckpointFailure};
use sqlx::{Connection, PgPool};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::breaker_steps::{self, BreakerSteps, LaneStep};
use super::dispatch_core::{Backend, DueEvents, Snapshot};
use super::due_deliveries::{self, DueDelivery, Window};
use super::lane::LaneState;
use super::publisher::Publisher;
use super::schedule::Changes;
use super::{Dispatcher, READER_NAME, TermEnded, dispatch_lanes, set_aside, suspended_tenants};
use crate::database::{LONG, in_time};
use crate::event_store::{self, Metadata, StreamAppend, StreamAppendResult, stream_reader};
use crate::identifiers;
use crate::queue::Job;

/// Attempts given up by one statement.
const GIVEN_UP_AT_ONCE: usize = 512;

/// PostgreSQL, the event store and the job queue, for one term.
pub(super) struct ServiceBackend<'a> {
    dispatcher: &'a Dispatcher,
    pub(super) publisher: Publisher,
    pub(super) breaker_steps: BreakerSteps,
    /// The term's epoch, which fences what it writes and publishes.
    pub(super) epoch: u64,
    /// The write in progress. If the term ends first, the write is dropped, because its connection may be dead: the
    /// next leader reads the same facts again.
    write: Option<AbortOnDropHandle<Result<(), TermEnded>>>,
}

impl<'a> ServiceBackend<'a> {
    pub(super) fn new(dispatcher: &'a Dispatcher, publisher: Publisher, epoch: u64) -> Self {
        let pause_min = u32::try_from(dispatcher.settings.breaker_pause_min.as_secs()).unwrap_or(u32::MAX);
        let breaker_steps = BreakerSteps::new(dispatcher.store.clone(), epoch, pause_min);
        Self { dispatcher, publisher, breaker_steps, epoch, write: None }
    }
}

impl Backend for ServiceBackend<'_> {
    type Error = TermEnded;

    async fn load(&mut self) -> Result<Snapshot, TermEnded> {
        let mut connection = self.dispatcher.pool.acquire().await?;
        let checkpoint = checkpoints::take_over(&mut connection, READER_NAME, self.epoch).await?;
        let in_flight = due_deliveries::in_flight(&mut connection).await?;
        let (mut set_aside, mut readable) = (vec![], vec![]);
        for event_id in set_aside::load(&mut connection).await? {
            let rows = stream_reader::read::<WebhookEvent>(&mut connection, event_id.0).await?;
            match set_aside::fold_stream(rows, checkpoint) {
                Ok(due) => readable.push((event_id, due)),
                Err(_) => set_aside.push(event_id),
            }
        }
        let restored = readable.iter().filter_map(|(_, due)| due.as_ref());
        let mut lanes: Vec<Uuid> =
            in_flight.iter().chain(restored).map(|delivery| delivery.destination_id.0).collect();
        lanes.extend(due_deliveries::destinations_with_backlog(&mut connection).await?.iter().map(|id| id.0));
        lanes.extend(dispatch_lanes::suspended(&mut connection).await?.iter().map(|id| id.0));
        lanes.sort_unstable();
        lanes.dedup();
        let lanes = dispatch_lanes::load(&mut connection, &lanes).await?;
        let suspended_tenants = suspended_tenants::load(&mut connection).await?;
        Ok(Snapshot { checkpoint, in_flight, lanes, suspended_tenants, set_aside, readable })
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
        let write = in_time(LONG, write(pool, changes, self.epoch, position));
        self.write = Some(AbortOnDropHandle::new(self.dispatcher.tasks.spawn(write)));
    }

    async fn end_write(&mut self) -> Result<(), TermEnded> {
        match self.write.take() {
            Some(write) => write.await?,
            None => Ok(()),
        }
    }

    fn is_write_over(&self) -> bool {
        self.write.as_ref().is_some_and(AbortOnDropHandle::is_finished)
    }

    fn begin_breaker_steps(&mut self, steps: Vec<LaneStep>, now: DateTime<Utc>) {
        self.breaker_steps.begin(steps, now, &self.dispatcher.tasks);
    }

    fn failed_breaker_steps(&mut self) -> Option<Vec<DestinationId>> {
        self.breaker_steps.failed()
    }

    async fn give_up(&mut self, vanished: &[DueDelivery], now: DateTime<Utc>) {
        // A vanished worker leaves many attempts, and one statement records the outcome of many.
        for vanished in vanished.chunks(GIVEN_UP_AT_ONCE) {
            if let Err(error) = self.give_up_some(vanished, now).await {
                tracing::warn!(
                    attempts = vanished.len(),
                    error = ?error,
                    "giving up attempts without outcome failed, will retry"
                );
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
    /// Gives up attempts that started and have no outcome long after their time limit.
    ///
    /// Whether the request arrived is unknown, so the outcome is `unknown`, and the event is retried. That does
    /// not count against the tenant's limit of attempts, unless several workers in a row vanish with this event.
    /// If the worker was merely slow, its own append finds the version taken and is dropped; the destination may
    /// then get the event twice, which "at least once" allows.
    async fn give_up_some(&self, vanished: &[DueDelivery], now: DateTime<Utc>) -> anyhow::Result<()> {
        // The limit applies only after several unknown outcomes; before that no tenant is read.
        let suspects = vanished.iter().filter(|delivery| is_suspect(delivery));
        let tenants = suspects.map(|delivery| delivery.tenant_id);
        let resilience = breaker_steps::resilience(&self.dispatcher.store, tenants).await?;
        let appends = vanished.iter().map(|delivery| {
            let max_attempts = match resilience.get(&delivery.tenant_id) {
                Some(resilience) if is_suspect(delivery) => resilience.max_attempts,
                _ => u32::MAX,
            };
            self.given_up(delivery, max_attempts, now)
        });
        let appends = appends.collect::<anyhow::Result<Vec<_>>>()?;
        let results = self.dispatcher.store.append_in_epoch(self.epoch, &appends).await?;
        for (delivery, result) in vanished.iter().zip(results) {
            // After a conflict the worker was slow and has recorded the outcome, or another process leads.
            if result == StreamAppendResult::Recorded {
                tracing::warn!(
                    event.id = %delivery.event_id,
                    attempt = delivery.attempts,
                    "an attempt has no outcome because its worker vanished, will retry"
                );
            }
        }
        Ok(())
    }

    /// Returns the append of the outcome `unknown`.
    fn given_up(
        &self,
        delivery: &DueDelivery,
        max_attempts: u32,
        now: DateTime<Utc>,
    ) -> anyhow::Result<StreamAppend> {
        let started_at = delivery.started.map_or(now, |started| started.at);
        // A worker's clock that is ahead makes this negative.
        let duration_ms = u64::try_from((now - started_at).num_milliseconds()).unwrap_or_default();
        let event = WebhookEvent::Delivering(Delivery {
            destination_id: delivery.destination_id,
            attempts: delivery.attempts,
            failed_attempts: delivery.failed_attempts,
            unknown_in_a_row: delivery.unknown_in_a_row,
        });
        let detail = "the worker vanished before it recorded an outcome".to_owned();
        let facts = event.decide(WebhookEventCommand::RecordAttempt {
            report: AttemptReport::without_answer(Outcome::Unknown, duration_ms, Some(detail)),
            backoff: self.dispatcher.backoff,
            max_attempts,
            jitter_sample: identifiers::random_fraction(),
            at: now,
        })?;
        let metadata = Metadata::of_role(delivery.tenant_id, "dispatcher");
        let (id, version) = (delivery.event_id.0, delivery.stream_version);
        Ok(StreamAppend::new::<WebhookEvent>(id, version, &facts, &metadata)?)
    }
}

/// Whether the limit of attempts applies to an attempt that is given up: several workers in a row vanished with
/// this event.
fn is_suspect(delivery: &DueDelivery) -> bool {
    delivery.unknown_in_a_row >= UNKNOWN_IN_A_ROW_TOLERATED
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
    set_aside::write(&mut transaction, &changes.set_aside).await?;
    set_aside::remove(&mut transaction, &changes.restored).await?;
    suspended_tenants::write(&mut transaction, &changes.suspended_tenants).await?;
    suspended_tenants::remove(&mut transaction, &changes.resumed_tenants).await?;
    if !event_store::leader_is_connected(&mut transaction, READER_NAME).await? {
        return Err(CheckpointFailure::Fenced.into());
    }
    checkpoints::advance(&mut transaction, READER_NAME, epoch, position).await?;
    transaction.commit().await?;
    Ok(())
}
