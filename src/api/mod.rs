//! The HTTP API.
//!
//! [`ROUTES`] is all of it on one screen: method, path, permission, admission, state and handler. The router, the
//! OpenAPI document and the tests that try every route with every role are made from this table. The handler of
//! `VERB /api/v1/<resource>` is in `v1/<resource>/<verb>.rs`. Permissions are checked before a handler runs;
//! [`problem`] alone maps refusals and failures to responses.

mod access;
mod as_of;
mod commands;
mod dashboard;
mod health;
mod http;
mod list_queries;
mod openapi;
mod state;
mod storage_limit;
mod tenant_limits;
mod v1;
mod well_known;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

pub use access::permissions::Permission;
pub use health::health_router;
pub use http::client_address::TrustedProxies;
pub use http::problem;
pub use openapi::openapi;
pub use state::{ApiDependencies, ApiSettings};
pub use storage_limit::StorageLimit;

use access::authentication;
use http::admission;
use http::{late_refusals, layers};
use openapi::schemas;
use state::AppState;
use v1::{
    api_keys, audit, auth, bulk_actions, destinations, erasures, events, ingest, invites, portal_links,
    queues, second_factor, senders, sessions, stats, stream, tenants, users,
};

/// Timeout of a request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// Which limits apply to the requests of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RouteAdmission {
    /// The limit of concurrent requests, and the timeout.
    Limited,
    /// The limit of concurrent requests only.
    NoTimeout,
    /// None: health checks must succeed however busy the service is.
    Unlimited,
}
use RouteAdmission::{Limited, NoTimeout, Unlimited};

/// One method of one path.
#[derive(Clone)]
pub struct Route {
    pub method: Method,
    /// Path, with `{names}` in place of segments and `{*names}` in place of all that follow.
    pub path: &'static str,
    pub permission: Permission,
    admission: RouteAdmission,
    mount: fn(&AppState) -> MethodRouter,
}

impl Route {
    /// Returns the path as the OpenAPI document has it.
    #[must_use]
    pub fn described_path(&self) -> String {
        self.path.replace("{*", "{")
    }
}

macro_rules! routes {
    ($($method:ident $path:literal $permission:ident $admission:ident $state:ident => $($handler:ident)::+;)+) => {
        pub const ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            permission: Permission::$permission,
            admission: $admission,
            mount: |state| on(MethodFilter::$method, $($handler)::+).with_state(state.$state.clone()),
        }),+];

        /// OpenAPI document of the handlers.
        #[derive(utoipa::OpenApi)]
        #[openapi(
            paths($($($handler)::+),+),
            // utoipa does not collect the schemas that only parameters refer to.
            components(schemas(schemas::DateOrTime))
        )]
        struct Handlers;
    };
}

