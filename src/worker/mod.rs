//! The worker: the process manager that turns a job into an attempt and its outcome.
//!
//! For each job it wins a claim (`DeliveryStarted`, appended at the version the job carries), makes one
//! signed request, records what came of it, and only then acknowledges the job. So no request leaves
//! that the log has not announced, and of two copies of a job one is dropped. On the way to a success
//! nothing is loaded: the job carries the stream's version and counts, the settings are at hand with
//! their versions, and the claim brings the payload.
//!
//! **If it dies half-way.** Before the claim nothing has happened, and the queue hands the job to
//! somebody else. After the claim the dispatcher finds an attempt without an outcome, once the timeout
//! is over, and has the event retried. After the outcome the job's second copy finds the version taken.
//!
//! **If the database is away**, nothing is sent: a job whose claim cannot be appended goes back. An
//! outcome that cannot be recorded is tried again for a while.
//!
//! The attempt itself is [`outbound_client::OutboundClient::attempt`]: a request to an address that was
//! checked, under one deadline, with a bounded answer. It knows nothing of the log and the queue.

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
use delivery::Deliverer;
use outbound_client::OutboundClient;
use settings::SettingsCache;

/// What a worker goes by.
#[derive(Clone, Debug)]
pub struct WorkerSettings {
    /// What the facts call it.
    pub name: String,
    /// Attempts under way at once, at most.
    pub concurrency: NonZeroU16,
    /// Bytes of their payloads, at most; a few payloads more while attempts are announced.
    pub payload_bytes: usize,
    /// Jobs taken from the queue and not settled, at most.
    pub prefetch: NonZeroU16,
    /// The schedule of retries.
    pub backoff: Backoff,
    /// Whether plain HTTP and private addresses are allowed.
    pub insecure: Insecure,
}

/// A worker.
pub struct Worker {
    deliverer: Arc<Deliverer>,
    queue: Arc<dyn JobQueue>,
    settings: WorkerSettings,
}

impl Worker {
    /// A worker that takes jobs from `queue` and appends through `claims` and `outcomes`.
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
        let deliverer = Deliverer {
            name: settings.name.clone(),
            client,
            settings: SettingsCache::new(pool, vault, settings.insecure),
            claims,
            outcomes,
            backoff: settings.backoff,
        };
        Self { deliverer: Arc::new(deliverer), queue, settings }
    }

    /// Takes jobs until `stop`, then finishes those in hand.
    pub async fn run(self, stop: CancellationToken) {
        let WorkerSettings { concurrency, payload_bytes, prefetch, .. } = self.settings;
        let room = ConcurrencyLimit::new(concurrency, payload_bytes);
        consumer::consume(self.deliverer, self.queue, room, prefetch, stop).await;
    }
}
