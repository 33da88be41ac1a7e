//! Dependencies of the API, and the state of the handlers of each resource.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aggregates::target_rules::TargetRules;
use aggregates::tenant::Retention;
use axum::http::HeaderValue;
use chrono::TimeDelta;
use hooksentry_dashboard::SignInLinks;
use sqlx::PgPool;
use tokio_util::task::TaskTracker;

use crate::api::access::access_tokens::AccessTokens;
use crate::api::access::authentication::Authentication;
use crate::api::access::recorder::AccessRecorder;
use crate::api::access::second_factors::SecondFactors;
use crate::api::commands::Commands;
use crate::api::health::Health;
use crate::api::http::admission::Places;
use crate::api::http::body::BODY_BYTES_MAX;
use crate::api::http::client_address::TrustedProxies;
use crate::api::http::cursor::Cursors;
use crate::api::http::late_refusals::LateRefusals;
use crate::api::http::rate_limits::RateLimiter;
use crate::api::http::request_context::ContextSource;
use crate::api::list_queries::{ListLimits, ListQueries};
use crate::api::openapi::Docs;
use crate::api::storage_limit::StorageLimit;
use crate::api::tenant_limits::TenantLimits;
use crate::api::v1::api_keys::ApiKeys;
use crate::api::v1::audit::Audit;
use crate::api::v1::auth::failed_logins::FailedLogins;
use crate::api::v1::auth::{Auth, login};
use crate::api::v1::bulk_actions::BulkActions;
use crate::api::v1::destinations::Destinations;
use crate::api::v1::events::Events;
use crate::api::v1::ingest::Ingest;
use crate::api::v1::ingest::cache::IngestCache;
use crate::api::v1::ingest::event_rates::EventRates;
use crate::api::v1::ingest::memory::PayloadMemory;
use crate::api::v1::invites::Invites;
use crate::api::v1::portal_links::PortalLinks;
use crate::api::v1::queues::purge::Queues;
use crate::api::v1::senders::Senders;
use crate::api::v1::stats::Stats;
use crate::api::v1::stream::Streams;
use crate::api::v1::tenants::Tenants;
use crate::api::v1::users::Users;
use crate::api::well_known::WellKnown;
use crate::config::{self, MetricsAccess, RateLimit, RequestSettings, TenantSettings};
use crate::event_store::group_commit::GroupCommit;
use crate::event_store::{Acceptances, EventStore, Origins, StreamAppendBatch};
use crate::health::Health as ProcessHealth;
use crate::live::Broadcaster;
use crate::projector::Projected;
use crate::secrets::passwords::Passwords;
use crate::secrets::signing_keys::SigningKeys;
use crate::secrets::tenant_invitations::TenantInvitations;
use crate::secrets::vault::Vault;

/// Dependencies of the API.
#[derive(Clone)]
pub struct ApiDependencies {
    pub store: EventStore,
    /// Connections for lists.
    pub list_pool: PgPool,
    /// Limit of the stored payloads of each tenant.
    pub storage: StorageLimit,
    /// Group commit of accepted webhooks.
    pub acceptances: Acceptances,
    /// Group commit of appends to the streams of events.
    pub outcomes: GroupCommit<StreamAppendBatch>,
    pub projected: Projected,
    pub live: Broadcaster,
    pub vault: Vault,
    pub passwords: Passwords,
    /// Keys that sign access tokens and page cursors.
    pub signing_keys: SigningKeys,
    pub health: ProcessHealth,
    /// Tracks work that goes on after a response.
    pub tasks: TaskTracker,
    /// Links of the dashboard that sign in once.
    pub sign_in_links: SignInLinks,
    pub settings: ApiSettings,
}

