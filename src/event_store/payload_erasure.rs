//! Erases the payload of a webhook event in the transaction that appends the fact about it.
//!
//! The append decides: an attempt or a replay that comes first takes the version of the stream, and then nothing is erased.

use aggregates::erasure::{Erasure, ErasureFact};
use aggregates::ids::{DestinationId, ErasureId, TenantId, WebhookEventId};
use projections::legal_holds::{self, LegalHold};
use projections::{LogPosition, erasures, payloads, retention};
use sqlx::PgConnection;
use thiserror::Error;

use super::append::{self, AppendFailure, StreamAppend};
use super::log_notifier::Notification;
use super::{EventStore, Metadata};
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

/// Appends to the streams of `events` and to others, and erases the payloads of `events`, in the caller's transaction. The
/// caller has excluded everything else from erasing them, and has read the legal holds since.
///
/// # Errors
/// [`AppendFailure::Conflict`] when another append came first; other failures of the database.
pub async fn append_erasures(
    connection: &mut PgConnection,
    appends: &[StreamAppend],
    events: &[WebhookEventId],
) -> Result<(), AppendFailure> {
    if appends.iter().any(|append| !append.is_empty()) {
        append::append_atomically(connection, appends).await?;
    }
    payloads::erase(connection, events).await?;
    Ok(())
}

impl EventStore {
    /// Appends the request of an erasure, and adds it to those that are in progress.
    ///
    /// # Errors
    /// When the facts cannot be written as JSON, or the database fails.
    pub async fn request_erasure(
        &self,
        tenant_id: TenantId,
        id: ErasureId,
        facts: &[ErasureFact],
        metadata: &Metadata,
    ) -> Result<(), AppendFailure> {
        let append = StreamAppend::new::<Erasure>(id.0, 0, facts, metadata)?;
        database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            append::append_atomically(&mut transaction, &[append]).await?;
            erasures::add(&mut transaction, id, tenant_id).await?;
            transaction.commit().await?;
            Ok::<_, AppendFailure>(())
        })
        .await?;
        self.notifier.notify(Notification::Progress);
        Ok(())
    }

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
