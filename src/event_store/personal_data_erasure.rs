//! Erases the personal data of a user in the transaction that appends the fact about it.

use aggregates::ids::{TenantId, UserId};
use projections::{LogPosition, legal_holds, personal_data, retention};

use super::EventStore;
use super::append::{self, StreamAppend};
use super::log_notifier::Notification;
use super::payload_erasure::ErasureFailure;
use crate::database;

impl EventStore {
    /// Appends to the stream of `user` and erases the user's personal data. Without facts to append it erases again what
    /// may have been stored since, by a request that was in progress during the first erasure.
    ///
    /// # Errors
    /// [`ErasureFailure::Held`] under a legal hold of the tenant; [`AppendFailure::Conflict`](super::AppendFailure::Conflict)
    /// when another append came first; other failures of the database.
    pub async fn append_erasing_person(
        &self,
        tenant_id: TenantId,
        user: UserId,
        append: StreamAppend,
    ) -> Result<Option<LogPosition>, ErasureFailure> {
        let position = database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            // A hold is placed under the same lock, so the next statement sees it.
            retention::hold_off(&mut transaction, tenant_id).await?;
            let holds = legal_holds::of_tenant(&mut transaction, tenant_id, None).await?;
            if let Some(hold) = holds.on_tenant() {
                return Err(ErasureFailure::Held(hold.clone()));
            }
            let position = match append.is_empty() {
                true => None,
                false => Some(append::append_atomically(&mut transaction, &[append]).await?),
            };
            personal_data::erase(&mut transaction, user).await?;
            transaction.commit().await?;
            Ok::<_, ErasureFailure>(position)
        })
        .await?;
        self.notifier.notify(Notification::Progress);
        Ok(position)
    }
}
