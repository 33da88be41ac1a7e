//! Everything around the dispatcher's logic, in memory: aggregates that append to a log, tables, a queue that may
//! lose and repeat jobs, workers that may vanish.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::convert::Infallible;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use aggregates::Decide;
use aggregates::attempt_outcome::Outcome;
use aggregates::backoff::Backoff;
use aggregates::destination::{AuthChange, Destination, DestinationCommand, DestinationFact};
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::sealed::TokenHash;
use aggregates::tenant::TenantFact;
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand};
use aggregates_testing::{attempted, started};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use futures::FutureExt;
use projections::{LogPosition, LoggedFact, TransactionId};
use uuid::Uuid;

use super::acceptances::Prepared;
use super::tables::Tables;
use crate::clock::{BootTime, Present};
use crate::dispatcher::breaker_steps::LaneStep;
use crate::dispatcher::dispatch_core::{Backend, DispatchCore, DueEvents, Limits, Snapshot};
use crate::dispatcher::due_deliveries::{DueDelivery, Window};
use crate::dispatcher::lane::LaneState;
use crate::dispatcher::page::Page;
use crate::dispatcher::schedule::{Changes, Schedule};
use crate::event_store::{AcceptedEvent, PermitLeases};

pub(super) const TENANT: TenantId = TenantId(Uuid::from_u128(0xac3e));
/// Consecutive failed attempts that open a breaker.
pub(super) const THRESHOLD: u32 = 5;
/// How long a breaker stays open.
pub(super) const TIMER_SECONDS: u32 = 300;
pub(super) const REPUBLISH_AFTER: TimeDelta = TimeDelta::seconds(60);
/// Time limit of an attempt.
pub(super) const TIMEOUT: TimeDelta = TimeDelta::seconds(30);
const VANISHED_MARGIN: TimeDelta = TimeDelta::seconds(15);
/// After this time an attempt without an outcome is given up.
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
    /// Version at which a destination entered its stage or got its limit; unused in streams of events.
    pub(super) stage_version: u64,
}

/// The dispatcher's surroundings.
pub(super) struct Model {
    /// The wall clock of the dispatcher.
    pub(super) now: DateTime<Utc>,
    pub(super) boot: BootTime,
    /// How far the wall clocks of sources and workers are ahead of the dispatcher's.
    pub(super) others_ahead: TimeDelta,
    pub(super) max_attempts: u32,
    pub(super) tables: Tables,
    pub(super) log: Vec<LoggedFact>,
    /// What the dispatcher's process has accepted and not handed over yet.
    pub(super) accepted: Vec<AcceptedEvent>,
    pub(super) leases: PermitLeases,
    /// What its process is about to accept.
    pub(super) prepared: Vec<Prepared>,
    /// Attempts that the log has and whose request is never sent.
    pub(super) never_sent: BTreeSet<WebhookEventId>,
    pub(super) event_ids: u128,
    pub(super) events: BTreeMap<WebhookEventId, Stream<WebhookEvent>>,
    pub(super) destinations: BTreeMap<DestinationId, Stream<Destination>>,
    /// Tenants that the log has as suspended.
    pub(super) suspended_tenants: BTreeSet<TenantId>,
    /// When the attempt of an event was claimed last.
    pub(super) claimed_at: BTreeMap<WebhookEventId, BootTime>,
    /// Jobs on the queue.
    pub(super) queue: Vec<Job>,
    pub(super) epoch: u64,
    /// Whether steps of other breakers are being taken.
    pub(super) steps_are_taken: bool,
    /// Whether steps of breakers cannot be appended.
    pub(super) steps_fail: bool,
    failed_steps: Vec<DestinationId>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            now: DateTime::UNIX_EPOCH + TimeDelta::days(20_000),
            boot: BootTime::default() + Duration::from_secs(86_400),
            others_ahead: TimeDelta::zero(),
            max_attempts: 10,
            tables: Tables::default(),
            log: vec![],
            accepted: vec![],
            leases: PermitLeases::default(),
            prepared: vec![],
            never_sent: BTreeSet::new(),
            event_ids: 0,
            events: BTreeMap::new(),
            destinations: BTreeMap::new(),
            suspended_tenants: BTreeSet::new(),
            claimed_at: BTreeMap::new(),
            queue: vec![],
            epoch: 1,
            steps_are_taken: false,
            steps_fail: false,
            failed_steps: vec![],
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
    /// Lets time pass in which the dispatcher does nothing.
    pub(super) fn pass(&mut self, time: TimeDelta) {
        self.now += time;
        self.boot = self.boot + duration(time);
    }

