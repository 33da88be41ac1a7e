//! Erasures of many payloads on request, carried out in steps.
//!
//! A step is one short transaction for at most [`EVENTS_MAX`] events of one erasure: it appends their facts, deletes their
//! payloads and moves the erasure's progress, so another leader continues after the last step, and no event is erased
//! twice. Erasures take turns. A step runs between two pages, as a step of retention does, and keeps the checkpoints
//! from moving; it waits until the read models show all events that were accepted before the request.
//!
//! An event with an attempt in progress is waited for. A hold on the tenant stops its erasures until it is lifted; the
//! events of a destination under a hold are left out, and counted.

use std::collections::HashMap;

use aggregates::Decide;
use aggregates::erasure::{Erasure, ErasureCommand, ErasureRequest, ErasureResult};
use aggregates::fact::Fact;
use aggregates::webhook_event::{WebhookEvent, WebhookEventCommand, WebhookEventRefusal};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use projections::checkpoints::{self, CheckpointFailure};
use projections::erasures::{self, ErasureInProgress, Progress};
use projections::legal_holds::{self, LegalHolds};
use projections::retention::{self, AcceptancePosition};
use projections::webhook_events::{self, ErasureCandidate, EventStatus, Filter};
use projections::{LogPosition, Projection};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::retention::{READ_MODELS, Removed};
use crate::event_store::{self, AppendFailure, Loaded, Metadata, StreamAppend, stream_reader};

/// Events examined in one step.
const EVENTS_READ: usize = 100;
const EVENTS_MAX: i64 = EVENTS_READ as i64;
const ROLE: &str = "projector";

/// Runs one step of the erasure whose turn it is, if one is in progress. `shown` is the position that the read models have
/// reached. A failure of the database is logged, and the step is repeated later.
///
/// # Errors
/// [`CheckpointFailure::Fenced`] when another process has taken the lead.
pub(super) async fn step(
    connection: &mut PgConnection,
    epoch: u64,
    shown: LogPosition,
    now: DateTime<Utc>,
) -> Result<Removed, CheckpointFailure> {
    match try_step(connection, epoch, shown, now).await {
        Ok(removed) => {
            metrics::counter!("hooksentry_erased_payloads_total").increment(removed.payloads);
            Ok(removed)
        }
        Err(CheckpointFailure::Fenced) => Err(CheckpointFailure::Fenced),
        // A rebuild is about to swap the tables.
        Err(CheckpointFailure::Held) => Ok(Removed { more: true, ..Removed::default() }),
        Err(CheckpointFailure::Database(error)) => {
            metrics::counter!("hooksentry_erasure_failures_total").increment(1);
            tracing::error!(error = %error, "an erasure failed, will retry after the others");
            // The step took the turn in the transaction that was rolled back.
            if let Err(error) = erasures::take_turn(connection).await {
                tracing::error!(error = %error, "the next erasure did not get its turn");
            }
            Ok(Removed::default())
        }
    }
}

async fn try_step(
    connection: &mut PgConnection,
    epoch: u64,
    shown: LogPosition,
    now: DateTime<Utc>,
) -> Result<Removed, CheckpointFailure> {
    if !erasures::is_any_in_progress(connection).await? {
        return Ok(Removed::default());
    }
    let mut transaction = connection.begin().await?;
    // The session does not wait for the disk, because read models can be folded again. These facts cannot.
    sqlx::query!(
        r#"
        SELECT
            set_config('statement_timeout', '10s', true) AS statement,
            set_config('lock_timeout', '2s', true) AS lock,
            set_config('synchronous_commit', reset_val, true) AS commit
        FROM pg_settings
        WHERE name = 'synchronous_commit'
        "#
    )
    .fetch_one(&mut *transaction)
    .await?;
    match erase(&mut transaction, epoch, shown, now).await {
        Ok(Some(removed)) => {
            transaction.commit().await?;
            Ok(removed)
        }
        Ok(None) => {
            transaction.rollback().await?;
            Ok(Removed { more: true, ..Removed::default() })
        }
        Err(failure) => {
            transaction.rollback().await?;
            Err(failure)
        }
    }
}

/// Carries out one step. Returns `None` if another append came first, so that everything is decided again.
async fn erase(
    connection: &mut PgConnection,
    epoch: u64,
    shown: LogPosition,
    now: DateTime<Utc>,
) -> Result<Option<Removed>, CheckpointFailure> {
    checkpoints::keep(connection, &READ_MODELS.map(Projection::name), epoch).await?;
    let Some(erasure) = erasures::take_turn(connection).await? else { return Ok(Some(Removed::default())) };
    let rows = stream_reader::read::<Erasure>(connection, erasure.id.0).await?;
    let is_shown = rows.first().is_some_and(|request| request.log_position() <= shown);
    let loaded = stream_reader::fold::<Erasure>(rows, |fact| match fact {
        Fact::Erasure(fact) => Some(fact),
        _ => None,
    })
    .map_err(unreadable)?
    .remove(&erasure.id.0);
    let Some(Loaded { version, state: Erasure::Requested(request), .. }) = loaded else {
        return Ok(Some(Removed::default()));
    };
    if !is_shown || !retention::begin(connection, erasure.tenant_id).await? {
        return Ok(Some(Removed::default()));
    }
    // Only now: a hold is placed under the same lock, and this statement sees it.
    let holds = legal_holds::of_tenant(connection, erasure.tenant_id, None).await?;
    if holds.on_tenant().is_some() {
        return Ok(Some(Removed::default()));
    }
    let step = Step { erasure, request, version, holds, now };
    step.run(connection).await
}

