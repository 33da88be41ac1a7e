//! Retention: what need not be kept any longer is removed, a little at a time.
//!
//! A tenant says how many days after their acceptance the payloads of its events are erased, and the events
//! leave the read models. Only what has ended goes; what is still on its way stays, however old, and goes
//! when it ends. The log keeps every fact.
//!
//! A pass visits each tenant that forgets anything: first payloads, oldest first, up to the day that is
//! over; then those that were on their way when their day was over and have ended since (the exceptions);
//! then events. Each step is one short transaction that removes a bounded number of bytes and rows and moves
//! the tenant's floor, so that a crash, or another leader, goes on where it ended. After a step the
//! projector rests for a multiple of the time it took, and folds meanwhile.
//!
//! A step runs between two pages, on the projector's own connection, and holds the checkpoints: nobody
//! folds, and nobody puts new rows in place of the old ones, while it removes some. It keeps replays out
//! while it lasts, and erases no payload of an event of which the log knows more than its row: somebody
//! may have replayed it.

use std::collections::VecDeque;
use std::time::Duration;

use aggregates::ids::{TenantId, WebhookEventId};
use chrono::{DateTime, TimeDelta, Utc};
use projections::checkpoints::{self, CheckpointFailure};
use projections::retention::{self, Place};
use projections::tenants::{self, TenantWithRetention};
use projections::webhook_events::{self, RetentionCandidate};
use projections::{Projection, delivery_attempts, payloads};
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use crate::event_store;

/// The read models that events leave.
pub(super) const READ_MODELS: [Projection; 2] = [Projection::WebhookEvents, Projection::DeliveryAttempts];
/// How far the read models may be behind the log. Nothing expires within a day.
pub(super) const LAG_MAX: TimeDelta = TimeDelta::hours(1);

/// Tenants read at once.
const TENANTS_MAX: i64 = 100;
/// Events looked at in one step.
const EVENTS_READ: usize = 500;
const EVENTS_MAX: i64 = EVENTS_READ as i64;
/// Bytes of payloads erased in one step; a single payload may be larger.
const BYTES_MAX: u64 = 8 << 20;
/// How much longer than a step the projector rests after it.
const REST_FACTOR: u32 = 4;
/// The shortest rest.
const REST_MIN: Duration = Duration::from_millis(20);

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub payloads: u64,
    /// Events removed from the read models.
    pub events: u64,
    /// Attempts removed with them.
    pub attempts: u64,
    /// Whether the pass goes on.
    pub more: bool,
}

/// When steps are made.
#[derive(Debug)]
pub(super) struct Pacing {
    every: Duration,
    next: Instant,
}

impl Pacing {
    pub(super) fn every(every: Duration) -> Self {
        Self { every, next: Instant::now() }
    }

    pub(super) fn is_due(&self) -> bool {
        self.wait().is_zero()
    }

    /// How long to wait for the next step.
    pub(super) fn wait(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Takes note of a step.
    pub(super) fn rest(&mut self, took: Duration, removed: Removed) {
        let rest = if removed.more { (took * REST_FACTOR).max(REST_MIN) } else { self.every };
        self.next = Instant::now() + rest;
    }
}

/// How far the pass has come.
#[derive(Debug, Default)]
pub(super) struct Retention {
    /// Tenants to be visited, the present one first.
    tenants: VecDeque<TenantWithRetention>,
    /// The last tenant that was read.
    read_until: Option<TenantId>,
    stage: Stage,
}

/// What is looked at for the present tenant.
#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    #[default]
    Payloads,
    Stragglers(Option<WebhookEventId>),
    Events,
}

