//! The worker: the process manager that turns a job into an attempt with an outcome.
//!
//! For each job it claims the attempt (appends `DeliveryStarted` at the version that the job carries) and
//! acknowledges the job, sends one signed request, and records the outcome. So every request is preceded
//! by its `DeliveryStarted` in the log, and of two copies of a job one is dropped. A job that was claimed is of no
//! use to other workers; those that are not acknowledged are few, so a worker that hangs holds few. A successful attempt loads
//! nothing but the payload: the job carries the stream's version and counts, and the settings are cached with their
//! versions.
//!
//! First attempts of webhooks that its own process accepts need no job: they are claimed by the statement that accepts the
//! webhook ([`first_attempt`]).
//!
//! **If the worker dies.** Before the claim nothing has happened, and the queue delivers the job to another
//! worker. After the claim the dispatcher finds an attempt without an outcome when its timeout is over, and
//! schedules a retry. After the outcome a second copy of the job does not get the claim.
//!
//! **If the database is unavailable**, nothing is sent: a job whose claim cannot be appended is requeued.
//! Recording an outcome is retried for a while.
//!
//! The attempt itself is [`outbound_client::OutboundClient::attempt`]: a request to a checked address, with
//! one deadline and a bounded response. It depends neither on the log nor on the queue.

mod address_guard;
mod claim_monitor;
mod concurrency_limit;
mod consumer;
mod delivery;
mod failure;
mod first_attempt;
mod log_settings;
pub mod name_lookup;
mod outbound_auth;
pub mod outbound_client;
pub mod request;
mod response;
mod settings;
pub mod signature;
mod token_cache;

use std::num::NonZeroU16;
use std::sync::Arc;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Settings;
use crate::event_store::group_commit::GroupCommit;
use crate::event_store::{
    AttemptClaimBatch, ClaimedPayloadBatch, FirstAttempts, RecentPayloads, StreamAppendBatch,
};
use crate::identifiers;
use crate::queue::JobQueue;
use crate::secrets::vault::Vault;
use claim_monitor::ClaimMonitor;
use concurrency_limit::ConcurrencyLimit;
use delivery::AttemptRunner;
use first_attempt::FirstAttemptMaker;
use outbound_client::{OutboundClient, OutboundSettings};
use settings::SettingsCache;

/// What an attempt reads and writes in the database, each kind in batches.
#[derive(Clone)]
pub struct AttemptBatches {
    pub claims: GroupCommit<AttemptClaimBatch>,
    /// Payloads that need not be read, because this process has just accepted them.
    pub recent_payloads: RecentPayloads,
    pub payloads: GroupCommit<ClaimedPayloadBatch>,
    pub outcomes: GroupCommit<StreamAppendBatch>,
}

/// The worker role.
pub struct Worker {
    runner: Arc<AttemptRunner>,
    queue: Arc<dyn JobQueue>,
    limit: ConcurrencyLimit,
    /// Maximum number of jobs that are received from the queue and not settled.
    prefetch: NonZeroU16,
}

impl Worker {
    /// Returns a worker that receives jobs from `queue` and makes `concurrency` attempts at once.
    ///
    /// # Errors
    /// When the HTTP client cannot be created.
    pub fn new(
        pool: PgPool,
        vault: Vault,
        batches: AttemptBatches,
        queue: Arc<dyn JobQueue>,
        settings: &Settings,
        concurrency: NonZeroU16,
    ) -> Result<Self, reqwest::Error> {
        let delivery = &settings.delivery;
        let runner = AttemptRunner {
            name: worker_name(),
            client: OutboundClient::new(&OutboundSettings::from(settings))?,
            settings: SettingsCache::new(pool, vault, settings.targets.rules()),
            batches,
            claim_monitor: ClaimMonitor::default(),
            backoff: settings.retries.backoff(),
            timeout: delivery.timeout,
            delay_max: (delivery.vanished_margin / 2).min(delivery.timeout),
            record_timeout: delivery.record_timeout(),
        };
        let weights = delivery.tenant_weights.clone();
        let limit = ConcurrencyLimit::new(concurrency, delivery.worker_payload_bytes, weights);
        Ok(Self { runner: Arc::new(runner), queue, limit, prefetch: settings.queue.prefetch })
    }

    /// Processes jobs until `stop`, then finishes those in progress. Makes `first_attempts` as well.
    pub async fn run(self, first_attempts: FirstAttempts, stop: CancellationToken) {
        let Self { runner, queue, limit, prefetch } = self;
        let in_progress = TaskTracker::new();
        first_attempts.made_by(Arc::new(FirstAttemptMaker {
            runner: Arc::clone(&runner),
            limit: limit.clone(),
            in_progress: in_progress.clone(),
            stop: stop.clone(),
        }));
        consumer::consume(runner, queue, limit, prefetch, in_progress, stop).await;
    }
}

/// Returns the name of this worker in facts. It is random, because tenants see it in histories; the log shows the
/// operator to which machine it belongs.
fn worker_name() -> String {
    let (id, _) = identifiers::new_id().as_u64_pair();
    let name = format!("worker-{id:016x}");
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    tracing::info!(
        worker = name,
        host = host.trim(),
        process = std::process::id(),
        "the worker has this name in histories"
    );
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_worker_tells_nothing_about_its_machine() {
        let name = worker_name();
        let id = name.strip_prefix("worker-").unwrap();
        assert!(id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
        assert_ne!(name, worker_name());
    }
}
