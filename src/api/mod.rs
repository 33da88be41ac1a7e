//! The HTTP API: reads a request, asks the domain or the read models, answers.
//!
//! [`ROUTES`] is all of it on one screen: method, path, who may call, which handler. The router, the
//! description at `/openapi.json` and the tests that try every route with every role are made from this
//! one table, so none of them can forget a route. Permissions are judged before a handler runs; what is
//! not done is said by [`problem`] alone; each handler is given the two or three handles it uses.

mod access;
mod as_of;
mod commands;
mod health;
mod http;
mod openapi;
mod state;
mod v1;

use std::time::Duration;

use axum::Router;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodFilter, MethodRouter, on};

pub use access::permissions::Permission;
pub use http::client_address::TrustedProxies;
pub use http::problem;
pub use openapi::openapi;
pub use state::{ApiDependencies, Settings};

use access::authentication;
use http::layers::{self, Bounds};
use openapi::schemas;
use state::AppState;
use v1::senders::mapping;
use v1::tenants::webhook_secret;
use v1::{
    api_keys, auth, destinations, events, ingest, invites, queues, senders, stats, stream, tenants, users,
};

/// How long an ordinary request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);

/// How long a route may take, and whether it has to find a place among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Within bounds.
    Bounded,
    /// As long as there is work to do.
    Unhurried,
    /// Always, however busy the service is: how else could one see that it is.
    Always,
}
use Pace::{Always, Bounded, Unhurried};

/// One method of one path.
#[derive(Clone)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path; `{names}` stand for segments.
    pub path: &'static str,
    /// Who may call.
    pub permission: Permission,
    pace: Pace,
    mount: fn(&AppState) -> MethodRouter,
}

macro_rules! routes {
    ($($method:ident $path:literal $permission:ident $pace:ident $part:ident => $($handler:ident)::+;)+) => {
        /// Every route.
        pub const ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            permission: Permission::$permission,
            pace: $pace,
            mount: |parts| on(MethodFilter::$method, $($handler)::+).with_state(parts.$part.clone()),
        }),+];

        /// What the handlers say of themselves.
        #[derive(utoipa::OpenApi)]
        #[openapi(
            paths($($($handler)::+),+),
            // Only parameters name these, and what parameters name is not collected.
            components(schemas(
                schemas::DateOrTime,
                schemas::DestinationStatusFilter,
                schemas::InviteStatusGiven,
            ))
        )]
        struct Handlers;
    };
}

