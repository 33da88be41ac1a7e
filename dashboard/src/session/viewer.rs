//! Who looks at events: a user who is signed in, or the holder of a portal link.
//!
//! A portal link has pages of its own, below `/portal`, with the same content: the API restricts what it shows. Its token is
//! in a cookie of its own, so a user may be signed in at the same time.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::claims::{Claims, Role};
use super::cookies::Cookies;
use super::{Session, Visitor};
use crate::App;
use crate::api::Client;
use crate::api::portal::CurrentLink;
use crate::web::error::PageError;
use crate::web::lag::Lags;

/// Path below which the pages of portal links are.
pub(crate) const PORTAL: &str = "/portal";

/// Request of someone who looks at events.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    /// The API with the credentials of the viewer.
    pub(crate) api: Client,
    pub(crate) cookies: Cookies,
    pub(crate) form_token: String,
    /// Path and query of the request.
    pub(crate) location: String,
    pub(crate) identity: Identity,
    /// What is behind. Nothing is said of it to the holders of portal links.
    pub(crate) lags: Lags,
}

/// User or portal link.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    User(Claims),
    PortalLink(CurrentLink),
}

/// Request of the holder of a portal link.
#[derive(Clone, Debug)]
pub(crate) struct PortalSession(pub(crate) Viewer);

impl Viewer {
    /// Returns what precedes `/events` in the paths of the viewer's pages.
    pub(crate) fn base(&self) -> &'static str {
        match self.identity {
            Identity::User(_) => "",
            Identity::PortalLink(_) => PORTAL,
        }
    }

    /// Returns the portal link; `None`: a user is signed in.
    pub(crate) fn portal_link(&self) -> Option<&CurrentLink> {
        match &self.identity {
            Identity::User(_) => None,
            Identity::PortalLink(link) => Some(link),
        }
    }

    /// Returns whether the API will allow replays.
    pub(crate) fn may_replay(&self) -> bool {
        match &self.identity {
            Identity::User(claims) => claims.role >= Role::Developer,
            Identity::PortalLink(link) => link.operates(),
        }
    }

    /// Returns whether the API will allow cancellations.
    pub(crate) fn may_cancel(&self) -> bool {
        match &self.identity {
            Identity::User(claims) => claims.role >= Role::Admin,
            Identity::PortalLink(link) => link.operates(),
        }
    }
}

impl From<Session> for Viewer {
    fn from(session: Session) -> Self {
        let Session { api, claims, tokens: _, cookies, form_token, location, lags } = session;
        Self { api, cookies, form_token, location, identity: Identity::User(claims), lags }
    }
}

impl FromRequestParts<App> for PortalSession {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageError> {
        let Visitor { caller, cookies, form_token, location, .. } =
            Visitor::from_request_parts(parts, app).await?;
        let token = cookies.portal_token().ok_or(PageError::SignedOut)?;
        let api = app.api.of(caller.with_token(token));
        let identity = Identity::PortalLink(api.portal_link().await?);
        Ok(Self(Viewer { api, cookies, form_token, location, identity, lags: Lags::default() }))
    }
}
