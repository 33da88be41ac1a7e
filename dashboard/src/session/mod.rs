//! Sessions of the dashboard: the session of the API, in a cookie.
//!
//! One cookie holds the refresh token and the access token of the API's login, so both change together. When the
//! access token is about to expire, [`refresh`] exchanges them, and the answer sets the cookie again. If the API
//! refuses, because the session has ended, the page leads to the sign-in, and from there back.
//!
//! Requests that change something must come from our own pages: [`origin`] checks the headers that browsers set, and
//! every form has a token ([`form_token`]).

pub(crate) mod claims;
pub(crate) mod cookies;
pub(crate) mod form_token;
pub(crate) mod links;
pub(crate) mod next;
mod origin;
mod refresh;
pub(crate) mod sealed;
pub(crate) mod viewer;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::SET_COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use secrecy::{SecretSlice, SecretString};
use tokio_util::task::TaskTracker;

use crate::api::auth::Tokens;
use crate::api::problem::{ApiError, Problem};
use crate::api::{Api, Caller, Client};
use crate::session::claims::Claims;
use crate::session::cookies::Cookies;
use crate::session::form_token::FormKeys;
use crate::session::refresh::{Refreshed, Refresher};
use crate::session::sealed::Sealer;
use crate::web::error::PageError;
use crate::web::lag::Lags;
use crate::{Access, App, clock};

/// Marks an answer to a user whose session has ended, or to the holder of a portal link that has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedOut;

/// Header of requests that htmx sends.
const HX_REQUEST: HeaderName = HeaderName::from_static("hx-request");

/// Keeps sessions current and protects their forms.
pub(crate) struct Sessions {
    refresher: Refresher,
    pub(crate) form_keys: FormKeys,
    pub(crate) sealer: Sealer,
}

impl Sessions {
    pub(crate) fn new(api: Api, keys: &[SecretSlice<u8>], tasks: TaskTracker) -> Self {
        Self {
            refresher: Refresher::new(api, tasks),
            form_keys: FormKeys::new(keys),
            sealer: Sealer::new(keys),
        }
    }
}

/// A user who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn {
    pub(crate) tokens: Tokens,
    pub(crate) claims: Claims,
}

/// Request of anyone, signed in or not.
#[derive(Clone, Debug)]
pub(crate) struct Visitor {
    caller: Caller,
    pub(crate) cookies: Cookies,
    /// Token of the forms on the page.
    pub(crate) form_token: String,
    /// Path and query of the request.
    pub(crate) location: String,
    pub(crate) signed_in: Option<SignedIn>,
}

/// Request of a user who is signed in.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// The API with the user's access token.
    pub(crate) api: Client,
    pub(crate) claims: Claims,
    pub(crate) tokens: Tokens,
    pub(crate) cookies: Cookies,
    pub(crate) form_token: String,
    /// Path and query of the request.
    pub(crate) location: String,
    /// What is behind, so that the page shows the past.
    pub(crate) lags: Lags,
}

/// Middleware of every page: reads the cookie, refreshes the session and refuses requests of other websites.
pub(crate) async fn layer(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Err(refused) = origin::check(&parts) {
        return refused.into_response();
    }
    let mut cookies = Cookies::of(&parts);
    let caller = Caller::of(&parts);
    let mut signed_in = cookies.session().and_then(SignedIn::of);
    let mut set_cookie = None;
    if let Some(session) = signed_in.take() {
        match app.sessions.refresher.current(session, &caller).await {
            Refreshed::Unchanged(session) => signed_in = Some(session),
            Refreshed::New(session) => {
                set_cookie = Some(cookies.sign_in(&session.tokens));
                signed_in = Some(session);
            }
            Refreshed::Ended => set_cookie = Some(cookies.sign_out()),
            Refreshed::Failed(error) => return PageError::from(error).into_response(),
        }
    } else if cookies.session().is_some() {
        set_cookie = Some(cookies.sign_out());
    }
    let form_token = match &signed_in {
        Some(session) => app.sessions.form_keys.of_session(session.claims.session_id),
        None => {
            let (token, cookie) = app.sessions.form_keys.of_visitor(&mut cookies);
            set_cookie = set_cookie.or(cookie);
            token
        }
    };
    let location = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let visitor = Visitor { caller, cookies, form_token, location, signed_in };
    let is_htmx = parts.headers.contains_key(HX_REQUEST);
    let is_get = parts.method.is_safe();
    parts.extensions.insert(visitor.clone());
    let answer = next.run(Request::from_parts(parts, body)).await;
    visitor.finish(answer, set_cookie, is_get, is_htmx)
}

