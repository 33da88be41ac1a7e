//! What the API is given, and what each of its rooms gets of it.

use std::sync::Arc;

use aggregates::destination_url::Insecure;
use aggregates::tenant::Retention;
use axum::http::HeaderValue;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::access_tokens::AccessTokens;
use super::api_keys::ApiKeys;
use super::auth::Auth;
use super::authentication::Authentication;
use super::body::BODY_BYTES_MAX;
use super::client_address::TrustedProxies;
use super::commands::Commands;
use super::cursor::Cursors;
use super::destinations::Destinations;
use super::docs::Docs;
use super::events::Events;
use super::health::Health;
use super::ingest::Ingest;
use super::ingest_cache::IngestCache;
use super::invites::Invites;
use super::queues::Queues;
use super::rate_limits::Limiter;
use super::senders::Senders;
use super::stats::Stats;
use super::stream::Streams;
use super::tenants::Tenants;
use super::users::Users;
use crate::config::{self, RateLimit};
use crate::event_store::group_commit::GroupCommit;
use crate::event_store::{AcceptBatch, EventStore, OutcomeBatch};
use crate::health::Health as ProcessHealth;
use crate::live::Live;
use crate::projector::{Projected, ProjectorHealth};
use crate::secrets::passwords::Passwords;
use crate::secrets::signing_keys::SigningKeys;
use crate::secrets::vault::Vault;

/// Requests under way at once; further ones are turned away.
const REQUESTS_MAX: usize = 4_096;

/// What the API works with.
#[derive(Clone)]
pub struct Handles {
    /// The log.
    pub store: EventStore,
    /// The group commit of accepted webhooks.
    pub acceptances: GroupCommit<AcceptBatch>,
    /// The group commit of what becomes of webhook events.
    pub outcomes: GroupCommit<OutcomeBatch>,
    /// How far the read models are.
    pub projected: Projected,
    /// Tells what changes.
    pub live: Live,
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
pub(super) struct Parts {
    pub(super) authentication: Authentication,
    pub(super) auth: Auth,
    pub(super) tenants: Tenants,
    pub(super) users: Users,
    pub(super) invites: Invites,
    pub(super) api_keys: ApiKeys,
    pub(super) destinations: Destinations,
    pub(super) senders: Senders,
    pub(super) ingest: Ingest,
    pub(super) events: Events,
    pub(super) stats: Stats,
    pub(super) streams: Streams,
    pub(super) queues: Queues,
    pub(super) health: Health,
    pub(super) docs: Docs,
    pub(super) under_way: Arc<Semaphore>,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) cors_origin: Option<HeaderValue>,
}

impl Parts {
    pub(super) fn new(handles: Handles) -> Self {
        let Handles { store, vault, passwords, settings, .. } = handles;
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
