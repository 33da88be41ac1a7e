//! Retention: expired payloads and events are removed, a bounded number at a time.
//!
//! Each tenant has two limits, in days after acceptance: when the payloads of its events are erased, and when the
//! events leave the read models. Only events that have ended expire; an event that has not ended stays, however
//! old, until it ends. The log keeps every fact.
//!
//! A pass visits each tenant with a limit. It removes payloads first, oldest first, up to the limit; then the
//! payloads of events that had not ended when the limit passed them and have ended since (the exceptions); then
//! events. Each step is one short transaction that removes a bounded number of bytes and rows and raises the
//! tenant's floor, so another leader continues after the last step. After a step the projector pauses retention for
//! a multiple of the step's duration, and folds meanwhile.
//!
//! A step runs between two pages, on the projector's connection, and keeps the checkpoints from moving: neither
//! folding nor the swap of a rebuild runs at the same time. It excludes replays of the tenant's events, and erases
//! no payload of an event whose stream is longer than its row shows: that event may have been replayed.
//!
//! A tenant under a legal hold is left out, and its floors stay. The events of a destination under a legal hold become
//! exceptions when the floor of payloads passes them, and are examined again only when the hold is lifted.

use std::collections::VecDeque;
use std::time::Duration;

use aggregates::ids::{TenantId, WebhookEventId};
use chrono::{DateTime, TimeDelta, Utc};
use projections::checkpoints::{self, CheckpointFailure};
use projections::legal_holds::{self, LegalHolds};
use projections::retention::{self, AcceptancePosition};
use projections::tenants::{self, TenantWithRetention};
use projections::webhook_events::{self, RetentionCandidate};
use projections::{Projection, delivery_attempts, payloads};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use crate::event_store;

/// The read models from which events are removed.
pub(super) const READ_MODELS: [Projection; 2] = [Projection::WebhookEvents, Projection::DeliveryAttempts];
/// Most that the read models may be behind the log during retention. The shortest limit is a day.
pub(super) const LAG_MAX: TimeDelta = TimeDelta::hours(1);

/// Tenants loaded at once.
const TENANTS_MAX: i64 = 100;
/// Events examined in one step.
const EVENTS_READ: usize = 500;
const EVENTS_MAX: i64 = EVENTS_READ as i64;
/// Bytes of payloads erased in one step; a single payload may be larger.
const BYTES_MAX: u64 = 8 << 20;
/// Ratio of the pause after a step to the step's duration.
const PAUSE_FACTOR: u32 = 4;
/// The shortest pause after a step.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// What one step removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub payloads: u64,
    /// Events removed from the read models.
    pub events: u64,
    /// Attempts removed with them.
    pub attempts: u64,
    /// Whether the pass continues.
    pub more: bool,
}

/// Decides when the next step runs.
#[derive(Debug)]
pub(super) struct StepTimer {
    pass_interval: Duration,
    next: Instant,
}

impl StepTimer {
    /// Creates a timer that is due at once.
    pub(super) fn new(pass_interval: Duration) -> Self {
        Self { pass_interval, next: Instant::now() }
    }

    pub(super) fn is_due(&self) -> bool {
        self.wait().is_zero()
    }

    /// Returns the time until the next step.
    pub(super) fn wait(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Schedules the next step, after one that took this long.
    pub(super) fn record(&mut self, took: Duration, removed: Removed) {
        let pause = if removed.more { (took * PAUSE_FACTOR).max(PAUSE_MIN) } else { self.pass_interval };
        self.next = Instant::now() + pause;
    }
}

/// Progress of a pass.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// Tenants still to visit, the current one first.
    tenants: VecDeque<TenantWithRetention>,
    /// The last tenant that was loaded.
    loaded_until: Option<TenantId>,
    phase: Phase,
}

/// What is removed next for the current tenant.
#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    #[default]
    Payloads,
    /// Exceptions with a greater id.
    Exceptions(Option<WebhookEventId>),
    Events,
}

/// What the next step does.
#[derive(Clone, Copy, Debug)]
enum Next {
    Phase(Phase),
    /// It visits the next tenant.
    Tenant,
}

impl Retention {
    /// Runs one step, in one short transaction. A failure of the database is logged and ends the pass; the next pass
    /// visits all tenants again.
    ///
    /// # Errors
    ///
    /// [`CheckpointFailure::Fenced`] when another process has taken the lead.
    pub(super) async fn step(
        &mut self,
        connection: &mut PgConnection,
        epoch: u64,
        now: DateTime<Utc>,
    ) -> Result<Removed, CheckpointFailure> {
        match self.try_step(connection, epoch, now).await {
            Ok(removed) => {
                count("payloads", removed.payloads);
                count("events", removed.events);
                count("attempts", removed.attempts);
                Ok(removed)
            }
            Err(CheckpointFailure::Fenced) => Err(CheckpointFailure::Fenced),
            // A rebuild is about to swap the tables.
            Err(CheckpointFailure::Held) => Ok(Removed { more: true, ..Removed::default() }),
            Err(CheckpointFailure::Database(error)) => {
                *self = Self::default();
                metrics::counter!("hooksentry_retention_failures_total").increment(1);
                tracing::error!(error = %error, "retention failed, will retry with the next pass");
                Ok(Removed::default())
            }
        }
    }