/// Middleware of a route that only users who are signed in may open.
pub(crate) async fn require(State(access): State<Access>, request: Request, next: Next) -> Response {
    let visitor = request.extensions().get::<Visitor>();
    if access == Access::Session && visitor.is_none_or(|visitor| visitor.signed_in.is_none()) {
        return PageError::SignedOut.into_response();
    }
    next.run(request).await
}

impl SignedIn {
    /// Returns the user of these tokens; `None`: they are not tokens.
    pub(crate) fn of(tokens: Tokens) -> Option<Self> {
        let claims = Claims::read(&tokens.access_token)?;
        Some(Self { tokens, claims })
    }

    fn expires_within(&self, seconds: i64) -> bool {
        self.claims.expires_at <= clock::now().timestamp() + seconds
    }
}

impl Visitor {
    /// Returns the API without credentials.
    pub(crate) fn api(&self, app: &App) -> Client {
        app.api.of(self.caller.clone())
    }

    /// Returns the API with a token.
    pub(crate) fn api_with(&self, app: &App, token: &SecretString) -> Client {
        app.api.of(self.caller.clone().with_token(token))
    }

    /// Whether the holder of a portal link, who is not signed in, wants the first page: error pages link to it.
    fn is_customer_at_home(&self) -> bool {
        self.location == "/" && self.cookies.session().is_none() && self.cookies.portal_token().is_some()
    }

    /// Sets the cookie, and leads a user whose session has ended to the sign-in, or the holder of a link to its entrance.
    fn finish(
        &self,
        answer: Response,
        set_cookie: Option<HeaderValue>,
        is_get: bool,
        is_htmx: bool,
    ) -> Response {
        let mut answer = answer;
        if answer.extensions().get::<SignedOut>().is_some() {
            let is_portal = self.location.starts_with(&format!("{}/", viewer::PORTAL));
            let back = if is_get { next::query(&self.location) } else { String::new() };
            let sign_in = if is_portal {
                format!("{}?ended=1", viewer::PORTAL)
            } else if self.is_customer_at_home() {
                format!("{}/events", viewer::PORTAL)
            } else {
                format!("/sign-in{back}")
            };
            let mut redirect = Redirect::to(&sign_in).into_response();
            if is_htmx && let Ok(value) = sign_in.parse() {
                // A fragment of a page cannot show the sign-in.
                redirect = axum::http::StatusCode::NO_CONTENT.into_response();
                redirect.headers_mut().insert("hx-redirect", value);
            }
            if is_portal {
                redirect.headers_mut().append(SET_COOKIE, self.cookies.leave_portal());
            } else if self.cookies.session().is_some() {
                redirect.headers_mut().append(SET_COOKIE, self.cookies.sign_out());
            } else if let Some(cookie) = set_cookie {
                redirect.headers_mut().append(SET_COOKIE, cookie);
            }
            return redirect;
        }
        // What a handler sets is newer.
        if let (Some(cookie), false) = (set_cookie, answer.headers().contains_key(SET_COOKIE)) {
            answer.headers_mut().append(SET_COOKIE, cookie);
        }
        answer
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, PageError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or(PageError::internal("a route without the session layer"))
    }
}

impl FromRequestParts<App> for Session {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageError> {
        let Visitor { caller, cookies, form_token, location, signed_in } =
            Visitor::from_request_parts(parts, app).await?;
        let SignedIn { tokens, claims } = signed_in.ok_or(PageError::SignedOut)?;
        let api = app.api.of(caller.with_token(&tokens.access_token));
        let lags = app.lags.of(&api).await;
        Ok(Self { api, claims, tokens, cookies, form_token, location, lags })
    }
}

/// Returns whether the API says that a session has ended.
pub(crate) fn has_ended(error: &ApiError) -> bool {
    let kinds = ["unauthenticated", "refresh-token-refused"];
    matches!(error, ApiError::Problem(Problem { kind, .. }) if kinds.contains(&kind.as_str()))
}