impl Retention {
    /// One short transaction. A failure that is not the end of the lead ends the pass; the next one begins
    /// anew.
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
            // New rows are about to take the place of the old ones, in a moment.
            Err(CheckpointFailure::Held) => Ok(Removed { more: true, ..Removed::default() }),
            Err(CheckpointFailure::Database(error)) => {
                *self = Self::default();
                metrics::counter!("hooksentry_retention_failures_total").increment(1);
                tracing::error!(error = %error, "what is too old is not removed; it is tried again");
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
            let read = tenants::with_retention(connection, self.read_until, TENANTS_MAX).await?;
            self.read_until = read.last().map(|tenant| tenant.id);
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
            Ok(Some(goes_on)) => {
                transaction.commit().await?;
                self.go_on(goes_on);
                Ok(removed)
            }
            // At once, and not when the connection is used again: others wait for the checkpoints.
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

    /// Removes something of a tenant; `None`: not now, somebody keeps it from doing so for a moment.
    async fn remove(
        &self,
        connection: &mut PgConnection,
        epoch: u64,
        tenant: TenantWithRetention,
        now: DateTime<Utc>,
        removed: &mut Removed,
    ) -> Result<Option<Option<Stage>>, CheckpointFailure> {
        checkpoints::keep(connection, &READ_MODELS.map(Projection::name), epoch).await?;
        if !retention::begin(connection, tenant.id).await? {
            return Ok(None);
        }
        let goes_on = match self.stage {
            Stage::Payloads => erase_payloads(connection, tenant, now, removed).await?,
            Stage::Stragglers(after) => visit_stragglers(connection, tenant, after, removed).await?,
            Stage::Events => remove_events(connection, tenant, now, removed).await?,
        };
        Ok(Some(goes_on))
    }

    /// The same again, or what comes next.
    fn go_on(&mut self, same: Option<Stage>) {
        self.stage = match (same, self.stage) {
            (Some(stage), _) => stage,
            (None, Stage::Payloads) => Stage::Stragglers(None),
            (None, Stage::Stragglers(_)) => Stage::Events,
            (None, Stage::Events) => {
                self.tenants.pop_front();
                Stage::Payloads
            }
        };
    }
}

/// Erases the payloads of the oldest events above the floor. What of them has not ended is a straggler.
async fn erase_payloads(
    connection: &mut PgConnection,
    tenant: TenantWithRetention,
    now: DateTime<Utc>,
    removed: &mut Removed,
) -> Result<Option<Stage>, sqlx::Error> {
    let Some(before) = days_before(now, tenant.retention.payload_days_at_most()) else { return Ok(None) };
    let floor = retention::floor(connection, tenant.id).await?.payloads;
    let aged = webhook_events::candidates(connection, tenant.id, floor, before, EVENTS_MAX).await?;
    let all = aged.len() < EVENTS_READ;
    let taken = as_many_as_fit(connection, &aged).await?;
    let (ended, on_their_way): (Vec<RetentionCandidate>, Vec<RetentionCandidate>) =
        taken.iter().partition(|event| event.ended);
    retention::note_stragglers(connection, tenant.id, &ids_of(&on_their_way)).await?;
    removed.payloads += payloads::erase(connection, &ids_of(&ended)).await?;
    let goes_on = !all || taken.len() < aged.len();
    let place = match taken.last() {
        Some(last) if goes_on => Place { accepted_at: last.accepted_at, id: last.id },
        _ => Place::before(before),
    };
    retention::raise_payloads(connection, tenant.id, place).await?;
    Ok(goes_on.then_some(Stage::Payloads))
}

/// Erases the payloads of exceptions that have ended.
async fn visit_stragglers(
    connection: &mut PgConnection,
    tenant: TenantWithRetention,
    after: Option<WebhookEventId>,
    removed: &mut Removed,
) -> Result<Option<Stage>, sqlx::Error> {
    let exceptions = retention::exceptions(connection, tenant.id, after, EVENTS_MAX).await?;
    let Some(last) = exceptions.last() else { return Ok(None) };
    let ended = webhook_events::ended_among(connection, &exceptions).await?;
    let taken = ids_of(as_many_as_fit(connection, &ended).await?);
    removed.payloads += payloads::erase(connection, &taken).await?;
    retention::forget_stragglers(connection, tenant.id, &taken).await?;
    // Those that did not fit are visited again at once.
    Ok(Some(Stage::Stragglers(if taken.len() == ended.len() { Some(*last) } else { after })))
}

/// Removes the oldest events that have ended, with their attempts and whatever is left of their payloads.
async fn remove_events(
    connection: &mut PgConnection,
    tenant: TenantWithRetention,
    now: DateTime<Utc>,
    removed: &mut Removed,
) -> Result<Option<Stage>, sqlx::Error> {
    let Some(before) = days_before(now, tenant.retention.event_days) else { return Ok(None) };
    let aged = webhook_events::ended(connection, tenant.id, before, EVENTS_MAX).await?;
    let all = aged.len() < EVENTS_READ;
    // Of those that have not ended after all the row is a moment behind; the next pass finds them.
    let ended: Vec<RetentionCandidate> = aged.iter().filter(|event| event.ended).copied().collect();
    let taken = as_many_as_fit(connection, &ended).await?;
    let goes_on = !taken.is_empty() && (!all || taken.len() < ended.len());
    let floor = match taken.last() {
        // The last one is below it; it may not be the only one of its moment.
        Some(last) if goes_on => last.accepted_at + TimeDelta::microseconds(1),
        _ => before,
    };
    let taken = ids_of(taken);
    removed.payloads += payloads::erase(connection, &taken).await?;
    retention::forget_stragglers(connection, tenant.id, &taken).await?;
    removed.attempts += delivery_attempts::remove(connection, &taken).await?;
    removed.events += webhook_events::remove(connection, &taken).await?;
    retention::raise_events(connection, tenant.id, floor).await?;
    Ok(goes_on.then_some(Stage::Events))
}

/// The first of `events` whose payloads are not too much for one step together, at least one.
async fn as_many_as_fit<'a>(
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