    async fn try_step(
        &mut self,
        connection: &mut PgConnection,
        epoch: u64,
        now: DateTime<Utc>,
    ) -> Result<Removed, CheckpointFailure> {
        if self.tenants.is_empty() {
            let read = tenants::with_retention(connection, self.loaded_until, TENANTS_MAX).await?;
            self.loaded_until = read.last().map(|tenant| tenant.id);
            self.tenants = read.into();
        }
        let Some(tenant) = self.tenants.front().copied() else { return Ok(Removed::default()) };
        let mut transaction = connection.begin().await?;
        sqlx::query!(
            r#"
            SELECT
                set_config('statement_timeout', '10s', true) AS statement,
                set_config('lock_timeout', '2s', true) AS lock
            "#
        )
        .fetch_one(&mut *transaction)
        .await?;
        event_store::mark_non_appending(&mut transaction).await?;
        let mut removed = Removed { more: true, ..Removed::default() };
        match self.remove(&mut transaction, epoch, tenant, now, &mut removed).await {
            Ok(Some(next)) => {
                transaction.commit().await?;
                self.advance(next);
                Ok(removed)
            }
            // At once, not when the connection is used next: other sessions wait for the checkpoints.
            Ok(None) => {
                transaction.rollback().await?;
                Ok(removed)
            }
            Err(failure) => {
                transaction.rollback().await?;
                Err(failure)
            }
        }
    }

    /// Removes expired data of a tenant. Returns what the next step does; `None`: a replay, an erasure or a rebuild
    /// excludes retention at the moment.
    async fn remove(
        &self,
        connection: &mut PgConnection,
        epoch: u64,
        tenant: TenantWithRetention,
        now: DateTime<Utc>,
        removed: &mut Removed,
    ) -> Result<Option<Next>, CheckpointFailure> {
        checkpoints::keep(connection, &READ_MODELS.map(Projection::name), epoch).await?;
        if !retention::begin(connection, tenant.id).await? {
            return Ok(None);
        }
        // Only now: a hold is placed under the same lock, and this statement sees it.
        let holds = legal_holds::of_tenant(connection, tenant.id, None).await?;
        if holds.on_tenant().is_some() {
            return Ok(Some(Next::Tenant));
        }
        let same = match self.phase {
            Phase::Payloads => erase_payloads(connection, tenant, &holds, now, removed).await?,
            Phase::Exceptions(after) => erase_exceptions(connection, tenant, &holds, after, removed).await?,
            Phase::Events => remove_events(connection, tenant, &holds, now, removed).await?,
        };
        Ok(Some(match (same, self.phase) {
            (Some(phase), _) => Next::Phase(phase),
            (None, Phase::Payloads) => Next::Phase(Phase::Exceptions(None)),
            (None, Phase::Exceptions(_)) => Next::Phase(Phase::Events),
            (None, Phase::Events) => Next::Tenant,
        }))
    }

    fn advance(&mut self, next: Next) {
        self.phase = match next {
            Next::Phase(phase) => phase,
            Next::Tenant => {
                self.tenants.pop_front();
                Phase::Payloads
            }
        };
    }
}

/// Erases the payloads of the oldest events above the floor. Events that have not ended, and those that a hold keeps,
/// become exceptions.
async fn erase_payloads(
    connection: &mut PgConnection,
    tenant: TenantWithRetention,
    holds: &LegalHolds,
    now: DateTime<Utc>,
    removed: &mut Removed,
) -> Result<Option<Phase>, sqlx::Error> {
    let Some(before) = days_before(now, tenant.retention.payload_days_at_most()) else { return Ok(None) };
    let floor = retention::floor(connection, tenant.id).await?.payloads;
    let aged = webhook_events::candidates(connection, tenant.id, floor, before, EVENTS_MAX).await?;
    let all = aged.len() < EVENTS_READ;
    let taken = fitting(connection, &aged).await?;
    let free = set_held_aside(connection, tenant, holds, taken).await?;
    let (ended, not_ended): (Vec<RetentionCandidate>, Vec<RetentionCandidate>) =
        free.into_iter().partition(|event| event.ended);
    retention::add_exceptions(connection, tenant.id, &ids_of(&not_ended), None).await?;
    removed.payloads += payloads::erase(connection, &ids_of(&ended)).await?;
    let goes_on = !all || taken.len() < aged.len();
    let position = match taken.last() {
        Some(last) if goes_on => AcceptancePosition { accepted_at: last.accepted_at, id: last.id },
        _ => AcceptancePosition::before(before),
    };
    retention::raise_payloads(connection, tenant.id, position).await?;
    Ok(goes_on.then_some(Phase::Payloads))
}

