//! What the API is given, and what each of its rooms gets of it.

use std::sync::Arc;

use aggregates::destination_url::Insecure;
use aggregates::tenant::Retention;
use axum::http::HeaderValue;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::api::access::access_tokens::AccessTokens;
use crate::api::access::authentication::Authentication;
use crate::api::commands::Commands;
use crate::api::health::Health;
use crate::api::http::body::BODY_BYTES_MAX;
use crate::api::http::client_address::TrustedProxies;
use crate::api::http::cursor::Cursors;
use crate::api::http::rate_limits::Limiter;
use crate::api::openapi::Docs;
use crate::api::v1::api_keys::ApiKeys;
use crate::api::v1::auth::Auth;
use crate::api::v1::destinations::Destinations;
use crate::api::v1::events::Events;
use crate::api::v1::ingest::Ingest;
use crate::api::v1::ingest::cache::IngestCache;
use crate::api::v1::invites::Invites;
use crate::api::v1::queues::Queues;
use crate::api::v1::senders::Senders;
use crate::api::v1::stats::Stats;
use crate::api::v1::stream::Streams;
use crate::api::v1::tenants::Tenants;
use crate::api::v1::users::Users;
use crate::config::{self, RateLimit};
use crate::event_store::group_commit::GroupCommit;
use crate::event_store::{AcceptBatch, EventStore, StreamAppendBatch};
use crate::health::Health as ProcessHealth;
use crate::live::Broadcaster;
use crate::projector::{Projected, ProjectorHealth};
use crate::secrets::passwords::Passwords;
use crate::secrets::signing_keys::SigningKeys;
use crate::secrets::vault::Vault;

/// Requests under way at once; further ones are turned away.
const REQUESTS_MAX: usize = 4_096;

/// What the API works with.
#[derive(Clone)]
pub struct ApiDependencies {
    /// The log.
    pub store: EventStore,
    /// The group commit of accepted webhooks.
    pub acceptances: GroupCommit<AcceptBatch>,
    /// The group commit of what becomes of webhook events.
    pub outcomes: GroupCommit<StreamAppendBatch>,
    /// How far the read models are.
    pub projected: Projected,
    /// Tells what changes.
    pub live: Broadcaster,
    /// Seals and opens secrets.
    pub vault: Vault,
    /// Hashes and verifies passwords.
    pub passwords: Passwords,
    /// Sign access tokens.
    pub signing_keys: SigningKeys,
    /// Whether this process can work, and what it measures.
    pub health: ProcessHealth,
    /// Tracks what goes on after an answer.
    pub tasks: TaskTracker,
    /// How it behaves.
    pub settings: Settings,
}

/// How the API behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether destinations may have http URLs and private addresses.
    pub insecure_destinations: Insecure,
    /// Largest payload of a webhook, in bytes.
    pub payload_bytes_max: usize,
    /// Tenants created, by address; `None`: any number.
    pub tenant_creations: Option<RateLimit>,
    /// Failed logins, by address and by email; `None`: any number.
    pub failed_logins: Option<RateLimit>,
    /// Registrations with an invite, by address; `None`: any number.
    pub invite_registrations: Option<RateLimit>,
    /// Proxies whose word about their clients is taken.
    pub trusted_proxies: TrustedProxies,
    /// How long tenants keep what has ended, unless they say otherwise.
    pub retention: Retention,
    /// The website whose scripts may use the management API.
    pub cors_origin: Option<HeaderValue>,
}

impl Settings {
    /// The settings of the service that are the API's.
    #[must_use]
    pub fn of(settings: &config::Settings) -> Self {
        let networks = settings.http.trusted_proxies.clone().unwrap_or_default();
        Self {
            insecure_destinations: settings.delivery.insecure(),
            payload_bytes_max: settings.http.max_payload_bytes,
            tenant_creations: settings.limits.tenant_creations(),
            failed_logins: settings.limits.failed_logins(),
            invite_registrations: settings.limits.invite_registrations(),
            trusted_proxies: TrustedProxies::new(networks.0),
            retention: settings.retention.of_new_tenants(),
            cors_origin: settings.http.cors_origin.clone(),
        }
    }
}

/// What each room gets.
pub(crate) struct AppState {
    pub(crate) authentication: Authentication,
    pub(crate) auth: Auth,
    pub(crate) tenants: Tenants,
    pub(crate) users: Users,
    pub(crate) invites: Invites,
    pub(crate) api_keys: ApiKeys,
    pub(crate) destinations: Destinations,
    pub(crate) senders: Senders,
    pub(crate) ingest: Ingest,
    pub(crate) events: Events,
    pub(crate) stats: Stats,
    pub(crate) streams: Streams,
    pub(crate) queues: Queues,
    pub(crate) health: Health,
    pub(crate) docs: Docs,
    pub(crate) under_way: Arc<Semaphore>,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) cors_origin: Option<HeaderValue>,
}

impl AppState {
    pub(crate) fn new(handles: ApiDependencies) -> Self {
        let ApiDependencies { store, vault, passwords, settings, .. } = handles;
        let pool = store.pool().clone();
        let commands = Commands::new(store, handles.projected);
        let cursors = Cursors::new(&handles.signing_keys);
        let tokens = AccessTokens::new(handles.signing_keys);
        // A payload within a JSON string takes up to six bytes for one.
        let payload_body_bytes_max = BODY_BYTES_MAX.max(settings.payload_bytes_max.saturating_mul(6));
        Self {
            authentication: Authentication { pool: pool.clone(), tokens: tokens.clone() },
            auth: Auth {
                commands: commands.clone(),
                passwords: passwords.clone(),
                tokens,
                failures: Limiter::new(settings.failed_logins),
                tasks: handles.tasks,
            },
            tenants: Tenants {
                commands: commands.clone(),
                passwords: passwords.clone(),
                vault: vault.clone(),
                creations: Limiter::new(settings.tenant_creations),
                retention: settings.retention,
                payload_body_bytes_max,
            },
            users: Users { commands: commands.clone(), passwords: passwords.clone() },
            invites: Invites {
                commands: commands.clone(),
                passwords,
                vault: vault.clone(),
                registrations: Limiter::new(settings.invite_registrations),
            },
            api_keys: ApiKeys { commands: commands.clone() },
            destinations: Destinations {
                commands: commands.clone(),
                vault,
                insecure: settings.insecure_destinations,
            },
            senders: Senders { commands: commands.clone(), payload_body_bytes_max },
            ingest: Ingest {
                commands: commands.clone(),
                acceptances: handles.acceptances,
                cache: IngestCache::new(),
                payload_bytes_max: settings.payload_bytes_max,
            },
            events: Events { commands: commands.clone(), cursors },
            stats: Stats { pool: pool.clone() },
            streams: Streams { pool: pool.clone(), live: handles.live },
            queues: Queues { commands, outcomes: handles.outcomes },
            health: Health { process: handles.health, projector: ProjectorHealth::new(pool) },
            docs: Docs::new(),
            under_way: Arc::new(Semaphore::new(REQUESTS_MAX)),
            trusted_proxies: settings.trusted_proxies,
            cors_origin: settings.cors_origin,
        }
    }
}
