//! Everything around the dispatcher's logic, in memory: aggregates that append to a log, tables, a queue that may
//! lose and repeat jobs, workers that may vanish.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use aggregates::Decide;
use aggregates::attempt_outcome::Outcome;
use aggregates::backoff::Backoff;
use aggregates::circuit_breaker::BreakerStep;
use aggregates::destination::{AuthChange, Destination, DestinationCommand, Stage};
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::sealed::TokenHash;
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand};
use aggregates_testing::{accepted, attempted, started};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use futures::FutureExt;
use projections::{LogPosition, LoggedFact, TransactionId};
use uuid::Uuid;

use super::tables::Tables;
use crate::dispatcher::dispatch_core::{Backend, DispatchCore, DueEvents, Limits, Snapshot};
use crate::dispatcher::due_deliveries::{DueDelivery, Window};
use crate::dispatcher::lane::LaneState;
use crate::dispatcher::schedule::{Changes, Schedule};

pub(super) const TENANT: TenantId = TenantId(Uuid::from_u128(0xac3e));
/// Consecutive failed attempts that open a breaker.
pub(super) const THRESHOLD: u32 = 5;
/// How long a breaker stays open.
pub(super) const TIMER_SECONDS: u32 = 300;
pub(super) const REPUBLISH_AFTER: TimeDelta = TimeDelta::seconds(60);
pub(super) const VANISHED_AFTER: TimeDelta = TimeDelta::seconds(45);

/// A job on the queue, with the epoch and the stage in which it was released.
#[derive(Clone)]
pub(super) struct Job {
    delivery: DueDelivery,
    epoch: u64,
    stage_version: u64,
}

pub(super) struct Stream<A> {
    pub(super) state: A,
    pub(super) version: u64,
    /// Version at which a destination entered its stage; unused in streams of events.
    stage_version: u64,
}

impl Stream<Destination> {
    fn stage(&self) -> Option<Stage> {
        match &self.state {
            Destination::Unknown => None,
            Destination::Registered(endpoint) => Some(endpoint.stage),
        }
    }
}

/// The dispatcher's surroundings.
pub(super) struct Model {
    pub(super) now: DateTime<Utc>,
    pub(super) max_attempts: u32,
    pub(super) tables: Tables,
    log: Vec<LoggedFact>,
    pub(super) events: BTreeMap<WebhookEventId, Stream<WebhookEvent>>,
    pub(super) destinations: BTreeMap<DestinationId, Stream<Destination>>,
    /// Jobs on the queue.
    pub(super) queue: Vec<Job>,
    epoch: u64,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            now: DateTime::UNIX_EPOCH + TimeDelta::days(20_000),
            max_attempts: 10,
            tables: Tables::default(),
            log: vec![],
            events: BTreeMap::new(),
            destinations: BTreeMap::new(),
            queue: vec![],
            epoch: 1,
        }
    }
}

/// The dispatcher's logic and its surroundings, which it dereferences to.
pub(super) struct World {
    pub(super) core: DispatchCore<Model>,
}

impl Deref for World {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.core.backend
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Model {
        &mut self.core.backend
    }
}

pub(super) fn destination_id(number: u8) -> DestinationId {
    DestinationId(Uuid::from_u128(0xd000 + u128::from(number)))
}

/// What sources, operators and workers do.
impl Model {
    pub(super) fn pass(&mut self, time: TimeDelta) {
        self.now += time;
    }

    pub(super) fn register(&mut self, number: u8, concurrency_limit: u32) -> DestinationId {
        let id = destination_id(number);
        self.command(
            id,
            DestinationCommand::Register {
                tenant_id: TENANT,
                url: "https://shop.example.com".to_owned(),
                concurrency_limit,
                auth: None,
                ingest_token_hash: TokenHash::default(),
                at: self.now,
            },
        );
        id
    }

    pub(super) fn command(&mut self, id: DestinationId, command: DestinationCommand) {
        let stream = self.destinations.entry(id).or_insert_with(|| Stream {
            state: Destination::default(),
            version: 0,
            stage_version: 1,
        });
        for fact in stream.state.decide(command).expect("a destination that is registered") {
            let before = stream.stage();
            stream.state.apply(fact.clone());
            stream.version += 1;
            if stream.stage() != before {
                stream.stage_version = stream.version;
            }
            let logged = logged(self.log.len(), id.0, stream.version, self.now, Fact::Destination(fact));
            self.log.push(logged);
        }
    }

