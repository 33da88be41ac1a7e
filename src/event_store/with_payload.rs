//! Appends to a webhook event on condition that its payload still exists, and keeps existing.
//!
//! A replay needs the payload that retention may be about to erase. Replay and retention exclude each other
//! by a lock of the tenant, so an event is never in delivery again without a payload.

use aggregates::ids::{TenantId, WebhookEventId};
use projections::{LogPosition, payloads, retention};

use super::EventStore;
use super::append::{self, AppendFailure, StreamAppend};
use super::log_notifier::Notification;
use crate::database;

impl EventStore {
    /// Appends to the stream of `event_id`. Returns `None`, and appends nothing, when its payload was erased.
    ///
    /// # Errors
    /// [`AppendFailure::Conflict`] when another append came first; other failures of the database.
    pub async fn append_with_payload(
        &self,
        tenant_id: TenantId,
        event_id: WebhookEventId,
        append: StreamAppend,
    ) -> Result<Option<LogPosition>, AppendFailure> {
        let position = database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            retention::hold_off(&mut transaction, tenant_id).await?;
            // Only now: a retention pass that held the lock has committed, and this statement sees what it
            // erased.
            if !payloads::is_there(&mut transaction, event_id).await? {
                return Ok(None);
            }
            let position = append::append_atomically(&mut transaction, &[append]).await?;
            transaction.commit().await?;
            Ok::<_, AppendFailure>(Some(position))
        })
        .await?;
        if position.is_some() {
            self.notifier.notify(Notification::NewWork);
        }
        Ok(position)
    }
}
