//! The dashboard: web pages for those who operate and audit deliveries.
//!
//! [`ROUTES`] is all of it on one screen: method, path, who may open it, handler. The handler of a page is in `pages/`,
//! its template has the same name in `templates/`.
//!
//! The dashboard knows neither the database nor the domain. It calls the API in the process, through the API's own
//! router, with the access token of the session ([`api`]): so permissions, limits, refusals and the audit trail are
//! exactly those of the API, and a page can do nothing that its user could not do without it.
//!
//! - [`session`]: cookies, refresh of tokens, protection of forms.
//! - [`web`]: requests, answers, errors and what all pages have in common.
//! - [`words`]: sentences in place of codes.
//! - [`text`]: texts of others, which are shown as text with any content.

mod api;
mod assets;
mod clock;
mod pages;
mod session;
mod text;
mod web;
pub mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, on};
use secrecy::SecretSlice;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use api::Api;
use pages::{
    account, administration, audit, bulk_actions, destinations, erasures, events, invitation, live, overview,
    portal, senders, sign_in, sign_out, sign_up, system, test_event, welcome,
};
use session::Sessions;
pub use session::links::SignInLinks;
use web::error;
use web::lag::LagMemory;
use web::layers;

/// What the dashboard needs to know of the installation.
#[derive(Clone, Debug)]
pub struct DashboardSettings {
    /// First segments of the API's paths, such as `api`. Unknown paths below them are answered by the API.
    pub api_segments: Vec<String>,
    pub sign_up: SignUp,
    /// Keys of at least 32 bytes that protect forms, the same in every process. The first one protects, all of them
    /// check.
    pub form_keys: Vec<SecretSlice<u8>>,
    /// Links that sign in once.
    pub links: SignInLinks,
    /// Tracks work that must not end with the request that began it.
    pub tasks: TaskTracker,
}

/// Who may register a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignUp {
    Open,
    /// With an invitation of the operator.
    Invitation,
    Closed,
}

/// Who may open a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone.
    Visitor,
    /// Users who are signed in. Others are led to the sign-in.
    Session,
    /// Holders of a portal link.
    PortalLink,
}

/// One method of one path.
#[derive(Clone)]
pub struct Route {
    pub method: Method,
    /// Path, with `{names}` in place of segments.
    pub path: &'static str,
    pub access: Access,
    mount: fn() -> MethodRouter<App>,
}

macro_rules! routes {
    ($($method:ident $path:literal $access:ident => $($handler:ident)::+;)+) => {
        pub const ROUTES: &[Route] = &[$(Route {
            method: Method::$method,
            path: $path,
            access: Access::$access,
            mount: || on(MethodFilter::$method, $($handler)::+),
        }),+];
    };
}