    pub(super) fn change_limit(&mut self, id: DestinationId, limit: u32) {
        let (concurrency_limit, auth, at) = (Some(limit), AuthChange::Keep, self.now);
        self.command(id, DestinationCommand::Change { url: None, concurrency_limit, active: None, auth, at });
    }

    pub(super) fn switch(&mut self, id: DestinationId, on: bool) {
        let (active, auth, at) = (Some(on), AuthChange::Keep, self.now);
        self.command(id, DestinationCommand::Change { url: None, concurrency_limit: None, active, auth, at });
    }

    pub(super) fn accept(&mut self, destination_id: DestinationId) -> WebhookEventId {
        let id = WebhookEventId(Uuid::from_u128(0xe000_0000 + self.events.len() as u128));
        let accept = accepted().tenant(TENANT).destination(destination_id).at(self.now);
        self.execute(id, accept.command());
        id
    }

    pub(super) fn accept_many(&mut self, destination_id: DestinationId, count: usize) -> Vec<WebhookEventId> {
        (0..count).map(|_| self.accept(destination_id)).collect()
    }

    /// Returns whether the event accepted the command.
    fn execute(&mut self, id: WebhookEventId, command: WebhookEventCommand) -> bool {
        let unknown = || Stream { state: WebhookEvent::default(), version: 0, stage_version: 0 };
        let stream = self.events.entry(id).or_insert_with(unknown);
        let Ok(facts) = stream.state.decide(command) else { return false };
        for fact in facts {
            stream.state.apply(fact.clone());
            stream.version += 1;
            let logged = logged(self.log.len(), id.0, stream.version, self.now, Fact::WebhookEvent(fact));
            self.log.push(logged);
        }
        true
    }

    pub(super) fn cancel(&mut self, id: WebhookEventId) -> bool {
        self.execute(id, WebhookEventCommand::Cancel { reason: "purged".to_owned(), at: self.now })
    }

    pub(super) fn replay(&mut self, id: WebhookEventId) -> bool {
        self.execute(id, WebhookEventCommand::Replay { at: self.now })
    }

    pub(super) fn erase(&mut self, id: WebhookEventId) -> bool {
        let reason = "law".to_owned();
        self.execute(id, WebhookEventCommand::ErasePayload { reason, requested_by: None, at: self.now })
    }

    /// A worker takes the job at this index of the queue; `Some` if it won the claim.
    pub(super) fn start(&mut self, index: usize) -> Option<WebhookEventId> {
        let job = self.queue.remove(index);
        self.start_copy(&job)
    }

    /// A worker takes this copy of a job.
    pub(super) fn start_copy(&mut self, job: &Job) -> Option<WebhookEventId> {
        let delivery = &job.delivery;
        let event = self.events.get(&delivery.event_id)?;
        let stage_version = self.destinations[&delivery.destination_id].stage_version;
        if job.epoch != self.epoch
            || job.stage_version != stage_version
            || event.version != delivery.stream_version
        {
            return None;
        }
        let event_id = delivery.event_id;
        assert!(
            self.execute(event_id, started().at(self.now).command()),
            "an event at the job's version waits"
        );
        Some(event_id)
    }

    /// Workers take every job there is.
    pub(super) fn start_all(&mut self) -> Vec<WebhookEventId> {
        std::mem::take(&mut self.queue).iter().filter_map(|job| self.start_copy(job)).collect()
    }

    pub(super) fn finish(&mut self, id: WebhookEventId, outcome: Outcome) -> bool {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let end = attempted().outcome(outcome).backoff(backoff).max_attempts(self.max_attempts).at(self.now);
        self.execute(id, end.command())
    }
}

impl Backend for Model {
    type Error = Infallible;

    async fn load(&mut self) -> Result<Snapshot, Infallible> {
        Ok(Snapshot {
            checkpoint: self.tables.checkpoint,
            in_flight: self.tables.in_flight(),
            lanes: self.tables.lanes_with_something_to_do(),
        })
    }

    async fn deliveries(&mut self, events: &[Uuid]) -> Result<Vec<DueDelivery>, Infallible> {
        Ok(events.iter().filter_map(|id| self.tables.due.get(&WebhookEventId(*id))).cloned().collect())
    }

    async fn lanes(&mut self, destinations: &[Uuid]) -> Result<Vec<(DestinationId, LaneState)>, Infallible> {
        let ids = destinations.iter().copied().map(DestinationId);
        Ok(ids.filter_map(|id| Some((id, self.tables.lanes.get(&id)?.clone()))).collect())
    }

