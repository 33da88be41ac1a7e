//! Resolution of the names of destinations, bounded by tenant.
//!
//! A tenant chooses the names of its destinations, and its name servers may never answer. So a lookup has a time limit
//! and blocks no thread, a tenant has few lookups in progress at once, and another tenant's lookups wait for none of
//! them. Attempts that need the same name share one lookup, and its answer is kept for as long as the name server
//! allows; failures are kept for a short time as well.
//!
//! An answer is only addresses. Whether they may be connected to is judged at each connection, by the guard.

mod system;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use aggregates::ids::TenantId;
use async_trait::async_trait;
use metrics::{counter, gauge};
use moka::Expiry;
use moka::future::Cache;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::config::DeliverySettings;
pub use system::SystemLookup;

/// Maximum number of names whose answers are kept, each with some addresses.
const ANSWERS_MAX: u64 = 20_000;
/// Maximum time for which an answer is kept. Higher: a receiver that has moved gets its events later.
const ANSWER_LIFETIME_MAX: Duration = Duration::from_secs(60);
/// Time for which a failure is kept. Lower: dead name servers occupy more lookups. Higher: a name that works again is
/// found later.
const FAILURE_LIFETIME: Duration = Duration::from_secs(5);
/// Time within which the name servers of this machine must show that they answer at all.
const AVAILABILITY_TIMEOUT: Duration = Duration::from_secs(1);
/// Number of tenants from which those without a lookup are removed.
const TENANTS_SWEPT: usize = 1_024;

/// Source of addresses.
#[async_trait]
pub trait NameLookup: Send + Sync + 'static {
    /// Returns all addresses of a name. A name that ends with a dot is complete; the system's search domains may
    /// complete others.
    ///
    /// # Errors
    /// When the name has no address, or cannot be looked up.
    async fn lookup(&self, name: &str) -> Result<Addresses, LookupFailure>;

    /// Returns whether the name servers of this machine answer at all.
    async fn is_available(&self) -> bool {
        true
    }
}

/// Addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub addresses: Vec<IpAddr>,
    /// Time for which they may be kept.
    pub lifetime: Duration,
}

/// Error of a lookup.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LookupFailure {
    /// The name does not exist or has no address, or its name servers fail. The text is for the operator.
    #[error("{0}")]
    Unresolvable(String),
    /// No name server has answered: those of the name are silent, or those of this machine.
    #[error("no name server answers in time")]
    NoAnswer,
    /// Something that this worker needs for a lookup is missing, which says nothing about the name.
    #[error("{0}")]
    OwnShortage(String),
}

/// Limits of lookups.
#[derive(Clone, Copy, Debug)]
pub struct LookupLimits {
    /// Time limit of one lookup, and of the wait for its permit.
    pub timeout: Duration,
    pub concurrent_max: usize,
    pub concurrent_of_tenant_max: usize,
}

impl Default for LookupLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(3), concurrent_max: 256, concurrent_of_tenant_max: 16 }
    }
}

impl From<&DeliverySettings> for LookupLimits {
    fn from(settings: &DeliverySettings) -> Self {
        Self {
            timeout: settings.lookup_timeout,
            concurrent_max: settings.lookups_max.get().into(),
            concurrent_of_tenant_max: settings.lookups_of_tenant_max.get().into(),
        }
    }
}

/// For whom a name is resolved: a tenant, or `None` for the worker itself.
type Client = Option<TenantId>;

/// Resolver of names within limits. Clones share everything.
#[derive(Clone)]
pub(super) struct NameResolver(Arc<Shared>);

struct Shared {
    lookup: Arc<dyn NameLookup>,
    limits: LookupLimits,
    answers: Cache<String, Answer>,
    /// Lookups that have begun or wait for a permit, one for each client and name. Nothing is kept in it.
    waiting: Cache<(Client, String), Answer>,
    permits: Arc<Semaphore>,
    of_clients: Mutex<HashMap<Client, Weak<Semaphore>>>,
}

/// What is known of a name.
#[derive(Clone, Debug)]
struct Answer {
    result: Result<Arc<[IpAddr]>, LookupFailure>,
    lifetime: Duration,
}

struct AnswerLifetime;

impl<K> Expiry<K, Answer> for AnswerLifetime {
    fn expire_after_create(&self, _: &K, answer: &Answer, _: Instant) -> Option<Duration> {
        Some(answer.lifetime)
    }

    fn expire_after_update(
        &self,
        _: &K,
        answer: &Answer,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(answer.lifetime)
    }
}

/// Counts a lookup as in progress until it is dropped.
struct InProgress;

