//! Bulk actions, carried out in steps.
//!
//! A step examines some events of one bulk action, decides each from its stream, and appends what follows in one short
//! transaction, which also moves the progress of the bulk action: after a crash or a change of the leader another step
//! continues where the last one ended, and no event is replayed twice. What is slow is read before that transaction, because
//! an open one holds back the readers of the log.
//!
//! The time of the next step is stored with the progress, so a bulk action keeps its rate under every leader, and those that
//! are due take turns. No connection is held meanwhile. After each step the runner waits at least as long as the step took.
//!
//! The selection is that of the request: an event is acted on if it was accepted before the request in the log and had the
//! status of the filter then. The other terms of the filter are compared when the event is reached.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use aggregates::Decide;
use aggregates::bulk_action::{
    BulkAction, BulkActionCommand, BulkActionRequest, BulkActionResult, EventAction,
};
use aggregates::fact::Fact;
use aggregates::webhook_event::WebhookEvent;
use anyhow::Context;
use chrono::TimeDelta;
use cqrs_es::Aggregate;
use projections::bulk_actions::{self, BulkActionProgress, NextStep};
use projections::listing::read_recorded;
use projections::retention::AcceptancePosition;
use projections::webhook_events::{self, BulkCandidate, EventStatus, Filter};
use projections::{LogPosition, LoggedFact, Projection, checkpoints, tenants};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::ROLE;
use super::retention::READ_MODELS;
use crate::clock;
use crate::database;
use crate::event_store::bulk_action::{self, BulkStep, StoredStep};
use crate::event_store::{AppendFailure, EventStore, Metadata, StreamAppend, stream_reader};

/// Events examined in one step.
const EVENTS_READ: i64 = 100;
/// Most events replayed or cancelled in one step. Higher: longer transactions.
const EVENTS_MAX: u32 = 100;
/// Steps in a second at rates that allow more than one event in each.
const STEPS_PER_SECOND: u32 = 5;
/// How often a step is decided again, for fewer events, after another append to one of their streams came first.
const CONFLICTS_MAX: u32 = 8;
/// Interval at which the database is asked for bulk actions.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Pause of a bulk action that failed.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// Pause of one whose tenant is suspended, or whose request the read models do not show yet.
const NOT_YET_PAUSE: Duration = Duration::from_secs(1);
/// Most that the clocks of processes which accept events may differ. Events that were accepted so long after the request
/// are examined, because the log may have them before it.
const CLOCKS_DIFFER_MAX: TimeDelta = TimeDelta::minutes(1);

/// Carries out bulk actions.
#[derive(Debug)]
pub(super) struct BulkActions {
    store: EventStore,
}

/// A running bulk action and what it is for.
struct Running {
    action: BulkActionProgress,
    request: BulkActionRequest,
    filter: Filter,
    /// Position of the request in the log.
    requested: LogPosition,
}

impl BulkActions {
    pub(super) fn new(store: EventStore) -> Self {
        Self { store }
    }