    async fn due_events(
        &mut self,
        windows: &[Window],
        in_memory: &[Uuid],
        now: DateTime<Utc>,
    ) -> Result<DueEvents, Infallible> {
        let in_memory: HashSet<Uuid> = in_memory.iter().copied().collect();
        let due = windows.iter().flat_map(|window| self.tables.window(*window, &in_memory, now)).collect();
        let next_due = windows.iter().filter_map(|window| {
            let id = window.destination_id;
            Some((id, self.tables.next_due(id, now)?))
        });
        Ok(DueEvents { due, next_due: next_due.collect() })
    }

    fn begin_write(&mut self, changes: Changes, position: LogPosition) {
        self.tables.write(changes, position);
    }

    async fn end_write(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn is_write_over(&self) -> bool {
        false
    }

    async fn execute_breaker_steps(
        &mut self,
        steps: Vec<(DestinationId, LaneState, BreakerStep)>,
        at: DateTime<Utc>,
    ) -> Vec<DestinationId> {
        for (id, lane, step) in steps {
            let command = match step {
                BreakerStep::Open => DestinationCommand::Suspend {
                    consecutive_failures: lane.breaker.consecutive_failures,
                    timer_seconds: TIMER_SECONDS,
                    at,
                },
                BreakerStep::HalfOpen => DestinationCommand::Probe { at },
                BreakerStep::Close => DestinationCommand::Resume { at },
            };
            self.command(id, command);
        }
        vec![]
    }

    async fn give_up(&mut self, vanished: &[DueDelivery], _: DateTime<Utc>) {
        for delivery in vanished {
            if self.events[&delivery.event_id].version == delivery.stream_version {
                assert!(self.finish(delivery.event_id, Outcome::Unknown));
            }
        }
    }

    fn can_publish(&self) -> bool {
        true
    }

    fn publish(&mut self, deliveries: Vec<(DueDelivery, u64)>) {
        let epoch = self.epoch;
        let jobs =
            deliveries.into_iter().map(|(delivery, stage_version)| Job { delivery, epoch, stage_version });
        self.queue.extend(jobs);
    }
}

/// The result of a future of the core, which never waits for the model.
fn now<T>(future: impl Future<Output = Result<T, Infallible>>) -> T {
    let Ok(value) = future.now_or_never().expect("the model answers at once");
    value
}

fn core_of(model: Model) -> DispatchCore<Model> {
    let limits = Limits {
        breaker_threshold: THRESHOLD,
        vanished_after: seconds(VANISHED_AFTER),
        republish_after: seconds(REPUBLISH_AFTER),
    };
    let mut core = DispatchCore::new(model, Schedule::default(), limits);
    now(core.load());
    core
}

fn seconds(time: TimeDelta) -> Duration {
    time.to_std().expect("a positive time")
}

/// What the dispatcher does.
impl World {
    pub(super) fn new() -> Self {
        Self { core: core_of(Model::default()) }
    }

    /// With one destination of this limit, which the dispatcher knows.
    pub(super) fn with_destination(concurrency_limit: u32) -> (Self, DestinationId) {
        let mut world = Self::new();
        let id = world.register(0, concurrency_limit);
        world.fold_all();
        (world, id)
    }

    pub(super) fn fold_all(&mut self) {
        self.fold(usize::MAX);
    }

    /// Folds the next page of the log, of at most `facts_max` facts.
    pub(super) fn fold(&mut self, facts_max: usize) {
        let at = self.now;
        let folded = usize::try_from(self.core.position().position).expect("the number of facts folded");
        let page: Vec<LoggedFact> = self.log.iter().skip(folded).take(facts_max).cloned().collect();
        now(self.core.fold(&page, at));
    }

    /// Does everything that is due. Returns the deliveries of the jobs that went to the queue.
    pub(super) fn step(&mut self) -> Vec<DueDelivery> {
        let (at, queued) = (self.now, self.queue.len());
        now(self.core.step(at));
        self.queue[queued..].iter().map(|job| job.delivery.clone()).collect()
    }

    pub(super) fn flush(&mut self) {
        now(self.core.flush());
    }

    /// Another process takes the lead: the tables and the log are all it has.
    pub(super) fn change_leader(&mut self) {
        let mut model = std::mem::take(&mut self.core.backend);
        model.epoch += 1;
        self.core = core_of(model);
        self.fold_all();
    }
}

fn logged(facts_before: usize, stream_id: Uuid, sequence: u64, at: DateTime<Utc>, fact: Fact) -> LoggedFact {
    let number = facts_before + 1;
    let position = LogPosition { transaction_id: TransactionId(number as u64), position: number as i64 };
    LoggedFact { position, tenant_id: TENANT, stream_id, sequence, recorded_at: at, fact }
}