routes! {
    GET  "/sign-in"              Visitor => sign_in::page;
    POST "/sign-in"              Visitor => sign_in::submit;
    GET  "/sign-up"              Visitor => sign_up::page;
    POST "/sign-up"              Visitor => sign_up::submit;
    GET  "/invitations/{token}"  Visitor => invitation::page;
    POST "/invitations/{token}"  Visitor => invitation::submit;
    GET  "/welcome/{token}"      Visitor => welcome::page;
    POST "/sign-out"             Session => sign_out::submit;

    GET  "/portal"                      Visitor    => portal::enter::page;
    POST "/portal"                      Visitor    => portal::enter::submit;
    POST "/portal/sign-out"             PortalLink => portal::enter::leave;
    GET  "/portal/events"               PortalLink => portal::events::list;
    GET  "/portal/events/{id}"          PortalLink => portal::events::one;
    POST "/portal/events/{id}/replay"   PortalLink => portal::events::replay;
    POST "/portal/events/{id}/cancel"   PortalLink => portal::events::cancel;

    GET  "/"                     Session => overview::page;
    GET  "/live"                 Session => live::stream;
    GET  "/events"               Session => events::list::page;
    GET  "/events/{id}"          Session => events::one::page;
    POST "/events/{id}/replay"   Session => events::actions::replay;
    GET  "/events/{id}/proof"    Session => events::proof::download;
    POST "/events/{id}/cancel"   Session => events::actions::cancel;
    GET  "/events/{id}/erase"    Session => events::erase::page;
    POST "/events/{id}/erase"    Session => events::erase::submit;

    GET  "/bulk-actions"                     Session => bulk_actions::list::page;
    GET  "/bulk-actions/new"                 Session => bulk_actions::new::page;
    POST "/bulk-actions/new"                 Session => bulk_actions::new::submit;
    GET  "/bulk-actions/{id}"                Session => bulk_actions::one::page;
    POST "/bulk-actions/{id}/pause"          Session => bulk_actions::one::pause;
    POST "/bulk-actions/{id}/resume"         Session => bulk_actions::one::resume;
    POST "/bulk-actions/{id}/cancel"         Session => bulk_actions::one::cancel;

    GET  "/erasures/new"                     Session => erasures::new::page;
    POST "/erasures/new"                     Session => erasures::new::submit;
    GET  "/erasures/{id}"                    Session => erasures::one::page;

    GET  "/destinations"                     Session => destinations::list::page;
    POST "/destinations"                     Session => destinations::list::create;
    GET  "/destinations/{id}"                Session => destinations::one::page;
    POST "/destinations/{id}"                Session => destinations::one::change;
    POST "/destinations/{id}/switch"         Session => destinations::one::switch;
    POST "/destinations/{id}/ingest-token"   Session => destinations::one::replace_token;
    POST "/destinations/{id}/legal-hold"       Session => destinations::legal_hold::place;
    POST "/destinations/{id}/legal-hold/lift"  Session => destinations::legal_hold::lift;
    POST "/destinations/{id}/senders"        Session => destinations::senders::create;

    GET  "/senders/{id}"                     Session => senders::one::page;
    POST "/senders/{id}/ingest-token"        Session => senders::one::replace_token;
    POST "/senders/{id}/delete"              Session => senders::one::delete;
    POST "/senders/{id}/mapping"             Session => senders::mapping::submit;
    POST "/senders/{id}/mapping/remove"      Session => senders::mapping::remove;
    GET  "/audit"                            Session => audit::trail::page;
    GET  "/audit/export"                     Session => audit::trail::export;
    GET  "/audit/log"                        Session => audit::log::page;
    GET  "/audit/log/checkpoint"             Session => audit::log::download;

    GET  "/system"                           Session => system::page;

    GET  "/users"                            Session => administration::users::page;
    GET  "/users/{id}"                       Session => administration::user::page;
    POST "/users/{id}"                       Session => administration::user::change;
    POST "/users/{id}/switch"                Session => administration::user::switch;
    POST "/users/{id}/delete"                Session => administration::user::delete;
    POST "/users/{id}/second-factor/remove"  Session => administration::user::remove_second_factor;
    POST "/invites"                          Session => administration::invites::create;
    POST "/invites/{id}/revoke"              Session => administration::invites::revoke;
    GET  "/api-keys"                         Session => administration::api_keys::page;
    POST "/api-keys"                         Session => administration::api_keys::create;
    POST "/api-keys/{id}/revoke"             Session => administration::api_keys::revoke;
    GET  "/portal-links"                     Session => administration::portal_links::page;
    POST "/portal-links"                     Session => administration::portal_links::create;
    POST "/portal-links/{id}/revoke"         Session => administration::portal_links::revoke;
    GET  "/signing"                          Session => administration::signing::page;
    POST "/signing/secret"                   Session => administration::signing::secret::reveal;
    POST "/signing/replace"                  Session => administration::signing::secret::replace;
    POST "/signing/test"                     Session => administration::signing::tester::submit;
    GET  "/tenant"                           Session => administration::tenant::page;
    POST "/tenant"                           Session => administration::tenant::change;
    POST "/tenant/retention"                 Session => administration::tenant::change_retention;
    POST "/tenant/legal-hold"                Session => administration::tenant::hold;
    POST "/tenant/legal-hold/lift"           Session => administration::tenant::lift;

    GET  "/account"                                Session => account::page;
    POST "/account/password"                       Session => account::password::change;
    POST "/account/sessions/end-others"            Session => account::sessions::end_others;
    POST "/account/sessions/{id}/end"              Session => account::sessions::end;
    POST "/account/second-factor"                  Session => account::second_factor::begin;
    POST "/account/second-factor/confirm"          Session => account::second_factor::confirm;
    POST "/account/second-factor/recovery-codes"   Session => account::second_factor::replace_recovery_codes;
    POST "/account/second-factor/disable"          Session => account::second_factor::disable;

    GET  "/test-event"                       Session => test_event::page;
    POST "/test-event"                       Session => test_event::submit;
}

/// Path of the assets, whose names contain their hashes.
const ASSETS: &str = "/assets/{hash}/{name}";

/// Dependencies of the handlers.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) api: Api,
    pub(crate) sessions: Sessions,
    pub(crate) sign_up: SignUp,
    pub(crate) links: SignInLinks,
    pub(crate) lags: LagMemory,
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Returns a router of the API and the dashboard. `guard` adds to the dashboard's routes what every request passes
/// through: limits, context, traces.
pub fn router(api: Router, settings: DashboardSettings, guard: impl FnOnce(Router) -> Router) -> Router {
    let DashboardSettings { api_segments, sign_up, form_keys, links, tasks } = settings;
    let client = Api::new(api.clone());
    let sessions = Sessions::new(client.clone(), &form_keys, tasks);
    let app = App(Arc::new(Parts { api: client, sessions, sign_up, links, lags: LagMemory::new() }));
    let pages = ROUTES.iter().fold(Router::new(), |router, route| {
        let handler = (route.mount)().route_layer(from_fn_with_state(route.access, session::require));
        router.route(route.path, handler)
    });
    let pages = pages
        .method_not_allowed_fallback(error::method_not_allowed)
        .layer(from_fn_with_state(app.clone(), session::layer))
        .with_state(app)
        .route(ASSETS, on(MethodFilter::GET, assets::serve));
    let pages = guard(pages).layer(from_fn(layers::pages));
    let elsewhere = Elsewhere { api: api.clone(), api_segments: api_segments.into() };
    api.merge(pages).fallback(move |request: Request| elsewhere.clone().answer(request))
}

/// What answers requests whose path no route has.
#[derive(Clone)]
struct Elsewhere {
    api: Router,
    api_segments: Arc<[String]>,
}

impl Elsewhere {
    async fn answer(self, request: Request) -> Response {
        let first = request.uri().path().split('/').nth(1).unwrap_or_default();
        if self.api_segments.iter().any(|segment| segment == first) {
            let Ok(answer) = self.api.oneshot(request).await;
            return answer;
        }
        layers::secured(error::no_such_page())
    }
}