/// Settings of the API.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    pub target_rules: TargetRules,
    /// Largest limit in effect of concurrent requests to a destination.
    pub destination_concurrency_max: NonZeroU32,
    /// Largest payload of a webhook, in bytes.
    pub payload_bytes_max: usize,
    /// Largest size of all payloads that are not stored yet, in bytes.
    pub ingest_payload_bytes: usize,
    /// Maximum number of installations that a webhook may have passed through before.
    pub hops_max: u16,
    /// Number of lists of one tenant that may be in progress.
    pub lists_per_tenant: usize,
    /// Percentage of the time in which lists of one tenant may be queried.
    pub list_time_percent: u32,
    /// Timeout of a statement of a list.
    pub list_timeout: Duration,
    /// Limits of concurrent requests.
    pub requests: RequestSettings,
    /// Registration and limits of tenants.
    pub tenants: TenantSettings,
    /// Limit of tenant registrations by client address.
    pub tenant_creations: Option<RateLimit>,
    /// Limit of failed logins by client address and by email address.
    pub failed_logins: Option<RateLimit>,
    /// Limit of registrations with an invite by client address.
    pub invite_registrations: Option<RateLimit>,
    /// Whether users must give their current password to change their own email address or password.
    pub requires_current_password: bool,
    /// Limit of changes of the password and the second factor by user.
    pub password_changes: Option<RateLimit>,
    /// Limit of refreshes by session.
    pub session_refreshes: Option<RateLimit>,
    /// Refusals of a client that are answered at once; `None`: all.
    pub prompt_refusals: Option<RateLimit>,
    /// Time from a login after which its session ends.
    pub session_lifetime: TimeDelta,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: TrustedProxies,
    /// Retention of new tenants.
    pub retention: Retention,
    /// Origin of the website whose scripts may use the management API.
    pub cors_origin: Option<HeaderValue>,
    pub metrics: MetricsAccess,
    /// Whether there is a page to try the API.
    pub docs: bool,
    /// Whether there is a dashboard.
    pub dashboard: bool,
}

impl ApiSettings {
    /// Selects the API's settings from those of the service.
    #[must_use]
    pub fn of(settings: &config::Settings) -> Self {
        let networks = settings.http.trusted_proxies.clone().unwrap_or_default();
        Self {
            target_rules: settings.targets.rules(),
            destination_concurrency_max: settings.delivery.destination_concurrency_max,
            payload_bytes_max: settings.http.max_payload_bytes,
            ingest_payload_bytes: settings.http.ingest_payload_bytes,
            hops_max: settings.delivery.hops_max,
            lists_per_tenant: settings.database.lists_per_tenant,
            list_time_percent: settings.database.list_time_percent,
            list_timeout: settings.database.list_timeout,
            requests: settings.requests.clone(),
            tenants: settings.tenants.clone(),
            tenant_creations: settings.limits.tenant_creations(),
            failed_logins: settings.limits.failed_logins(),
            invite_registrations: settings.limits.invite_registrations(),
            requires_current_password: settings.passwords.require_current,
            password_changes: settings.limits.password_changes(),
            session_refreshes: settings.limits.session_refreshes(),
            prompt_refusals: settings.limits.prompt_refusals(),
            session_lifetime: TimeDelta::from_std(settings.limits.session_lifetime).unwrap_or(TimeDelta::MAX),
            trusted_proxies: TrustedProxies::new(networks.0),
            retention: settings.retention.of_new_tenants(),
            cors_origin: settings.http.cors_origin.clone(),
            metrics: settings.http.metrics(),
            docs: settings.http.docs,
            dashboard: settings.http.dashboard,
        }
    }
}

/// State of the handlers of each resource.
pub(crate) struct AppState {
    pub(crate) authentication: Authentication,
    pub(crate) auth: Auth,
    pub(crate) tenants: Tenants,
    pub(crate) users: Users,
    pub(crate) invites: Invites,
    pub(crate) api_keys: ApiKeys,
    pub(crate) portal_links: PortalLinks,
    pub(crate) destinations: Destinations,
    pub(crate) senders: Senders,
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) events: Events,
    pub(crate) bulk_actions: BulkActions,
    pub(crate) audit: Audit,
    pub(crate) well_known: WellKnown,
    pub(crate) stats: Stats,
    pub(crate) streams: Streams,
    pub(crate) queues: Queues,
    pub(crate) health: Health,
    pub(crate) docs: Docs,
    pub(crate) places: Places,
    pub(crate) late_refusals: LateRefusals,
    pub(crate) context_source: ContextSource,
    pub(crate) cors_origin: Option<HeaderValue>,
}

