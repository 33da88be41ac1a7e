//! Bulk actions: their requests and changes of state, and the steps in which they are carried out.
//!
//! The row of a bulk action moves in the transaction that appends: after a crash each step was carried out wholly or not at
//! all. A change of the state locks the row, so that nothing is done to an event after a pause or a cancellation was
//! answered.

use std::collections::HashMap;
use std::time::Duration;

use aggregates::bulk_action::{
    BulkAction, BulkActionCommand, BulkActionCounts, BulkActionFact, BulkActionRefusal,
};
use aggregates::fact::Fact;
use aggregates::ids::{BulkActionId, TenantId, WebhookEventId};
use aggregates::webhook_event::WebhookEventRefusal;
use chrono::{DateTime, Utc};
use projections::bulk_actions::{self, BulkActionProgress, BulkActionState, Progress};
use projections::{LogRow, UnreadableRow, payloads, retention};
use sqlx::PgConnection;
use thiserror::Error;
use uuid::Uuid;

use super::append::{self, AppendFailure, StreamAppend};
use super::log_notifier::Notification;
use super::{EventStore, Loaded, Metadata, mark_non_appending, stream_reader};
use crate::database;

/// Error of a request or a change of a bulk action; nothing was appended.
#[derive(Debug, Error)]
pub enum BulkActionFailure {
    /// The tenant has as many in progress as it may have.
    #[error("the tenant has as many bulk actions in progress as it may have")]
    TooMany,
    #[error(transparent)]
    Refused(#[from] BulkActionRefusal),
    #[error(transparent)]
    Unreadable(#[from] UnreadableRow),
    #[error(transparent)]
    Append(#[from] AppendFailure),
}

impl From<sqlx::Error> for BulkActionFailure {
    fn from(error: sqlx::Error) -> Self {
        Self::Append(error.into())
    }
}

impl From<serde_json::Error> for BulkActionFailure {
    fn from(error: serde_json::Error) -> Self {
        Self::Append(error.into())
    }
}

/// A step of a bulk action, decided and not stored yet.
#[derive(Debug)]
pub struct BulkStep {
    /// The bulk action with the progress after the step, without the events in `appends`.
    pub action: BulkActionProgress,
    /// Appends to the streams of events.
    pub appends: Vec<(WebhookEventId, StreamAppend)>,
    /// Whether an event without a payload refuses the action.
    pub needs_payloads: bool,
    /// Events that are replayed or cancelled in a second.
    pub rate_per_second: u32,
}

/// Result of storing a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredStep {
    /// What was done to the events of the step, and to those before.
    Stored(BulkActionCounts),
    /// Nothing was stored: the bulk action was paused or has ended, or another process has stored the step.
    Superseded,
}

impl EventStore {
    /// Appends the request of a bulk action, unless `in_progress_max` of the tenant are in progress.
    ///
    /// # Errors
    /// [`BulkActionFailure::TooMany`], and failures of the database.
    pub async fn request_bulk_action(
        &self,
        tenant_id: TenantId,
        id: BulkActionId,
        facts: &[BulkActionFact],
        requested_at: DateTime<Utc>,
        in_progress_max: u32,
        metadata: &Metadata,
    ) -> Result<(), BulkActionFailure> {
        let append = StreamAppend::new::<BulkAction>(id.0, 0, facts, metadata)?;
        database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            if bulk_actions::in_progress(&mut transaction, tenant_id).await? >= i64::from(in_progress_max) {
                return Err(BulkActionFailure::TooMany);
            }
            append::append_atomically(&mut transaction, &[append]).await?;
            bulk_actions::add(&mut transaction, id, tenant_id, requested_at).await?;
            transaction.commit().await?;
            Ok(())
        })
        .await?;
        self.notifier.notify(Notification::Progress);
        Ok(())
    }

