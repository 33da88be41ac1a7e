//! The worker: the process manager that turns a job into an attempt with an outcome.
//!
//! For each job it claims the attempt (appends `DeliveryStarted` at the version that the job carries), sends
//! one signed request, records the outcome, and only then acknowledges the job. So every request is preceded
//! by its `DeliveryStarted` in the log, and of two copies of a job one is dropped. A successful attempt loads
//! nothing: the job carries the stream's version and counts, the settings are cached with their versions, and
//! the claim returns the payload.
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

pub mod address_guard;
mod concurrency_limit;
mod consumer;
mod delivery;
mod failure;
mod outbound_auth;
pub mod outbound_client;
pub mod request;
mod response;
mod settings;
pub mod signature;
mod token_cache;

use std::num::NonZeroU16;
use std::sync::Arc;

use aggregates::backoff::Backoff;
use aggregates::destination_url::Insecure;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::event_store::group_commit::GroupCommit;
use crate::event_store::{AttemptClaimBatch, StreamAppendBatch};
use crate::queue::JobQueue;
use crate::secrets::vault::Vault;
use concurrency_limit::ConcurrencyLimit;
use delivery::AttemptRunner;
use outbound_client::OutboundClient;
use settings::SettingsCache;

/// Settings of a worker.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// Name of the worker in facts.
    pub name: String,
    /// Maximum number of concurrent attempts.
    pub concurrency: NonZeroU16,
    /// Maximum size of their payloads in bytes, which a few payloads may exceed while claims are pending.
    pub payload_bytes: usize,
    /// Maximum number of jobs that are received from the queue and not settled.
    pub prefetch: NonZeroU16,
    pub backoff: Backoff,
    /// Whether plain HTTP and private addresses are allowed.
    pub insecure: Insecure,
}

/// The worker role.
pub struct Worker {
    runner: Arc<AttemptRunner>,
    queue: Arc<dyn JobQueue>,
    settings: WorkerSettings,
}

impl Worker {
    /// Returns a worker that receives jobs from `queue` and appends through `claims` and `outcomes`.
    #[must_use]
    pub fn new(
        pool: PgPool,
        vault: Vault,
        client: OutboundClient,
        claims: GroupCommit<AttemptClaimBatch>,
        outcomes: GroupCommit<StreamAppendBatch>,
        queue: Arc<dyn JobQueue>,
        settings: WorkerSettings,
    ) -> Self {
        let runner = AttemptRunner {
            name: settings.name.clone(),
            client,
            settings: SettingsCache::new(pool, vault, settings.insecure),
            claims,
            outcomes,
            backoff: settings.backoff,
        };
        Self { runner: Arc::new(runner), queue, settings }
    }

    /// Processes jobs until `stop`, then finishes those in progress.
    pub async fn run(self, stop: CancellationToken) {
        let WorkerSettings { concurrency, payload_bytes, prefetch, .. } = self.settings;
        let limit = ConcurrencyLimit::new(concurrency, payload_bytes);
        consumer::consume(self.runner, self.queue, limit, prefetch, stop).await;
    }
}
