//! Everything around the schedule, in memory: aggregates that write a log, tables, a queue that may lose
//! and repeat, workers that may vanish.

use std::collections::{BTreeMap, HashSet};

use aggregates::Decide;
use aggregates::attempt_outcome::{AttemptReport, Outcome};
use aggregates::backoff::Backoff;
use aggregates::destination::{AuthChange, Destination, DestinationCommand, Stage};
use aggregates::fact::Fact;
use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use aggregates::sealed::TokenHash;
use aggregates::webhook_event::{Acceptance, PayloadDigest, WebhookEvent, WebhookEventCommand};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use projections::{LogPosition, LoggedFact, TransactionId};
use uuid::Uuid;

use crate::dispatcher::due_deliveries::DueDelivery;
use crate::dispatcher::fold::Fetched;
use crate::dispatcher::lane::{BreakerStep, LaneState};
use crate::dispatcher::schedule::Schedule;

use super::tables::Tables;

pub(super) const TENANT: TenantId = TenantId(Uuid::from_u128(0xac3e));
/// Failed attempts in a row that open a breaker.
pub(super) const THRESHOLD: u32 = 5;
/// How long a breaker stays open.
pub(super) const TIMER_SECONDS: u32 = 300;
pub(super) const REPUBLISH_AFTER: TimeDelta = TimeDelta::seconds(60);
pub(super) const VANISHED_AFTER: TimeDelta = TimeDelta::seconds(45);

/// A job, and what was so when it was released.
#[derive(Clone)]
pub(super) struct Job {
    delivery: DueDelivery,
    epoch: u64,
    stage_version: u64,
}