/// Makes those of `events` that a hold keeps exceptions which are not examined until it is lifted, and returns the others.
async fn set_held_aside(
    connection: &mut PgConnection,
    tenant: TenantWithRetention,
    holds: &LegalHolds,
    events: &[RetentionCandidate],
) -> Result<Vec<RetentionCandidate>, sqlx::Error> {
    let mut free = events.to_vec();
    for destination in holds.held_destinations() {
        let held: Vec<RetentionCandidate> =
            free.extract_if(.., |event| event.destination_id == destination).collect();
        if !held.is_empty() {
            retention::add_exceptions(connection, tenant.id, &ids_of(&held), Some(destination)).await?;
        }
    }
    Ok(free)
}

/// Erases the payloads of exceptions that have ended since, and of those whose holds were lifted.
async fn erase_exceptions(
    connection: &mut PgConnection,
    tenant: TenantWithRetention,
    holds: &LegalHolds,
    after: Option<WebhookEventId>,
    removed: &mut Removed,
) -> Result<Option<Phase>, sqlx::Error> {
    let lifted = holds.lifted_destinations();
    if after.is_none() && retention::release_exceptions(connection, tenant.id, lifted, EVENTS_MAX).await? {
        return Ok(Some(Phase::Exceptions(None)));
    }
    let exceptions = retention::exceptions(connection, tenant.id, after, EVENTS_MAX).await?;
    let Some(last) = exceptions.last() else { return Ok(None) };
    let ended = webhook_events::ended_among(connection, &exceptions).await?;
    let ended = set_held_aside(connection, tenant, holds, &ended).await?;
    let taken = ids_of(fitting(connection, &ended).await?);
    removed.payloads += payloads::erase(connection, &taken).await?;
    retention::remove_exceptions(connection, tenant.id, &taken).await?;
    // Those that did not fit are visited by the next step.
    Ok(Some(Phase::Exceptions(if taken.len() == ended.len() { Some(*last) } else { after })))
}

/// Removes the oldest events that have ended, with their attempts and any payloads that are left.
async fn remove_events(
    connection: &mut PgConnection,
    tenant: TenantWithRetention,
    holds: &LegalHolds,
    now: DateTime<Utc>,
    removed: &mut Removed,
) -> Result<Option<Phase>, sqlx::Error> {
    let Some(before) = days_before(now, tenant.retention.event_days) else { return Ok(None) };
    let held = holds.held_destinations();
    let aged = match held.is_empty() {
        true => webhook_events::ended(connection, tenant.id, before, EVENTS_MAX).await?,
        false => webhook_events::ended_elsewhere(connection, tenant.id, &held, before, EVENTS_MAX).await?,
    };
    let all = aged.len() < EVENTS_READ;
    // The stream of some events is longer than their row shows; the next pass examines them again.
    let ended: Vec<RetentionCandidate> = aged.iter().filter(|event| event.ended).copied().collect();
    let taken = fitting(connection, &ended).await?;
    let goes_on = !taken.is_empty() && (!all || taken.len() < ended.len());
    let floor = match taken.last() {
        // The last event is below the floor; others may have been accepted in the same microsecond.
        Some(last) if goes_on => last.accepted_at + TimeDelta::microseconds(1),
        _ => before,
    };
    let taken = ids_of(taken);
    removed.payloads += payloads::erase(connection, &taken).await?;
    retention::remove_exceptions(connection, tenant.id, &taken).await?;
    removed.attempts += delivery_attempts::remove(connection, &taken).await?;
    removed.events += webhook_events::remove(connection, &taken).await?;
    retention::raise_events(connection, tenant.id, floor).await?;
    Ok(goes_on.then_some(Phase::Events))
}

/// Returns the first of `events` whose payloads together are not larger than [`BYTES_MAX`], and at least one event.
async fn fitting<'a>(
    connection: &mut PgConnection,
    events: &'a [RetentionCandidate],
) -> Result<&'a [RetentionCandidate], sqlx::Error> {
    let sizes = payloads::stored(connection, &ids_of(events)).await?;
    let mut bytes = 0_u64;
    let fit = events.iter().take_while(|event| {
        bytes = bytes.saturating_add(sizes.get(&event.id).copied().unwrap_or_default());
        bytes <= BYTES_MAX
    });
    Ok(&events[..fit.count().max(1).min(events.len())])
}

fn days_before(now: DateTime<Utc>, days: Option<u32>) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(TimeDelta::days(days?.into()))
}

fn ids_of(events: &[RetentionCandidate]) -> Vec<WebhookEventId> {
    events.iter().map(|event| event.id).collect()
}

fn count(what: &'static str, number: u64) {
    metrics::counter!("hooksentry_retention_removed_total", "what" => what).increment(number);
}
