//! Erases the payload of a webhook event in the transaction that appends the fact about it.
//!
//! The append decides: an attempt or a replay that comes first takes the version of the stream, and then nothing is erased.

use aggregates::ids::{DestinationId, TenantId, WebhookEventId};
use projections::legal_holds::{self, LegalHold};
use projections::{LogPosition, payloads, retention};
use thiserror::Error;

use super::EventStore;
use super::append::{self, AppendFailure, StreamAppend};
use super::log_notifier::Notification;
use crate::database;

/// Error of an erasure; nothing was erased.
#[derive(Debug, Error)]
pub enum ErasureFailure {
    #[error("a legal hold forbids it")]
    Held(LegalHold),
    #[error(transparent)]
    Append(#[from] AppendFailure),
}

impl From<sqlx::Error> for ErasureFailure {
    fn from(error: sqlx::Error) -> Self {
        Self::Append(error.into())
    }
}

impl EventStore {
    /// Appends to the stream of `event_id`, and erases its payload and what is kept of the responses to its attempts.
    ///
    /// # Errors
    /// [`ErasureFailure::Held`] under a legal hold of the tenant or the destination; [`AppendFailure::Conflict`] when
    /// another append came first; other failures of the database.
    pub async fn append_erasing(
        &self,
        tenant_id: TenantId,
        destination_id: DestinationId,
        event_id: WebhookEventId,
        append: StreamAppend,
    ) -> Result<LogPosition, ErasureFailure> {
        let position = database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            // Retention erases the same rows in another order.
            retention::hold_off(&mut transaction, tenant_id).await?;
            // Only now: a hold is placed under the same lock, and this statement sees it.
            let holds = legal_holds::of_tenant(&mut transaction, tenant_id, None).await?;
            if let Some(hold) = holds.covering(destination_id) {
                return Err(ErasureFailure::Held(hold.clone()));
            }
            let position = append::append_atomically(&mut transaction, &[append]).await?;
            payloads::erase(&mut transaction, &[event_id]).await?;
            transaction.commit().await?;
            Ok::<_, ErasureFailure>(position)
        })
        .await?;
        self.notifier.notify(Notification::Progress);
        Ok(position)
    }
}