impl InProgress {
    fn begin() -> Self {
        gauge!("hooksentry_name_lookups").increment(1.0);
        Self
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        gauge!("hooksentry_name_lookups").decrement(1.0);
    }
}

impl NameResolver {
    pub(super) fn new(lookup: Arc<dyn NameLookup>, limits: LookupLimits) -> Self {
        Self(Arc::new(Shared {
            lookup,
            limits,
            answers: Cache::builder().max_capacity(ANSWERS_MAX).expire_after(AnswerLifetime).build(),
            waiting: Cache::builder().max_capacity(ANSWERS_MAX).time_to_live(Duration::ZERO).build(),
            permits: Arc::new(Semaphore::new(limits.concurrent_max)),
            of_clients: Mutex::default(),
        }))
    }

    /// Returns the addresses of a name, at least one.
    ///
    /// # Errors
    /// When the name has no address, or the lookup fails, or no lookup may begin within the time limit.
    pub(super) async fn resolve(&self, client: Client, name: &str) -> Result<Arc<[IpAddr]>, LookupFailure> {
        let shared = &*self.0;
        if let Some(answer) = shared.answers.get(name).await {
            return answer.result;
        }
        // Attempts of other tenants for the same name wait for the lookup, but not for this tenant's permit.
        let key = (client, name.to_owned());
        let looked_up = shared.waiting.try_get_with(key, async {
            let _permits = shared.permits(client).await?;
            shared.answers.try_get_with_by_ref(name, shared.look_up(name)).await
        });
        match looked_up.await {
            Ok(answer) => answer.result,
            Err(failure) => Err(LookupFailure::clone(&**failure)),
        }
    }
}

impl Shared {
    /// Waits for a permit of the client, and then for one of all.
    async fn permits(&self, client: Client) -> Result<[OwnedSemaphorePermit; 2], Arc<LookupFailure>> {
        let of_client = self.of_client(client);
        let both = async {
            let first = of_client.acquire_owned().await?;
            Ok::<_, tokio::sync::AcquireError>([first, Arc::clone(&self.permits).acquire_owned().await?])
        };
        match timeout(self.limits.timeout, both).await {
            Ok(Ok(permits)) => Ok(permits),
            // The semaphores are never closed.
            Ok(Err(_)) | Err(_) => {
                counter!("hooksentry_name_lookups_total", "result" => "not_begun").increment(1);
                let LookupLimits { concurrent_of_tenant_max, concurrent_max, .. } = self.limits;
                Err(Arc::new(LookupFailure::OwnShortage(format!(
                    "the worker makes as many name lookups as it may: {concurrent_of_tenant_max} of a tenant, \
                     {concurrent_max} of all"
                ))))
            }
        }
    }

    fn of_client(&self, client: Client) -> Arc<Semaphore> {
        let mut of_clients = self.of_clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(permits) = of_clients.get(&client).and_then(Weak::upgrade) {
            return permits;
        }
        if of_clients.len() >= TENANTS_SWEPT {
            of_clients.retain(|_, permits| permits.strong_count() > 0);
        }
        let permits = Arc::new(Semaphore::new(self.limits.concurrent_of_tenant_max));
        of_clients.insert(client, Arc::downgrade(&permits));
        permits
    }

    /// Looks a name up. Only a shortage is an error: it is not kept.
    async fn look_up(&self, name: &str) -> Result<Answer, LookupFailure> {
        let in_progress = InProgress::begin();
        let found = timeout(self.limits.timeout, self.lookup.lookup(name)).await;
        let found = match found.unwrap_or(Err(LookupFailure::NoAnswer)) {
            Ok(found) if found.addresses.is_empty() => {
                Err(LookupFailure::Unresolvable("it has no address".to_owned()))
            }
            Err(LookupFailure::NoAnswer) if !self.is_available().await => {
                Err(LookupFailure::OwnShortage("the worker's name servers do not answer".to_owned()))
            }
            found => found,
        };
        drop(in_progress);
        let (result, answer) = match found {
            Ok(Addresses { addresses, lifetime }) => {
                let lifetime = lifetime.min(ANSWER_LIFETIME_MAX);
                ("found", Ok(Answer { result: Ok(addresses.into()), lifetime }))
            }
            Err(shortage @ LookupFailure::OwnShortage(_)) => ("shortage", Err(shortage)),
            Err(failure) => ("failed", Ok(Answer { result: Err(failure), lifetime: FAILURE_LIFETIME })),
        };
        counter!("hooksentry_name_lookups_total", "result" => result).increment(1);
        answer
    }

    async fn is_available(&self) -> bool {
        timeout(AVAILABILITY_TIMEOUT, self.lookup.is_available()).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests;
