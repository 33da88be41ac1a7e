//! Recording who was shown what is confidential.

use std::time::Duration;

use aggregates::access::{self, Access, AccessCommand, Accessed, Reader};
use moka::sync::Cache;
use uuid::Uuid;

use crate::api::access::principal::DeliveryViewer;
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
    recorded: Cache<(Reader, Uuid, Accessed, i64), ()>,
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
    pub(crate) async fn record_of_tenant(
        &self,
        viewer: &impl DeliveryViewer,
        accessed: Accessed,
    ) -> Result<(), Problem> {
        self.record(viewer, Access::of_reader(viewer.reader(), clock::now()), accessed).await
    }

    /// Records an access in the stream `id`. The caller must not be answered before.
    ///
    /// # Errors
    /// The fact cannot be appended.
    pub(crate) async fn record(
        &self,
        viewer: &impl DeliveryViewer,
        id: Uuid,
        accessed: Accessed,
    ) -> Result<(), Problem> {
        let (reader, at) = (viewer.reader(), clock::now());
        let key = (reader, id, accessed.clone(), access::hour(at));
        if self.recorded.contains_key(&key) {
            return Ok(());
        }
        let (command, metadata) = (AccessCommand { reader, accessed, at }, viewer.metadata());
        // Without a wait for the read models, which do not show it.
        self.store.execute::<Access>(id, command, &metadata).await?;
        self.recorded.insert(key, ());
        Ok(())
    }
}
