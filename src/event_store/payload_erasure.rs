//! Erases the payload of a webhook event in the transaction that appends the fact about it.
//!
//! The append decides: an attempt or a replay that comes first takes the version of the stream, and then nothing is erased.

use aggregates::ids::{TenantId, WebhookEventId};
use projections::{LogPosition, payloads, retention};

use super::EventStore;
use super::append::{self, AppendFailure, StreamAppend};
use super::log_notifier::Notification;
use crate::database;

impl EventStore {
    /// Appends to the stream of `event_id`, and erases its payload and what is kept of the responses to its attempts.
    ///
    /// # Errors
    /// [`AppendFailure::Conflict`] when another append came first; other failures of the database. Nothing is erased then.
    pub async fn append_erasing(
        &self,
        tenant_id: TenantId,
        event_id: WebhookEventId,
        append: StreamAppend,
    ) -> Result<LogPosition, AppendFailure> {
        let position = database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            // Retention erases the same rows in another order.
            retention::hold_off(&mut transaction, tenant_id).await?;
            let position = append::append_atomically(&mut transaction, &[append]).await?;
            payloads::erase(&mut transaction, &[event_id]).await?;
            transaction.commit().await?;
            Ok::<_, AppendFailure>(position)
        })
        .await?;
        self.notifier.notify(Notification::Progress);
        Ok(position)
    }
}