routes! {
    POST   "/api/v1/auth/login"                         Anyone                  Limited   auth         => auth::login::handler;
    POST   "/api/v1/auth/refresh"                       Anyone                  Limited   auth         => auth::refresh::handler;
    POST   "/api/v1/auth/logout"                        LogOut                  Limited   auth         => auth::logout::handler;
    GET    "/api/v1/sessions"                           LogOut                  Limited   auth         => sessions::list::handler;
    DELETE "/api/v1/sessions/{id}"                      LogOut                  Limited   auth         => sessions::end::handler;

    POST   "/api/v1/tenants"                            Anyone                  Limited   tenants      => tenants::register::handler;
    GET    "/api/v1/tenants/{id}"                       Read                    Limited   tenants      => tenants::get::handler;
    PATCH  "/api/v1/tenants/{id}"                       UpdateTenant            Limited   tenants      => tenants::update::handler;
    GET    "/api/v1/tenants/{id}/webhook-secret"        UseWebhookSecret        Limited   tenants      => tenants::webhook_secret::get::handler;
    POST   "/api/v1/tenants/{id}/webhook-secret"        RegenerateWebhookSecret Limited   tenants      => tenants::webhook_secret::regenerate::handler;
    POST   "/api/v1/tenants/{id}/webhook-secret/verify" UseWebhookSecret        Limited   tenants      => tenants::webhook_secret::verify::handler;
    POST   "/api/v1/tenants/{id}/legal-hold"            HoldLegally             Limited   tenants      => tenants::legal_hold::place;
    POST   "/api/v1/tenants/{id}/legal-hold/lift"       HoldLegally             Limited   tenants      => tenants::legal_hold::lift;

    POST   "/api/v1/users"                              CreateUser              Limited   users        => users::create::handler;
    GET    "/api/v1/users"                              Read                    Limited   users        => users::list::handler;
    GET    "/api/v1/users/{id}"                         Read                    Limited   users        => users::get::handler;
    PATCH  "/api/v1/users/{id}"                         UpdateUser              Limited   users        => users::update::handler;
    DELETE "/api/v1/users/{id}"                         DeleteUser              Limited   users        => users::delete::handler;
    POST   "/api/v1/users/{id}/erase"                   ErasePersonalData       Limited   users        => users::erase::handler;
    DELETE "/api/v1/users/{id}/second-factor"           RemoveSecondFactor      Limited   users        => users::remove_second_factor::handler;

    POST   "/api/v1/second-factor"                      EnrolSecondFactor       Limited   users        => second_factor::begin::handler;
    POST   "/api/v1/second-factor/confirm"              EnrolSecondFactor       Limited   users        => second_factor::confirm::handler;
    POST   "/api/v1/second-factor/recovery-codes"       UseSecondFactor         Limited   users        => second_factor::recovery_codes::handler;
    POST   "/api/v1/second-factor/disable"              UseSecondFactor         Limited   users        => second_factor::disable::handler;

    POST   "/api/v1/invites"                            Invite                  Limited   invites      => invites::issue::handler;
    GET    "/api/v1/invites"                            Invite                  Limited   invites      => invites::list::handler;
    DELETE "/api/v1/invites/{id}"                       Invite                  Limited   invites      => invites::revoke::handler;
    POST   "/api/v1/invites/{token}/register"           Anyone                  Limited   invites      => invites::register::handler;

    POST   "/api/v1/apikeys"                            ManageApiKeys           Limited   api_keys     => api_keys::issue::handler;
    GET    "/api/v1/apikeys"                            Read                    Limited   api_keys     => api_keys::list::handler;
    DELETE "/api/v1/apikeys/{id}"                       ManageApiKeys           Limited   api_keys     => api_keys::revoke::handler;

    POST   "/api/v1/portal-links"                       ManagePortalLinks       Limited   portal_links => portal_links::create::handler;
    GET    "/api/v1/portal-links"                       ManagePortalLinks       Limited   portal_links => portal_links::list::handler;
    DELETE "/api/v1/portal-links/{id}"                  ManagePortalLinks       Limited   portal_links => portal_links::revoke::handler;
    GET    "/api/v1/portal"                             UsePortalLink           Limited   portal_links => portal_links::current::handler;

    POST   "/api/v1/destinations"                       ManageDestinations      Limited   destinations => destinations::register::handler;
    GET    "/api/v1/destinations"                       Read                    Limited   destinations => destinations::list::handler;
    GET    "/api/v1/destinations/{id}"                  ReadDeliveries          Limited   destinations => destinations::get::handler;
    PATCH  "/api/v1/destinations/{id}"                  ManageDestinations      Limited   destinations => destinations::update::handler;
    POST   "/api/v1/destinations/{id}/ingest-token"     ManageDestinations      Limited   destinations => destinations::regenerate_token::handler;
    POST   "/api/v1/destinations/{id}/legal-hold"       HoldLegally             Limited   destinations => destinations::legal_hold::place;
    POST   "/api/v1/destinations/{id}/legal-hold/lift"  HoldLegally             Limited   destinations => destinations::legal_hold::lift;
    POST   "/api/v1/destinations/{id}/senders"          ManageDestinations      Limited   senders      => senders::register::handler;
    GET    "/api/v1/destinations/{id}/senders"          Read                    Limited   senders      => senders::list::handler;

    GET    "/api/v1/senders/{id}"                       Read                    Limited   senders      => senders::get::handler;
    DELETE "/api/v1/senders/{id}"                       ManageDestinations      Limited   senders      => senders::delete::handler;
    POST   "/api/v1/senders/{id}/ingest-token"          ManageDestinations      Limited   senders      => senders::regenerate_token::handler;
    POST   "/api/v1/senders/{id}/mapping"               ManageDestinations      Limited   senders      => senders::mapping::set::handler;
    PUT    "/api/v1/senders/{id}/mapping"               ManageDestinations      Limited   senders      => senders::mapping::replace::handler;
    GET    "/api/v1/senders/{id}/mapping"               Read                    Limited   senders      => senders::mapping::get::handler;
    DELETE "/api/v1/senders/{id}/mapping"               ManageDestinations      Limited   senders      => senders::mapping::remove::handler;
    POST   "/api/v1/senders/{id}/mapping/preview"       Read                    Limited   senders      => senders::mapping::preview::handler;

    POST   "/api/v1/ingest/{tenantId}/{token}"          ApiKey                  Limited   ingest       => ingest::handler;

    GET    "/api/v1/events"                             ReadDeliveries          Limited   events       => events::list::handler;
    GET    "/api/v1/events/facets"                      ReadDeliveries          Limited   events       => events::facets::handler;
    GET    "/api/v1/events/{id}"                        ReadDeliveries          Limited   events       => events::get::handler;
    POST   "/api/v1/events/{id}/replay"                 ReplayDelivery          Limited   events       => events::replay::handler;
    POST   "/api/v1/events/{id}/cancel"                 CancelDelivery          Limited   events       => events::cancel::handler;
    POST   "/api/v1/events/{id}/erase"                  ErasePayloads           Limited   events       => events::erase::handler;
    GET    "/api/v1/events/{id}/attempts"               ReadDeliveries          Limited   events       => events::attempts::handler;
    GET    "/api/v1/events/{id}/history"                Read                    Limited   events       => events::history::handler;

    POST   "/api/v1/erasures"                           ErasePayloads           Limited   events       => erasures::request::handler;
    GET    "/api/v1/erasures/{id}"                      Read                    Limited   events       => erasures::get::handler;

    POST   "/api/v1/bulk-actions"                       ReplayEvents            Limited   bulk_actions => bulk_actions::request::handler;
    GET    "/api/v1/bulk-actions"                       Read                    Limited   bulk_actions => bulk_actions::list::handler;
    GET    "/api/v1/bulk-actions/{id}"                  Read                    Limited   bulk_actions => bulk_actions::get::handler;
    POST   "/api/v1/bulk-actions/{id}/pause"            ReplayEvents            Limited   bulk_actions => bulk_actions::change::pause;
    POST   "/api/v1/bulk-actions/{id}/resume"           ReplayEvents            Limited   bulk_actions => bulk_actions::change::resume;
    POST   "/api/v1/bulk-actions/{id}/cancel"           ReplayEvents            Limited   bulk_actions => bulk_actions::change::cancel;

    GET    "/api/v1/events/{id}/proof"                  Read                    Limited   audit        => events::proof::handler;

    GET    "/api/v1/audit"                              ReadAuditTrail          Limited   audit        => audit::list::handler;
    GET    "/api/v1/audit/export"                       ReadAuditTrail          Limited   audit        => audit::export::handler;
    GET    "/api/v1/audit/log/checkpoint"               Read                    Limited   audit        => audit::log::checkpoint::handler;
    GET    "/api/v1/audit/log/proof"                    Read                    Limited   audit        => audit::log::proof::handler;
    GET    "/api/v1/audit/log/tile/{*tile}"             Read                    Limited   audit        => audit::log::tile::handler;

    GET    "/api/v1/stats"                              ReadDeliveries          Limited   stats        => stats::handler;
    GET    "/api/v1/stats/destinations"                 Read                    Limited   stats        => stats::destinations::handler;
    GET    "/api/v1/stream"                             Read                    Limited   streams      => stream::handler;

    DELETE "/api/v1/queues/{id}"                        PurgeQueue              NoTimeout queues       => queues::purge::handler;

    GET    "/.well-known/hooksentry-log-keys"           Anyone                  Limited   well_known   => well_known::keys::handler;
    GET    "/.well-known/hooksentry-log/checkpoint"     Anyone                  Limited   well_known   => well_known::log::checkpoint;
    GET    "/.well-known/hooksentry-log/tile/{*tile}"   Anyone                  Limited   well_known   => well_known::log::tile;

    GET    "/health"                                    Anyone                  Unlimited health       => health::health;
    GET    "/health/live"                               Anyone                  Unlimited health       => health::live;
    GET    "/health/ready"                              Anyone                  Unlimited health       => health::ready;
    GET    "/metrics"                                   Anyone                  Unlimited health       => health::metrics;
    GET    "/openapi.json"                              Anyone                  Limited   docs         => openapi::document;
    GET    "/docs"                                      Anyone                  Limited   docs         => openapi::page;
    GET    "/docs/{file}"                               Anyone                  Limited   docs         => openapi::file;
}

