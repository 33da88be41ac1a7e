//! What ingest keeps at hand of keys and tokens.
//!
//! It only prepares: the statement that appends compares what was kept with what is so. A stale entry
//! costs its request a second way through the database, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use aggregates::destination::Stage;
use aggregates::ids::{DestinationId, SenderId, TenantId};
use aggregates::mapping::Mapping;
use aggregates::sealed::TokenHash;
use moka::sync::Cache;
use projections::{api_keys, ingest_routes};

/// Keys and tokens kept, each about 300 bytes without its mapping.
const ENTRIES_MAX: u64 = 50_000;
/// Bytes of mappings kept, about.
const MAPPING_BYTES_MAX: u64 = 64 << 20;
/// How long an entry is kept.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Living keys, and tokens that lead somewhere.
#[derive(Clone, Debug)]
pub(crate) struct IngestCache {
    holders: Cache<TokenHash, api_keys::Holder>,
    routes: Cache<TokenHash, Arc<Route>>,
}

/// What an ingest token stands for, its mapping ready to be applied.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) tenant_id: TenantId,
    pub(crate) destination_id: DestinationId,
    pub(crate) sender_id: Option<SenderId>,
    /// The sender's mapping, or why what is stored is none (any more).
    pub(crate) mapping: Option<Result<Mapping, String>>,
    pub(crate) receives: bool,
    pub(crate) version: i64,
    bytes: u32,
}

impl Route {
    pub(crate) fn of(route: ingest_routes::Route) -> Self {
        let text = route.mapping.as_deref();
        // It was checked when it was set; rules that have grown stricter since do not stop events.
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
            holders: Cache::builder().max_capacity(ENTRIES_MAX).time_to_live(KEPT_FOR).build(),
            routes: Cache::builder()
                .weigher(|_, route: &Arc<Route>| route.bytes)
                .max_capacity(ENTRIES_MAX * 256 + MAPPING_BYTES_MAX)
                .time_to_live(KEPT_FOR)
                .build(),
        }
    }

    pub(crate) fn holder(&self, key_hash: &TokenHash) -> Option<api_keys::Holder> {
        self.holders.get(key_hash)
    }

    pub(crate) fn route(&self, token_hash: &TokenHash) -> Option<Arc<Route>> {
        self.routes.get(token_hash)
    }

    pub(crate) fn keep_holder(&self, key_hash: &TokenHash, holder: api_keys::Holder) {
        self.holders.insert(key_hash.clone(), holder);
    }

    pub(crate) fn keep_route(&self, token_hash: &TokenHash, route: Arc<Route>) {
        self.routes.insert(token_hash.clone(), route);
    }

    pub(crate) fn forget(&self, key_hash: &TokenHash, token_hash: &TokenHash) {
        self.holders.invalidate(key_hash);
        self.routes.invalidate(token_hash);
    }
}