    /// Carries out the steps that are due, until it is dropped.
    pub(super) async fn run(&self) -> Infallible {
        loop {
            let begun = Instant::now();
            let wait = match self.take_turn().await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(?error, "bulk actions cannot be read, will retry");
                    FAILURE_PAUSE
                }
            };
            sleep(wait.max(begun.elapsed())).await;
        }
    }

    /// Carries out the step that is due first. Returns the time until another one may be due.
    async fn take_turn(&self) -> anyhow::Result<Duration> {
        let next = database::in_time(database::SHORT, async {
            bulk_actions::next(&mut *self.store.pool().acquire().await?).await
        });
        let Some(NextStep { action, wait }) = next.await? else { return Ok(POLL_INTERVAL) };
        if !wait.is_zero() {
            return Ok(wait.min(POLL_INTERVAL));
        }
        if let Err(error) = self.step(action).await {
            metrics::counter!("hooksentry_bulk_action_failures_total").increment(1);
            tracing::error!(?error, bulk_action.id = %action.id, "a bulk action failed, will retry after the others");
            self.postpone(action, FAILURE_PAUSE).await?;
        }
        Ok(Duration::ZERO)
    }

    async fn postpone(&self, action: BulkActionProgress, pause: Duration) -> Result<(), sqlx::Error> {
        database::in_time(database::SHORT, async {
            bulk_actions::postpone(&mut *self.store.pool().acquire().await?, action.id, pause).await
        })
        .await
    }

    async fn step(&self, action: BulkActionProgress) -> anyhow::Result<()> {
        let Some(running) = database::in_time(database::SHORT, self.begin(action)).await? else {
            return Ok(self.postpone(action, NOT_YET_PAUSE).await?);
        };
        let mut events = running.request.rate_per_second.div_ceil(STEPS_PER_SECOND).clamp(1, EVENTS_MAX);
        for _ in 0..CONFLICTS_MAX {
            let Some(step) = database::in_time(database::SHORT, self.decide(&running, events)).await? else {
                return self.complete(&running).await;
            };
            match self.store.store_bulk_step(step).await {
                Ok(StoredStep::Stored(counts)) => {
                    let before = action.progress.counts;
                    count(running.request.action, "done", counts.done - before.done);
                    count(running.request.action, "refused", counts.refused.total() - before.refused.total());
                    return Ok(());
                }
                Ok(StoredStep::Superseded) => return Ok(()),
                Err(AppendFailure::Conflict) => events = events.div_ceil(2),
                Err(failure) => return Err(failure.into()),
            }
        }
        // Attempts come first again and again.
        Ok(self.postpone(action, NOT_YET_PAUSE).await?)
    }

    /// Returns what is carried out; `None`: nothing at the moment.
    async fn begin(&self, action: BulkActionProgress) -> Result<Option<Running>, StepFailure> {
        let mut connection = self.store.pool().acquire().await?;
        let rows = stream_reader::read::<BulkAction>(&mut connection, action.id.0).await?;
        let Some(requested) = rows.first().map(|row| row.log_position()) else { return Ok(None) };
        let loaded = bulk_action::fold(rows).map_err(StepFailure::other)?.remove(&action.id.0);
        let Some(BulkAction::Running(request)) = loaded.map(|loaded| loaded.state) else { return Ok(None) };
        if tenants::is_suspended(&mut connection, action.tenant_id).await? != Some(false)
            || !is_shown(&mut connection, requested).await?
        {
            return Ok(None);
        }
        let filter: Filter = read_recorded(&request.filter).map_err(StepFailure::other)?;
        let until = request.at + CLOCKS_DIFFER_MAX;
        let filter = Filter { to: Some(filter.to.map_or(until, |to| to.min(until))), ..filter };
        Ok(Some(Running { action, request, filter, requested }))
    }

    /// Decides the next step, in which at most `events_max` events are acted on; `None`: all events were examined.
    async fn decide(&self, running: &Running, events_max: u32) -> Result<Option<BulkStep>, StepFailure> {
        let Running { action, request, filter, .. } = running;
        let mut connection = self.store.pool().acquire().await?;
        let candidates = webhook_events::candidates_of_bulk_action(
            &mut connection,
            action.tenant_id,
            *filter,
            request.action,
            action.progress.after,
            EVENTS_READ,
        )
        .await?;
        if candidates.is_empty() {
            return Ok(None);
        }
        let candidates = first(&candidates, events_max);
        let mut streams = read(&mut connection, candidates).await?;
        drop(connection);
        let metadata = Metadata::of_bulk_action(action.tenant_id, request.requested_by, action.id);
        let (mut action, mut appends) = (*action, vec![]);
        for candidate in candidates {
            let facts = streams.remove(&candidate.id.0).unwrap_or_default();
            if running.has_selected(&facts) {
                let (version, event) = fold(facts);
                match event.decide(request.action.command(clock::now())) {
                    Ok(facts) => {
                        let append =
                            StreamAppend::new::<WebhookEvent>(candidate.id.0, version, &facts, &metadata);
                        appends.push((candidate.id, append.map_err(StepFailure::other)?));
                    }
                    Err(refusal) => {
                        action.progress.counts.refused.count(refusal).map_err(StepFailure::other)?;
                    }
                }
            }
            let after = AcceptancePosition { accepted_at: candidate.accepted_at, id: candidate.id };
            action.progress.after = Some(after);
        }
        let needs_payloads = request.action == EventAction::Replay;
        Ok(Some(BulkStep { action, appends, needs_payloads, rate_per_second: request.rate_per_second }))
    }

    async fn complete(&self, running: &Running) -> anyhow::Result<()> {
        let Running { action, .. } = running;
        let counts = action.progress.counts;
        let command = BulkActionCommand::Complete(BulkActionResult { counts, at: clock::now() });
        let metadata = Metadata::of_role(action.tenant_id, ROLE);
        self.store.complete_bulk_action(action, command, &metadata).await.context("it was not completed")?;
        let BulkActionProgress { id, tenant_id, .. } = action;
        tracing::info!(bulk_action.id = %id, tenant.id = %tenant_id, done = counts.done, "a bulk action is completed");
        Ok(())
    }
}