    /// Executes the command that follows from what has been done so far, and returns the bulk action after it.
    ///
    /// # Errors
    /// The refusal of the domain, and failures of the database.
    pub async fn change_bulk_action(
        &self,
        tenant_id: TenantId,
        id: BulkActionId,
        command: impl FnOnce(BulkActionCounts) -> BulkActionCommand + Send,
        metadata: &Metadata,
    ) -> Result<(BulkAction, Progress), BulkActionFailure> {
        let changed = database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            let locked = bulk_actions::lock(&mut transaction, tenant_id, id).await?;
            let progress = locked.ok_or(BulkActionRefusal::NotRequested)?;
            let changed = change(&mut transaction, id, command(progress.counts), metadata).await?;
            transaction.commit().await?;
            Ok::<_, BulkActionFailure>((changed.0, Progress { state: changed.1, ..progress }))
        })
        .await?;
        self.notifier.notify(Notification::Progress);
        Ok(changed)
    }

    /// Ends a bulk action that has examined all of its events, unless its progress is not `action.progress` any more.
    ///
    /// # Errors
    /// Failures of the database.
    pub async fn complete_bulk_action(
        &self,
        action: &BulkActionProgress,
        command: BulkActionCommand,
        metadata: &Metadata,
    ) -> Result<(), BulkActionFailure> {
        let BulkActionProgress { id, tenant_id, progress } = *action;
        database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            if bulk_actions::lock(&mut transaction, tenant_id, id).await? != Some(progress) {
                return Ok(());
            }
            change(&mut transaction, id, command, metadata).await?;
            transaction.commit().await?;
            Ok::<_, BulkActionFailure>(())
        })
        .await?;
        self.notifier.notify(Notification::Progress);
        Ok(())
    }

    /// Appends to the streams of the events of a step, and moves the bulk action.
    ///
    /// # Errors
    /// [`AppendFailure::Conflict`] when another append to one of the streams came first; other failures of the database.
    pub async fn store_bulk_step(&self, step: BulkStep) -> Result<StoredStep, AppendFailure> {
        let appends = !step.appends.is_empty();
        let stored = database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            let stored = store(&mut transaction, step).await;
            match stored {
                Ok(StoredStep::Stored(_)) => transaction.commit().await?,
                // At once, not when the connection is used next: the step may be decided again.
                Ok(StoredStep::Superseded) | Err(_) => transaction.rollback().await?,
            }
            stored
        })
        .await?;
        if appends {
            self.notifier.notify(Notification::NewWork);
        }
        Ok(stored)
    }
}

async fn store(connection: &mut PgConnection, step: BulkStep) -> Result<StoredStep, AppendFailure> {
    let BulkStep { action, mut appends, needs_payloads, rate_per_second } = step;
    let mut progress = action.progress;
    if needs_payloads && !appends.is_empty() {
        retention::hold_off(connection, action.tenant_id).await?;
        // Only now: a retention pass that held the lock has committed, and this statement sees what it erased.
        let ids: Vec<_> = appends.iter().map(|(id, _)| *id).collect();
        let stored = payloads::stored(connection, &ids).await?;
        appends.retain(|(id, _)| stored.contains_key(id));
        let erased = ids.len() - appends.len();
        for _ in 0..erased {
            // A replay is refused for this reason.
            let _counted = progress.counts.refused.count(WebhookEventRefusal::PayloadIsErased);
        }
    }
    progress.counts.done += appends.len() as u64;
    let done = u32::try_from(appends.len()).unwrap_or(u32::MAX);
    let pause = Duration::from_secs_f64(f64::from(done) / f64::from(rate_per_second.max(1)));
    if appends.is_empty() {
        mark_non_appending(connection).await?;
    }
    if !bulk_actions::advance(connection, action.id, &progress, pause).await? {
        return Ok(StoredStep::Superseded);
    }
    if !appends.is_empty() {
        let appends: Vec<_> = appends.into_iter().map(|(_, append)| append).collect();
        append::append_atomically(connection, &appends).await?;
    }
    Ok(StoredStep::Stored(progress.counts))
}

/// Executes a command of a bulk action that is locked, and returns it with its state.
async fn change(
    connection: &mut PgConnection,
    id: BulkActionId,
    command: BulkActionCommand,
    metadata: &Metadata,
) -> Result<(BulkAction, BulkActionState), BulkActionFailure> {
    let rows = stream_reader::read::<BulkAction>(connection, id.0).await?;
    let loaded = fold(rows)?.remove(&id.0);
    let mut loaded = loaded.ok_or(BulkActionRefusal::NotRequested)?;
    let version = loaded.version;
    let facts = loaded.decide(command)?;
    let state = match &loaded.state {
        BulkAction::Unknown => return Err(BulkActionRefusal::NotRequested.into()),
        BulkAction::Running(_) => BulkActionState::Running,
        BulkAction::Paused(_) => BulkActionState::Paused,
        BulkAction::Cancelled(..) => BulkActionState::Cancelled,
        BulkAction::Completed(..) => BulkActionState::Completed,
    };
    if !facts.is_empty() {
        let append = StreamAppend::new::<BulkAction>(id.0, version, &facts, metadata)?;
        append::append_atomically(connection, &[append]).await?;
        bulk_actions::set_state(connection, id, state).await?;
    }
    Ok((loaded.state, state))
}

/// Folds the facts of bulk actions.
///
/// # Errors
/// A fact cannot be read.
pub fn fold(rows: Vec<LogRow>) -> Result<HashMap<Uuid, Loaded<BulkAction>>, UnreadableRow> {
    stream_reader::fold(rows, |fact| match fact {
        Fact::BulkAction(fact) => Some(fact),
        _ => None,
    })
}