/// One step of an erasure.
struct Step {
    erasure: ErasureInProgress,
    request: ErasureRequest,
    /// Version of the erasure's stream.
    version: u64,
    holds: LegalHolds,
    now: DateTime<Utc>,
}

impl Step {
    async fn run(self, connection: &mut PgConnection) -> Result<Option<Removed>, CheckpointFailure> {
        let Self { erasure, .. } = &self;
        let filter = filter(&self.request)?;
        let after = erasure.progress.after;
        let candidates =
            webhook_events::to_erase(connection, erasure.tenant_id, filter, after, EVENTS_MAX).await?;
        let (mut progress, mut appends, mut erased) = (erasure.progress, vec![], vec![]);
        let mut events = self.load(connection, &candidates).await?;
        let mut is_stopped = false;
        for event in &candidates {
            let held = self.holds.covering(event.destination_id).is_some();
            match events.remove(&event.id.0) {
                None => {}
                Some(_) if held => progress.kept += 1,
                Some(Loaded { version, state, .. }) => match state.decide(self.command()) {
                    Ok(facts) => {
                        appends.push(self.append::<WebhookEvent>(event.id.0, version, &facts)?);
                        erased.push(event.id);
                    }
                    Err(WebhookEventRefusal::AttemptInProgress) => {
                        is_stopped = true;
                        break;
                    }
                    Err(refusal) => return Err(unreadable(refusal)),
                },
            }
            progress.after = Some(AcceptancePosition { accepted_at: event.accepted_at, id: event.id });
        }
        progress.erased += erased.len() as u64;
        progress.is_completed = !is_stopped && candidates.len() < EVENTS_READ;
        if progress.is_completed {
            appends.push(self.completed(progress)?);
        }
        match event_store::append_erasures(connection, &appends, &erased).await {
            Ok(()) => {}
            Err(AppendFailure::Conflict) => return Ok(None),
            Err(AppendFailure::Database(error)) => return Err(error.into()),
            Err(failure @ AppendFailure::Unwritable(_)) => return Err(unreadable(failure)),
        }
        erasures::advance(connection, erasure.id, progress).await?;
        let more = progress.is_completed || progress.after != after;
        Ok(Some(Removed { payloads: erased.len() as u64, more, ..Removed::default() }))
    }

    fn command(&self) -> WebhookEventCommand {
        WebhookEventCommand::ErasePayload {
            reason: self.request.reason.clone(),
            requested_by: Some(self.request.requested_by),
            at: self.now,
        }
    }

    fn completed(&self, progress: Progress) -> Result<StreamAppend, CheckpointFailure> {
        let result = ErasureResult { erased: progress.erased, kept: progress.kept, at: self.now };
        let requested = Erasure::Requested(self.request.clone());
        let facts = requested.decide(ErasureCommand::Complete(result)).map_err(unreadable)?;
        self.append::<Erasure>(self.erasure.id.0, self.version, &facts)
    }

    fn append<A: Aggregate>(
        &self,
        id: Uuid,
        version: u64,
        facts: &[A::Event],
    ) -> Result<StreamAppend, CheckpointFailure> {
        let metadata = Metadata::of_role(self.erasure.tenant_id, ROLE);
        StreamAppend::new::<A>(id, version, facts, &metadata).map_err(unreadable)
    }

    /// Loads those of the candidates whose payloads are stored.
    async fn load(
        &self,
        connection: &mut PgConnection,
        candidates: &[ErasureCandidate],
    ) -> Result<HashMap<Uuid, Loaded<WebhookEvent>>, CheckpointFailure> {
        let ids: Vec<Uuid> =
            candidates.iter().filter(|event| event.has_payload).map(|event| event.id.0).collect();
        let rows = stream_reader::read_streams::<WebhookEvent>(connection, &ids).await?;
        stream_reader::fold::<WebhookEvent>(rows, |fact| match fact {
            Fact::WebhookEvent(fact) => Some(fact),
            _ => None,
        })
        .map_err(unreadable)
    }
}

/// Returns the events in the scope of a request: none that was accepted after it.
fn filter(request: &ErasureRequest) -> Result<Filter, CheckpointFailure> {
    let scope = &request.scope;
    let status = match scope.status.as_deref() {
        None => None,
        Some(name) => Some(EventStatus::from_name(name).ok_or_else(|| unreadable(format!("status {name}")))?),
    };
    let to = scope.to.map_or(request.at, |to| to.min(request.at));
    let (destination_id, from) = (scope.destination_id, scope.from);
    Ok(Filter { status, destination_id, from, to: Some(to), ..Filter::default() })
}

fn unreadable(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CheckpointFailure {
    CheckpointFailure::Database(sqlx::Error::Decode(error.into()))
}