routes! {
    POST   "/api/v1/auth/login"                         Anyone                  Bounded   auth         => auth::login;
    POST   "/api/v1/auth/refresh"                       Anyone                  Bounded   auth         => auth::refresh;
    POST   "/api/v1/auth/logout"                        LogOut                  Bounded   auth         => auth::logout;

    POST   "/api/v1/tenants"                            Anyone                  Bounded   tenants      => tenants::register;
    GET    "/api/v1/tenants/{id}"                       Read                    Bounded   tenants      => tenants::get;
    PATCH  "/api/v1/tenants/{id}"                       UpdateTenant            Bounded   tenants      => tenants::update;
    GET    "/api/v1/tenants/{id}/webhook-secret"        UseWebhookSecret        Bounded   tenants      => webhook_secret::get;
    POST   "/api/v1/tenants/{id}/webhook-secret"        RegenerateWebhookSecret Bounded   tenants      => webhook_secret::regenerate;
    POST   "/api/v1/tenants/{id}/webhook-secret/verify" UseWebhookSecret        Bounded   tenants      => webhook_secret::verify;

    POST   "/api/v1/users"                              CreateUser              Bounded   users        => users::create;
    GET    "/api/v1/users"                              Read                    Bounded   users        => users::list;
    GET    "/api/v1/users/{id}"                         Read                    Bounded   users        => users::get;
    PATCH  "/api/v1/users/{id}"                         UpdateUser              Bounded   users        => users::update;
    DELETE "/api/v1/users/{id}"                         DeleteUser              Bounded   users        => users::delete;

    POST   "/api/v1/invites"                            Invite                  Bounded   invites      => invites::issue;
    GET    "/api/v1/invites"                            Invite                  Bounded   invites      => invites::list;
    POST   "/api/v1/invites/{token}/register"           Anyone                  Bounded   invites      => invites::register;

    POST   "/api/v1/apikeys"                            ManageApiKeys           Bounded   api_keys     => api_keys::issue;
    GET    "/api/v1/apikeys"                            Read                    Bounded   api_keys     => api_keys::list;
    DELETE "/api/v1/apikeys/{id}"                       ManageApiKeys           Bounded   api_keys     => api_keys::revoke;

    POST   "/api/v1/destinations"                       ManageDestinations      Bounded   destinations => destinations::register;
    GET    "/api/v1/destinations"                       Read                    Bounded   destinations => destinations::list;
    GET    "/api/v1/destinations/{id}"                  Read                    Bounded   destinations => destinations::get;
    PATCH  "/api/v1/destinations/{id}"                  ManageDestinations      Bounded   destinations => destinations::update;
    POST   "/api/v1/destinations/{id}/ingest-token"     ManageDestinations      Bounded   destinations => destinations::regenerate_token;
    POST   "/api/v1/destinations/{id}/senders"          ManageDestinations      Bounded   senders      => senders::register;
    GET    "/api/v1/destinations/{id}/senders"          Read                    Bounded   senders      => senders::list;

    GET    "/api/v1/senders/{id}"                       Read                    Bounded   senders      => senders::get;
    DELETE "/api/v1/senders/{id}"                       ManageDestinations      Bounded   senders      => senders::delete;
    POST   "/api/v1/senders/{id}/ingest-token"          ManageDestinations      Bounded   senders      => senders::regenerate_token;
    POST   "/api/v1/senders/{id}/mapping"               ManageDestinations      Bounded   senders      => mapping::set;
    GET    "/api/v1/senders/{id}/mapping"               Read                    Bounded   senders      => mapping::get;
    DELETE "/api/v1/senders/{id}/mapping"               ManageDestinations      Bounded   senders      => mapping::remove;
    POST   "/api/v1/senders/{id}/mapping/preview"       Read                    Bounded   senders      => mapping::preview;

    POST   "/api/v1/ingest/{tenantId}/{token}"          ApiKey                  Bounded   ingest       => ingest::ingest;

    GET    "/api/v1/events"                             Read                    Bounded   events       => events::list::handler;
    GET    "/api/v1/events/{id}"                        Read                    Bounded   events       => events::get::handler;
    POST   "/api/v1/events/{id}/replay"                 ReplayEvents            Bounded   events       => events::replay::handler;
    POST   "/api/v1/events/{id}/cancel"                 CancelEvents            Bounded   events       => events::cancel::handler;
    GET    "/api/v1/events/{id}/attempts"               Read                    Bounded   events       => events::attempts::handler;
    GET    "/api/v1/events/{id}/history"                Read                    Bounded   events       => events::history::handler;

    GET    "/api/v1/stats"                              Read                    Bounded   stats        => stats::get;
    GET    "/api/v1/stream"                             Read                    Bounded   streams      => stream::open;

    DELETE "/api/v1/queues/{id}"                        PurgeQueue              Unhurried queues       => queues::purge;

    GET    "/health"                                    Anyone                  Always    health       => health::health;
    GET    "/health/live"                               Anyone                  Always    health       => health::live;
    GET    "/health/ready"                              Anyone                  Always    health       => health::ready;
    GET    "/metrics"                                   Anyone                  Always    health       => health::metrics;
    GET    "/openapi.json"                              Anyone                  Bounded   docs         => openapi::openapi_json;
    GET    "/docs"                                      Anyone                  Bounded   docs         => openapi::index;
    GET    "/docs/{file}"                               Anyone                  Bounded   docs         => openapi::file;
}

/// The router of the whole API.
pub fn router(handles: ApiDependencies) -> Router {
    let parts = AppState::new(handles);
    let router = ROUTES.iter().fold(Router::new(), |router, route| {
        let guard = (parts.authentication.clone(), route.permission);
        let handler = (route.mount)(&parts).route_layer(from_fn_with_state(guard, authentication::guard));
        let time = (route.pace == Bounded).then_some(REQUEST_TIME_MAX);
        let bounds = Bounds { under_way: parts.under_way.clone(), time };
        router.route(
            route.path,
            match route.pace {
                Always => handler,
                Bounded | Unhurried => handler.route_layer(from_fn_with_state(bounds, layers::bound)),
            },
        )
    });
    router
        .fallback(layers::no_such_route)
        .method_not_allowed_fallback(layers::method_not_allowed)
        .layer(layers::cors(parts.cors_origin.clone()))
        .layer(from_fn(layers::catch))
        .layer(from_fn_with_state(parts.trusted_proxies.clone(), layers::surround))
}
