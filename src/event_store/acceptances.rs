//! Two group commits of acceptances: one for small webhooks, and one for large ones.
//!
//! A batch with megabytes of payloads takes many times as long as one of small webhooks. In one queue every small webhook
//! would wait for the large ones of any tenant.
//!
//! Only small ones are counted in the [`AcceptQueue`]: what waits of the large ones is bounded by its bytes.

use aggregates::ids::TenantId;

use super::accept_item::AcceptItem;
use super::accept_queue::AcceptQueue;
use super::acceptance::{AcceptBatch, AcceptOutcome};
use super::group_commit::{Batch, CommitActivity, CommitFailure, GroupCommit};

/// Size from which a webhook is large. Lower: fewer webhooks share a commit. Higher: a small webhook waits longer for the
/// payloads in its batch.
const LARGE_BYTES: usize = 64 << 10;

/// The group commits of acceptances. Clones share them.
#[derive(Clone)]
pub struct Acceptances {
    pub small: GroupCommit<AcceptBatch>,
    /// It connects to the database with the first large webhook.
    pub large: GroupCommit<AcceptBatch>,
    pub queue: AcceptQueue,
}

impl Acceptances {
    /// Submits an item and waits for its outcome.
    ///
    /// # Errors
    /// Those of [`GroupCommit::commit`].
    pub async fn commit(&self, item: AcceptItem) -> Result<AcceptOutcome, CommitFailure> {
        if AcceptBatch::bytes(&item) >= LARGE_BYTES {
            return self.large.commit(item).await;
        }
        let waiting = self.queue.enter(AcceptBatch::tenant(&item));
        self.small.commit(item.counted(waiting)).await
    }

    /// Returns whether a tenant may submit a webhook: whether those that it has submitted are accepted soon, or are few.
    #[must_use]
    pub fn admits(&self, tenant_id: TenantId) -> bool {
        self.queue.admits(tenant_id)
    }

    /// Returns the activities, with the names of what is committed.
    #[must_use]
    pub fn activities(&self) -> [(&'static str, CommitActivity); 2] {
        [("webhooks", self.small.activity().clone()), ("large webhooks", self.large.activity().clone())]
    }

    /// Returns whether the database is away, so that webhooks are refused.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.small.activity().is_away()
    }
}