/// Returns the router of the API, and of the dashboard if there is one.
pub fn router(dependencies: ApiDependencies) -> Router {
    let dashboard = dependencies.dashboard();
    let state = AppState::new(dependencies);
    let api = api(&state);
    match dashboard {
        Some(dashboard) => dashboard.add_to(api, &state),
        None => api,
    }
}

fn api(state: &AppState) -> Router {
    let router = ROUTES.iter().fold(Router::new(), |router, route| {
        let handler = (route.mount)(state);
        let guarded = if route.permission.needs_user() {
            let guard = (state.authentication.clone(), route.permission);
            handler.route_layer(from_fn_with_state(guard, authentication::guard))
        } else {
            handler
        };
        let timeout = (route.admission == Limited).then_some(REQUEST_TIME_MAX);
        let admission = state.places.of_route(route.permission, timeout);
        let admitted = match route.admission {
            Unlimited => guarded,
            Limited | NoTimeout => {
                guarded.route_layer(from_fn_with_state(Arc::new(admission), admission::admit))
            }
        };
        // Senders keep a connection for many webhooks, and wait as `Retry-After` says. Checks of health must not be late.
        let is_prompt = route.permission == Permission::ApiKey || route.admission == Unlimited;
        let late = from_fn_with_state(state.late_refusals.clone(), late_refusals::delay);
        router.route(route.path, if is_prompt { admitted } else { admitted.route_layer(late) })
    });
    router
        .fallback(layers::no_such_route)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(layers::cors(state.cors_origin.clone()))
        .layer(from_fn_with_state(state.context_source.clone(), layers::with_context))
}
