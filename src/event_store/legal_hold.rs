//! Places and lifts legal holds, while nothing of their tenant is erased.

use aggregates::ids::TenantId;
use aggregates::legal_hold::{LegalHold, LegalHoldCommand, LegalHoldRefusal};
use projections::{LogPosition, retention};
use uuid::Uuid;

use super::append::{self, AppendFailure, StreamAppend};
use super::log_notifier::Notification;
use super::{CONFLICT_RETRIES_MAX, CommandFailure, EventStore, Executed, Metadata};
use crate::database;

impl EventStore {
    /// Executes a command of the legal hold on the tenant or destination `id`. Afterwards every erasure finds the hold in
    /// the log.
    ///
    /// # Errors
    /// The refusal of the domain, or a failure of loading or appending.
    pub async fn execute_legal_hold(
        &self,
        tenant_id: TenantId,
        id: Uuid,
        command: LegalHoldCommand,
        metadata: &Metadata,
    ) -> Result<Executed<LegalHold>, CommandFailure<LegalHoldRefusal>> {
        let mut repetitions = 0;
        loop {
            let mut loaded = self.load::<LegalHold>(id).await?;
            let version = loaded.version;
            let facts = loaded.decide(command.clone()).map_err(CommandFailure::Refused)?;
            let append =
                StreamAppend::new::<LegalHold>(id, version, &facts, metadata).map_err(AppendFailure::from)?;
            match self.append_excluding_erasure(tenant_id, append).await {
                Ok(position) => return Ok(Executed { state: loaded.state, facts, position }),
                Err(AppendFailure::Conflict) if repetitions < CONFLICT_RETRIES_MAX => repetitions += 1,
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    async fn append_excluding_erasure(
        &self,
        tenant_id: TenantId,
        append: StreamAppend,
    ) -> Result<Option<LogPosition>, AppendFailure> {
        if append.is_empty() {
            return Ok(None);
        }
        let position = database::in_time(database::SHORT, async {
            let mut transaction = self.pool.begin().await?;
            // An erasure in progress ends first; a later one finds the fact.
            retention::exclude(&mut transaction, tenant_id).await?;
            let position = append::append_atomically(&mut transaction, &[append]).await?;
            transaction.commit().await?;
            Ok::<_, AppendFailure>(position)
        })
        .await?;
        self.notifier.notify(Notification::Progress);
        Ok(Some(position))
    }
}