impl Running {
    /// Returns whether an event with these facts was in the selection at the request.
    fn has_selected(&self, facts: &[LoggedFact]) -> bool {
        let before = facts.iter().take_while(|fact| fact.position < self.requested);
        let status = before.fold(None, |status, logged| match &logged.fact {
            Fact::WebhookEvent(fact) => EventStatus::after(fact).or(status),
            _ => status,
        });
        status.is_some_and(|status| self.filter.status.is_none_or(|wanted| wanted == status))
    }
}

/// Failure of a step.
#[derive(Debug, thiserror::Error)]
enum StepFailure {
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
    #[error("what is stored cannot be carried out")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl StepFailure {
    fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }
}

/// Returns whether the read models of events show what the log had at `position`.
async fn is_shown(connection: &mut PgConnection, position: LogPosition) -> Result<bool, sqlx::Error> {
    let names = READ_MODELS.map(Projection::name);
    let checkpoints = checkpoints::load(connection, &names).await?;
    let shows = |checkpoint: &&checkpoints::Checkpoint| {
        checkpoint.halted_because.is_none() && checkpoint.position >= position
    };
    Ok(checkpoints.iter().filter(shows).count() == names.len())
}

/// Returns the first of the candidates, with at most `ready_max` that are likely to take the action.
fn first(candidates: &[BulkCandidate], ready_max: u32) -> &[BulkCandidate] {
    let mut ready = 0;
    let few_enough = candidates.iter().take_while(|candidate| {
        ready += u32::from(candidate.is_ready);
        ready <= ready_max
    });
    &candidates[..few_enough.count()]
}

/// Returns the facts of each of the candidates.
async fn read(
    connection: &mut PgConnection,
    candidates: &[BulkCandidate],
) -> Result<HashMap<Uuid, Vec<LoggedFact>>, StepFailure> {
    let ids: Vec<Uuid> = candidates.iter().map(|candidate| candidate.id.0).collect();
    let mut streams: HashMap<Uuid, Vec<LoggedFact>> = HashMap::new();
    for row in stream_reader::read_streams::<WebhookEvent>(connection, &ids).await? {
        let logged = LoggedFact::try_from(row).map_err(StepFailure::other)?;
        streams.entry(logged.stream_id).or_default().push(logged);
    }
    Ok(streams)
}

/// Folds the facts of an event. Returns the version of its stream, and the event.
fn fold(facts: Vec<LoggedFact>) -> (u64, WebhookEvent) {
    let (mut version, mut event) = (0, WebhookEvent::default());
    for logged in facts {
        version = logged.sequence;
        if let Fact::WebhookEvent(fact) = logged.fact {
            event.apply(fact);
        }
    }
    (version, event)
}

fn count(action: EventAction, result: &'static str, events: u64) {
    let counter = metrics::counter!("hooksentry_bulk_action_events_total", "action" => action.name(), "result" => result);
    counter.increment(events);
}
