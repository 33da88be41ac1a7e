//! Cache of the owners of API keys and the routes of ingest tokens.
//!
//! It is only used to prepare an event: the statement that appends the event compares the cached credentials with the
//! current ones. A stale entry costs its request a second pass through the database, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use aggregates::destination::Stage;
use aggregates::ids::{DestinationId, SenderId, TenantId};
use aggregates::mapping::Mapping;
use aggregates::sealed::TokenHash;
use moka::sync::Cache;
use projections::{api_keys, ingest_routes};

/// Largest number of API keys and of tokens, each about 300 bytes without its mapping.
const ENTRIES_MAX: u64 = 50_000;
/// Approximate size of all cached mappings, in bytes.
const MAPPING_BYTES_MAX: u64 = 64 << 20;
/// Time for which an entry is cached.
const TIME_TO_LIVE: Duration = Duration::from_secs(60);

/// Holders of active API keys and routes of valid tokens, by the hash of key or token.
#[derive(Clone, Debug)]
pub(crate) struct IngestCache {
    holders: Cache<TokenHash, api_keys::ActiveApiKey>,
    routes: Cache<TokenHash, Arc<Route>>,
}

/// Route of an ingest token, with its mapping parsed.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) tenant_id: TenantId,
    pub(crate) destination_id: DestinationId,
    pub(crate) sender_id: Option<SenderId>,
    /// The sender's mapping, or why the stored one is not valid.
    pub(crate) mapping: Option<Result<Mapping, String>>,
    /// Whether the destination accepts events.
    pub(crate) receives: bool,
    pub(crate) version: i64,
    bytes: u32,
}

impl Route {
    pub(crate) fn of(route: ingest_routes::Route) -> Self {
        let text = route.mapping.as_deref();
        // The mapping was valid when it was set. Rules that became stricter since then do not stop events.
        let mapping = text.map(|text| Mapping::parse(text).map_err(|problem| problem.to_string()));
        Self {
            tenant_id: route.tenant_id,
            destination_id: route.destination_id,
            sender_id: route.sender_id,
            bytes: 256 + text.map_or(0, |text| u32::try_from(text.len()).unwrap_or(u32::MAX / 4) * 3),
            mapping,
            receives: matches!(route.stage, Stage::Active | Stage::Probing),
            version: route.version,
        }
    }
}

impl IngestCache {
    pub(crate) fn new() -> Self {
        Self {
            holders: Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(TIME_TO_LIVE).build(),
            routes: Cache::builder()
                .weigher(|_, route: &Arc<Route>| route.bytes)
                .max_capacity(ENTRIES_MAX * 256 + MAPPING_BYTES_MAX)
                .time_to_live(TIME_TO_LIVE)
                .build(),
        }
    }

    pub(crate) fn holder(&self, key_hash: &TokenHash) -> Option<api_keys::ActiveApiKey> {
        self.holders.get(key_hash)
    }

    pub(crate) fn route(&self, token_hash: &TokenHash) -> Option<Arc<Route>> {
        self.routes.get(token_hash)
    }

    pub(crate) fn insert_holder(&self, key_hash: &TokenHash, holder: api_keys::ActiveApiKey) {
        self.holders.insert(key_hash.clone(), holder);
    }

    pub(crate) fn insert_route(&self, token_hash: &TokenHash, route: Arc<Route>) {
        self.routes.insert(token_hash.clone(), route);
    }

    pub(crate) fn remove(&self, key_hash: &TokenHash, token_hash: &TokenHash) {
        self.holders.invalidate(key_hash);
        self.routes.invalidate(token_hash);
    }
}
