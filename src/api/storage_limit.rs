//! Limit of the bytes of payloads that each tenant has in storage.
//!
//! No webhook waits for a sum: a task reads at an interval which tenants have reached the limit, and ingest looks at what
//! it read last. A tenant exceeds the limit by what it sends within [`READ_INTERVAL`] and the lag of the projector.

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aggregates::ids::TenantId;
use projections::accepted_bytes;
use sqlx::PgPool;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::api::http::problem::Problem;
use crate::database::{self, in_time};

/// Interval at which the tenants are read that have reached the limit. Lower: more load on the database. Higher: a tenant
/// exceeds the limit by more.
const READ_INTERVAL: Duration = Duration::from_secs(5);

/// The limit of every tenant. Clones share what was read.
#[derive(Clone, Debug)]
pub struct StorageLimit {
    /// `None`: no limit.
    bytes_max: Option<NonZeroU64>,
    /// Tenants that have reached the limit.
    reached: Arc<RwLock<HashSet<TenantId>>>,
}

impl StorageLimit {
    #[must_use]
    pub fn new(bytes_max: Option<NonZeroU64>) -> Self {
        Self { bytes_max, reached: Arc::default() }
    }

    /// Checks that a tenant may store another payload.
    ///
    /// # Errors
    /// A problem of kind `TooManyRequests` that names the limit.
    pub(crate) fn check(&self, tenant_id: TenantId) -> Result<(), Problem> {
        let Some(bytes_max) = self.bytes_max else { return Ok(()) };
        if !self.reached.read().unwrap_or_else(PoisonError::into_inner).contains(&tenant_id) {
            return Ok(());
        }
        metrics::counter!("hooksentry_tenant_limit_refusals_total", "limit" => "payload bytes").increment(1);
        Err(Problem::storage_limit_reached(bytes_max))
    }

    /// Reads at an interval which tenants have reached the limit, until `stop`. While they cannot be read, those that were
    /// read last are refused.
    pub async fn keep_current(self, pool: PgPool, stop: CancellationToken) {
        let Some(bytes_max) = self.bytes_max else { return stop.cancelled().await };
        let mut ticks = interval(READ_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let reading = in_time(database::SHORT, async {
                accepted_bytes::tenants_with_stored(&mut *pool.acquire().await?, bytes_max.get()).await
            });
            let read = tokio::select! {
                () = stop.cancelled() => return,
                read = reading => read,
            };
            match read {
                Ok(reached) => {
                    metrics::gauge!("hooksentry_tenants_at_storage_limit").set(reached.len() as f64);
                    let mut current = self.reached.write().unwrap_or_else(PoisonError::into_inner);
                    *current = reached.into_iter().collect();
                }
                Err(error) => {
                    tracing::debug!(%error, "the payloads that tenants have in storage cannot be read")
                }
            }
        }
    }
}