    /// Sets the dispatcher's wall clock forward or back.
    pub(super) fn set_clock(&mut self, by: TimeDelta) {
        self.now += by;
    }

    pub(super) fn present(&self) -> Present {
        Present { wall: self.now, boot: self.boot }
    }

    pub(super) fn register(&mut self, number: u8, concurrency_limit: u32) -> DestinationId {
        self.register_for(TENANT, number, concurrency_limit)
    }

    pub(super) fn register_for(
        &mut self,
        tenant_id: TenantId,
        number: u8,
        concurrency_limit: u32,
    ) -> DestinationId {
        let id = destination_id(number);
        self.command(
            id,
            DestinationCommand::Register {
                tenant_id,
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
            self.append(id, fact);
        }
    }

    fn append(&mut self, id: DestinationId, fact: DestinationFact) {
        let stream = self.destinations.get_mut(&id).expect("a destination that is registered");
        stream.state.apply(fact.clone());
        stream.version += 1;
        if fact.voids_jobs() {
            stream.stage_version = stream.version;
        }
        let logged = logged(self.log.len(), id.0, stream.version, self.now, Fact::Destination(fact));
        self.log.push(logged);
    }

    pub(super) fn change_limit(&mut self, id: DestinationId, limit: u32) {
        let (concurrency_limit, auth, at) = (Some(limit), AuthChange::Keep, self.now);
        self.command(id, DestinationCommand::Change { url: None, concurrency_limit, active: None, auth, at });
    }

    pub(super) fn switch(&mut self, id: DestinationId, on: bool) {
        let (active, auth, at) = (Some(on), AuthChange::Keep, self.now);
        self.command(id, DestinationCommand::Change { url: None, concurrency_limit: None, active, auth, at });
    }

    pub(super) fn suspend(&mut self, tenant_id: TenantId) {
        if self.suspended_tenants.insert(tenant_id) {
            self.log_tenant(
                tenant_id,
                TenantFact::TenantSuspended { reason: "spam".to_owned(), at: self.now },
            );
        }
    }

    pub(super) fn resume(&mut self, tenant_id: TenantId) {
        if self.suspended_tenants.remove(&tenant_id) {
            self.log_tenant(tenant_id, TenantFact::TenantResumed { at: self.now });
        }
    }

    fn log_tenant(&mut self, tenant_id: TenantId, fact: TenantFact) {
        // The dispatcher does not look at the versions of tenants.
        self.log.push(logged(self.log.len(), tenant_id.0, 1, self.now, Fact::Tenant(fact)));
    }

    /// Returns whether the event accepted the command.
    pub(super) fn execute(&mut self, id: WebhookEventId, command: WebhookEventCommand) -> bool {
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
            || self.suspended_tenants.contains(&delivery.tenant_id)
        {
            return None;
        }
        let event_id = delivery.event_id;
        assert!(
            self.execute(event_id, started().at(self.now + self.others_ahead).command()),
            "an event at the job's version waits"
        );
        self.claimed_at.insert(event_id, self.boot);
        self.never_sent.remove(&event_id);
        Some(event_id)
    }

    /// Workers take every job there is.
    pub(super) fn start_all(&mut self) -> Vec<WebhookEventId> {
        std::mem::take(&mut self.queue).iter().filter_map(|job| self.start_copy(job)).collect()
    }

    pub(super) fn finish(&mut self, id: WebhookEventId, outcome: Outcome) -> bool {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let end = attempted().outcome(outcome).backoff(backoff).max_attempts(self.max_attempts);
        let end = end.at(self.now + self.others_ahead);
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
            suspended_tenants: self.tables.suspended_tenants.iter().copied().collect(),
            set_aside: self.tables.set_aside.clone(),
            readable: vec![],
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

    fn begin_breaker_steps(&mut self, steps: Vec<LaneStep>, at: DateTime<Utc>) {
        for (id, lane, step) in steps {
            let is_current = self.destinations[&id].version == lane.version;
            match lane.breaker.transition(step, TIMER_SECONDS, at) {
                Some(fact) if is_current && !self.steps_fail => self.append(id, fact),
                _ => self.failed_steps.push(id),
            }
        }
    }

    fn failed_breaker_steps(&mut self) -> Option<Vec<DestinationId>> {
        (!self.steps_are_taken).then(|| std::mem::take(&mut self.failed_steps))
    }

    async fn give_up(&mut self, vanished: &[DueDelivery], _: DateTime<Utc>) {
        for delivery in vanished {
            if self.events[&delivery.event_id].version == delivery.stream_version {
                let age = self.boot.since(self.claimed_at[&delivery.event_id]);
                assert!(age >= duration(TIMEOUT), "given up while its request may be in progress");
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
        vanished_margin: duration(VANISHED_MARGIN),
        republish_after: duration(REPUBLISH_AFTER),
    };
    let present = model.present();
    let mut core = DispatchCore::new(model, Schedule::default(), limits);
    now(core.load(present));
    core
}

/// Begins to offer permits, as the service does when it has read the log.
fn begin_leases(core: &mut DispatchCore<Model>) {
    let lessor = core.backend.leases.begin_term(core.backend.epoch);
    core.schedule.begin_leases(lessor);
}

pub(super) fn duration(time: TimeDelta) -> Duration {
    time.to_std().expect("a positive time")
}

/// What the dispatcher does.
impl World {
    pub(super) fn new() -> Self {
        let mut core = core_of(Model::default());
        begin_leases(&mut core);
        Self { core }
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
        let at = self.present();
        let folded = usize::try_from(self.core.position().position).expect("the number of facts folded");
        let facts: Vec<LoggedFact> = self.log.iter().skip(folded).take(facts_max).cloned().collect();
        let position = facts.last().map(|fact| fact.position);
        now(self.core.fold(Page { facts, unreadable: vec![], position }, at));
    }

    /// Hands over what was accepted. Returns whether the dispatcher folded all of it ahead of the log.
    pub(super) fn hand_over(&mut self) -> bool {
        let (accepted, at) = (std::mem::take(&mut self.accepted), self.present());
        self.core.fold_ahead_of_log(&accepted, at)
    }

    /// Does everything that is due. Returns the deliveries of the jobs that went to the queue.
    pub(super) fn step(&mut self) -> Vec<DueDelivery> {
        let (at, queued) = (self.present(), self.queue.len());
        now(self.core.step(at));
        self.queue[queued..].iter().map(|job| job.delivery.clone()).collect()
    }

    /// The queue announces that it may have lost jobs.
    pub(super) fn note_loss(&mut self) {
        let now = self.present();
        self.core.note_loss(now.boot);
    }

    /// Returns after which time the dispatcher has something to do although no fact arrives.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.core.next_deadline(self.present())
    }

    /// Lets time pass in which the dispatcher reads the log again and again.
    pub(super) fn pass_reading(&mut self, time: TimeDelta) {
        let mut left = time;
        while left > TimeDelta::zero() {
            let some = left.min(TimeDelta::seconds(4));
            self.pass(some);
            self.fold_all();
            left -= some;
        }
    }

    /// Returns the attempts that the dispatcher would give up now, once.
    pub(super) fn vanished(&mut self) -> Vec<WebhookEventId> {
        let before = self.boot - duration(VANISHED_MARGIN);
        self.core.schedule.vanished(before).iter().map(|delivery| delivery.event_id).collect()
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
        begin_leases(&mut self.core);
    }
}

fn logged(facts_before: usize, stream_id: Uuid, sequence: u64, at: DateTime<Utc>, fact: Fact) -> LoggedFact {
    let number = facts_before + 1;
    let position = LogPosition { transaction_id: TransactionId(number as u64), position: number as i64 };
    LoggedFact { position, tenant_id: TENANT, stream_id, sequence, recorded_at: at, fact }
}
