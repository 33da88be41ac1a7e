//! Appending to a webhook event on condition that its payload is still there, and stays there.
//!
//! A replay needs the payload that retention may be about to erase. Each asks the other to wait, for the
//! moment that either takes: so an event is never on its way again without anything to deliver.

use aggregates::ids::{TenantId, WebhookEventId};
use projections::{LogPosition, payloads, retention};

use super::EventStore;
use super::append::{self, AppendFailure, StreamAppend};
use super::log_notifier::Notification;

impl EventStore {
    /// Appends to the stream of `event_id`; `None`, and nothing is appended, when its payload is gone.
    pub async fn append_with_payload(
        &self,
        tenant_id: TenantId,
        event_id: WebhookEventId,
        append: StreamAppend,
    ) -> Result<Option<LogPosition>, AppendFailure> {
        let mut transaction = self.pool.begin().await?;
        retention::hold_off(&mut transaction, tenant_id).await?;
        // Asked after the wait: whoever erased has committed by now, and this statement sees it.
        if !payloads::is_there(&mut transaction, event_id).await? {
            return Ok(None);
        }
        let position = append::append_atomically(&mut transaction, &[append]).await?;
        transaction.commit().await?;
        self.notifier.announce(Notification::Work);
        Ok(Some(position))
    }
}