pub(super) struct Stream<A> {
    pub(super) state: A,
    pub(super) version: u64,
    /// Version at which a destination entered its stage.
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

pub(super) struct World {
    pub(super) now: DateTime<Utc>,
    pub(super) schedule: Schedule,
    pub(super) max_attempts: u32,
    pub(super) tables: Tables,
    log: Vec<LoggedFact>,
    /// How many facts of the log are folded.
    folded: usize,
    pub(super) events: BTreeMap<WebhookEventId, Stream<WebhookEvent>>,
    pub(super) destinations: BTreeMap<DestinationId, Stream<Destination>>,
    /// Jobs on the queue.
    pub(super) queue: Vec<Job>,
    epoch: u64,
}

pub(super) fn destination_id(number: u8) -> DestinationId {
    DestinationId(Uuid::from_u128(0xd000 + u128::from(number)))
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            now: DateTime::UNIX_EPOCH + TimeDelta::days(20_000),
            schedule: Schedule::default(),
            max_attempts: 10,
            tables: Tables::default(),
            log: vec![],
            folded: 0,
            events: BTreeMap::new(),
            destinations: BTreeMap::new(),
            queue: vec![],
            epoch: 1,
        }
    }

    /// With one destination of this limit, which the dispatcher knows.
    pub(super) fn with_destination(concurrency_limit: u32) -> (Self, DestinationId) {
        let mut world = Self::new();
        let id = world.register(0, concurrency_limit);
        world.fold_all();
        (world, id)
    }

    pub(super) fn pass(&mut self, time: TimeDelta) {
        self.now += time;
    }

    // What others do.

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
        let payload = PayloadDigest { sha256: String::new(), bytes: 2 };
        self.ask(
            id,
            WebhookEventCommand::Accept(Acceptance {
                tenant_id: TENANT,
                destination_id,
                sender_id: None,
                idempotency_key: None,
                payload,
                mapping: None,
                at: self.now,
            }),
        );
        id
    }

    pub(super) fn accept_many(&mut self, destination_id: DestinationId, count: usize) -> Vec<WebhookEventId> {
        (0..count).map(|_| self.accept(destination_id)).collect()
    }

    /// Whether the event did what was asked.
    fn ask(&mut self, id: WebhookEventId, command: WebhookEventCommand) -> bool {
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
        self.ask(id, WebhookEventCommand::Cancel { reason: "purged".to_owned(), at: self.now })
    }

    pub(super) fn replay(&mut self, id: WebhookEventId) -> bool {
        self.ask(id, WebhookEventCommand::Replay { at: self.now })
    }

    pub(super) fn erase(&mut self, id: WebhookEventId) -> bool {
        let reason = "law".to_owned();
        self.ask(id, WebhookEventCommand::ErasePayload { reason, requested_by: None, at: self.now })
    }

    /// A worker takes the job at this place of the queue; `Some` if it won the claim.
    pub(super) fn start(&mut self, place: usize) -> Option<WebhookEventId> {
        let job = self.queue.remove(place);
        self.start_copy(&job)
    }

    /// A worker has this job, wherever it comes from.
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
        let start = WebhookEventCommand::Start {
            worker: "worker".to_owned(),
            destination_version: 1,
            tenant_version: 1,
            at: self.now,
        };
        let event_id = delivery.event_id;
        assert!(self.ask(event_id, start), "a job whose version fits, of an event that does not wait");
        Some(event_id)
    }

    /// Workers take every job there is.
    pub(super) fn start_all(&mut self) -> Vec<WebhookEventId> {
        std::mem::take(&mut self.queue).iter().filter_map(|job| self.start_copy(job)).collect()
    }

    pub(super) fn finish(&mut self, id: WebhookEventId, outcome: Outcome) -> bool {
        let report = AttemptReport::without_answer(outcome, 1, None);
        let (backoff, max_attempts) = (Backoff { jitter: 0.0, ..Backoff::default() }, self.max_attempts);
        let record = WebhookEventCommand::RecordAttempt {
            report,
            backoff,
            max_attempts,
            jitter_sample: 0.5,
            at: self.now,
        };
        self.ask(id, record)
    }

    // What the dispatcher does, as a term of it does it.

    pub(super) fn fold_all(&mut self) {
        self.fold(usize::MAX);
    }

    /// Folds the next page of the log, of at most so many facts.
    pub(super) fn fold(&mut self, facts_max: usize) {
        let end = self.log.len().min(self.folded.saturating_add(facts_max));
        let page = &self.log[self.folded..end];
        let (events, lanes) = self.schedule.missing(page);
        for lane in lanes {
            let id = DestinationId(lane);
            if let Some(state) = self.tables.lanes.get(&id) {
                self.schedule.take_in_lane(id, state.clone());
            }
        }
        let fetched: Fetched = events
            .into_iter()
            .filter_map(|event| self.tables.due.get(&WebhookEventId(event)))
            .map(|row| (row.event_id, row.clone()))
            .collect();
        for fact in page {
            self.schedule.fold(fact, &fetched, self.now);
        }
        self.folded = end;
    }

    /// Does everything that is due, and answers with the jobs that went to the queue.
    pub(super) fn step(&mut self) -> Vec<DueDelivery> {
        self.schedule.wake(self.now);
        for (id, lane, step) in self.schedule.breaker_steps(THRESHOLD, self.now) {
            self.take(id, &lane, step);
        }
        self.refill();
        let mut jobs = self.schedule.forgotten(self.now - REPUBLISH_AFTER, self.now);
        jobs.extend(self.schedule.release(self.now));
        self.publish(&jobs);
        for delivery in self.schedule.vanished(self.now - VANISHED_AFTER) {
            // As the dispatcher does: from what it knows, at the version it knows.
            if self.events[&delivery.event_id].version == delivery.stream_version {
                assert!(self.finish(delivery.event_id, Outcome::Unknown));
            }
        }
        jobs
    }

    pub(super) fn publish(&mut self, jobs: &[DueDelivery]) {
        for delivery in jobs {
            let stage_version = self.schedule.stage_version(delivery.destination_id);
            self.queue.push(Job { delivery: delivery.clone(), epoch: self.epoch, stage_version });
        }
    }

    fn take(&mut self, id: DestinationId, lane: &LaneState, step: BreakerStep) {
        let at = self.now;
        let command = match step {
            BreakerStep::Open => DestinationCommand::Suspend {
                consecutive_failures: lane.consecutive_failures,
                timer_seconds: TIMER_SECONDS,
                at,
            },
            BreakerStep::HalfOpen => DestinationCommand::Probe { at },
            BreakerStep::Close => DestinationCommand::Resume { at },
        };
        self.command(id, command);
    }

    fn refill(&mut self) {
        loop {
            let wanted = self.schedule.refills(128);
            if wanted.is_empty() {
                return;
            }
            self.flush();
            for (id, rows_max) in wanted {
                let in_memory: HashSet<Uuid> = self.schedule.in_memory(id).collect();
                let due = self.tables.window(id, rows_max, &in_memory, self.now);
                let complete = due.len() < rows_max;
                self.schedule.take_in_window(id, due, complete, self.tables.next_due(id, self.now));
            }
        }
    }

    pub(super) fn flush(&mut self) {
        self.tables.write(self.schedule.take_changes(), self.folded);
    }

    /// Another process takes the lead: the tables and the log are all it has.
    pub(super) fn change_leader(&mut self) {
        self.epoch += 1;
        self.folded = self.tables.checkpoint;
        self.schedule = Schedule::default();
        for (id, state) in self.tables.lanes_with_something_to_do() {
            self.schedule.take_in_lane(id, state);
        }
        for delivery in self.tables.under_way() {
            self.schedule.take_in_under_way(delivery);
        }
        self.fold_all();
    }
}

fn logged(place: usize, stream_id: Uuid, sequence: u64, at: DateTime<Utc>, fact: Fact) -> LoggedFact {
    let position = LogPosition { transaction_id: TransactionId(place as u64), position: place as i64 };
    LoggedFact { position, tenant_id: TENANT, stream_id, sequence, recorded_at: at, fact }
}