impl AppState {
    pub(crate) fn new(dependencies: ApiDependencies) -> Self {
        let ApiDependencies { store, vault, passwords, settings, .. } = dependencies;
        let pool = store.pool().clone();
        let limits = ListLimits {
            at_once: settings.lists_per_tenant,
            time_percent: settings.list_time_percent,
            wait_max: settings.list_timeout,
        };
        let lists = ListQueries::new(dependencies.list_pool, limits);
        let commands = Commands::new(store, dependencies.projected, lists.clone());
        let cursors = Cursors::new(&dependencies.signing_keys);
        let limits = TenantLimits::new(pool.clone(), settings.tenants.clone());
        let invitations = TenantInvitations::new(&dependencies.signing_keys);
        let tokens = AccessTokens::new(dependencies.signing_keys);
        let second_factors = SecondFactors { store: commands.store().clone(), vault: vault.clone() };
        let failures = FailedLogins::new(settings.failed_logins);
        let accesses = AccessRecorder::new(commands.store().clone());
        let events =
            Events { commands: commands.clone(), cursors, accesses: accesses.clone(), vault: vault.clone() };
        // A byte of a payload takes up to six bytes in a JSON string.
        let payload_body_bytes_max = BODY_BYTES_MAX.max(settings.payload_bytes_max.saturating_mul(6));
        Self {
            authentication: Authentication { pool: pool.clone(), tokens: tokens.clone() },
            auth: Auth {
                commands: commands.clone(),
                passwords: passwords.clone(),
                tokens,
                second_factors: second_factors.clone(),
                failures: failures.clone(),
                recorded_refusals: RateLimiter::new(Some(login::RECORDED_REFUSALS)),
                refreshes: RateLimiter::new(settings.session_refreshes),
                session_lifetime: settings.session_lifetime,
                tasks: dependencies.tasks,
            },
            tenants: Tenants {
                commands: commands.clone(),
                passwords: passwords.clone(),
                vault: vault.clone(),
                registration: settings.tenants.registration,
                invitations,
                accesses,
                creations: RateLimiter::new(settings.tenant_creations),
                retention: settings.retention,
                payload_body_bytes_max,
            },
            users: Users {
                commands: commands.clone(),
                passwords: passwords.clone(),
                password_changes: RateLimiter::new(settings.password_changes),
                failures,
                requires_current_password: settings.requires_current_password,
                limits: limits.clone(),
                second_factors,
                vault: vault.clone(),
            },
            invites: Invites {
                commands: commands.clone(),
                passwords,
                vault: vault.clone(),
                registrations: RateLimiter::new(settings.invite_registrations),
                limits: limits.clone(),
            },
            api_keys: ApiKeys { commands: commands.clone(), limits: limits.clone() },
            portal_links: PortalLinks { commands: commands.clone(), limits: limits.clone() },
            destinations: Destinations {
                commands: commands.clone(),
                vault: vault.clone(),
                rules: Arc::new(settings.target_rules),
                concurrency_max: settings.destination_concurrency_max,
                limits: limits.clone(),
            },
            senders: Senders { commands: commands.clone(), payload_body_bytes_max, limits },
            bulk_actions: BulkActions {
                commands: commands.clone(),
                in_progress_max: settings.tenants.tenant_bulk_actions,
                rate_max: settings.tenants.bulk_action_rate,
            },
            ingest: Arc::new(Ingest {
                commands: commands.clone(),
                acceptances: dependencies.acceptances,
                cache: IngestCache::new(),
                rates: EventRates::new(settings.tenants.events_per_second()),
                storage: dependencies.storage,
                payload_bytes_max: settings.payload_bytes_max,
                hops_max: settings.hops_max,
                memory: PayloadMemory::new(settings.ingest_payload_bytes),
                vault: vault.clone(),
            }),
            audit: Audit { events: events.clone(), vault: vault.clone() },
            well_known: WellKnown { pool: pool.clone() },
            events,
            stats: Stats { lists },
            streams: Streams { pool, live: dependencies.live },
            queues: Queues { commands, outcomes: dependencies.outcomes },
            health: Health::new(dependencies.health, settings.metrics),
            docs: Docs::new(settings.docs),
            places: Places::new(&settings.requests),
            late_refusals: LateRefusals::new(settings.prompt_refusals),
            context_source: ContextSource { proxies: settings.trusted_proxies, origins: Origins::default() },
            cors_origin: settings.cors_origin,
        }
    }
}
