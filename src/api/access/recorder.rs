//! Recording who was shown what is confidential.

use std::time::Duration;

use aggregates::access::{self, Access, AccessCommand, Accessed};
use aggregates::ids::UserId;
use moka::sync::Cache;
use uuid::Uuid;

use crate::api::access::authentication::Caller;
use crate::api::http::problem::Problem;
use crate::clock;
use crate::event_store::EventStore;

/// Accesses that are remembered as recorded. Of others the log is asked.
const REMEMBERED_MAX: u64 = 50_000;
/// Accesses of an earlier hour are recorded again.
const REMEMBERED_TIME: Duration = Duration::from_secs(3_600);

/// Records accesses, of which each is a fact once within an hour.
#[derive(Clone, Debug)]
pub(crate) struct AccessRecorder {
    store: EventStore,
    /// By reader, stream and hour.
    recorded: Cache<(UserId, Uuid, Accessed, i64), ()>,
}

impl AccessRecorder {
    pub(crate) fn new(store: EventStore) -> Self {
        let recorded = Cache::builder().max_capacity(REMEMBERED_MAX).time_to_live(REMEMBERED_TIME).build();
        Self { store, recorded }
    }

    /// Records an access to what belongs to the tenant as a whole. The caller must not be answered before.
    ///
    /// # Errors
    /// The fact cannot be appended.
    pub(crate) async fn record_of_tenant(&self, caller: &Caller, accessed: Accessed) -> Result<(), Problem> {
        self.record(caller, Access::of_reader(caller.user_id, clock::now()), accessed).await
    }

    /// Records an access in the stream `id`. The caller must not be answered before.
    ///
    /// # Errors
    /// The fact cannot be appended.
    pub(crate) async fn record(&self, caller: &Caller, id: Uuid, accessed: Accessed) -> Result<(), Problem> {
        let (user_id, at) = (caller.user_id, clock::now());
        let key = (user_id, id, accessed.clone(), access::hour(at));
        if self.recorded.contains_key(&key) {
            return Ok(());
        }
        // Without a wait for the read models, which do not show it.
        self.store.execute::<Access>(id, AccessCommand { user_id, accessed, at }, &caller.metadata()).await?;
        self.recorded.insert(key, ());
        Ok(())
    }
}
