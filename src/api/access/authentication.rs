//! Authentication of users by access tokens, and of holders of portal links by the token of the link.
//!
//! An access token names its session. Every request looks up in the database whether that session is open and which
//! role its user has, so a logout, a new role and a deactivation take effect at once in every process, even if the read
//! models are behind (see [`sessions::user`]). Other claims of the token decide nothing. A portal link is looked up with
//! every request as well, so a revocation, the end of its validity and a suspension of its tenant take effect at once.

use std::net::IpAddr;

use aggregates::ids::{SessionId, TenantId, UserId};
use aggregates::role::Role;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use projections::{portal_links, sessions};
use sqlx::PgPool;

use crate::api::access::access_tokens::AccessTokens;
use crate::api::access::permissions::Permission;
use crate::api::access::principal::{DeliveryViewer, PortalCaller, Principal};
use crate::api::http::admission::Admitted;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::request_context::RequestContext;
use crate::clock;
use crate::event_store::Metadata;
use crate::secrets::token::{self, TokenKind};

/// Dependencies of authentication.
#[derive(Clone, Debug)]
pub(crate) struct Authentication {
    pub(crate) pool: PgPool,
    pub(crate) tokens: AccessTokens,
}

/// The user who makes a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user_id: UserId,
    pub(crate) tenant_id: TenantId,
    /// Current role of the user, which may differ from the one in the token.
    pub(crate) role: Role,
    pub(crate) session_id: SessionId,
    context: RequestContext,
}

impl Caller {
    /// Returns the metadata of facts that the caller causes.
    pub(crate) fn metadata(&self) -> Metadata {
        self.context.metadata_of_user(self.tenant_id, self.user_id)
    }

    /// Returns the address of the caller's client.
    pub(crate) fn client(&self) -> IpAddr {
        self.context.client
    }

    /// Checks that a resource of the tenant `owner` belongs to the caller's tenant.
    ///
    /// # Errors
    /// The resource does not exist (`owner` is `None`) or belongs to another tenant.
    pub(crate) fn check_owner(&self, owner: Option<TenantId>, resource: &str) -> Result<(), Problem> {
        check_owner(self.tenant_id, owner, resource)
    }
}

/// Checks that a resource of the tenant `owner` belongs to the tenant `own`.
///
/// # Errors
/// The resource does not exist (`owner` is `None`) or belongs to another tenant.
pub(crate) fn check_owner(own: TenantId, owner: Option<TenantId>, resource: &str) -> Result<(), Problem> {
    match owner {
        None => Err(Problem::not_found(resource)),
        Some(owner) if owner != own => Err(Problem::other_tenant(resource)),
        Some(_) => Ok(()),
    }
}

/// Middleware of a route that admits callers with its permission, which needs a user.
///
/// # Errors
/// The access token or portal link is not valid, the tenant is suspended or has its share of the concurrent requests, or
/// the role of the user or the link does not have the permission.
pub(crate) async fn guard(
    State((authentication, permission)): State<(Authentication, Permission)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let context = request.extensions().get::<RequestContext>().cloned();
    let context =
        context.ok_or_else(|| Problem::internal("a route is mounted without the router's layers"))?;
    let principal = authentication.principal(bearer_token(request.headers()), context).await?;
    let subject = principal.subject();
    principal.check(permission).map_err(|refused| refused.about(Some(subject)))?;
    if let Some(admitted) = request.extensions().get::<Admitted>() {
        admitted.belongs_to(principal.scope().searched_tenant())?;
    }
    request.extensions_mut().insert(principal);
    let mut response = next.run(request).await;
    response.extensions_mut().insert(subject);
    Ok(response)
}

impl Authentication {
    async fn principal(&self, token: Option<&str>, context: RequestContext) -> Result<Principal, Problem> {
        let token =
            token.ok_or_else(|| unauthenticated("`Authorization` must be `Bearer` with an access token."))?;
        match TokenKind::of(token) {
            Some(TokenKind::PortalLink) => {
                self.portal_caller(token, context).await.map(Principal::PortalLink)
            }
            _ => self.caller(token, context).await.map(Principal::User),
        }
    }

    /// A customer is not told why a link has ended: a suspension is between the operator and the tenant.
    async fn portal_caller(&self, token: &str, context: RequestContext) -> Result<PortalCaller, Problem> {
        let mut connection = self.pool.acquire().await?;
        let link = portal_links::by_hash(&mut connection, &token::hash(token)).await?;
        let link = link.filter(|link| !link.tenant_is_suspended && link.expires_at > clock::now());
        let link = link.ok_or_else(|| unauthenticated("The portal link is invalid, or it has ended."))?;
        Ok(PortalCaller::new(link, context))
    }

    async fn caller(&self, token: &str, context: RequestContext) -> Result<Caller, Problem> {
        let refused = || unauthenticated("The access token is invalid or expired, or its session is closed.");
        let claims = self.tokens.verify(token).ok_or_else(refused)?;
        let mut connection = self.pool.acquire().await?;
        let live = sessions::user(&mut connection, claims.sid).await?.ok_or_else(refused)?;
        if !live.is_current {
            return Err(Problem::read_model_behind());
        }
        // The user of a session never changes, so this service did not issue a token that names another one.
        if live.user_id != claims.sub || live.tenant_id != claims.tenant_id {
            return Err(refused());
        }
        if live.tenant_is_suspended {
            return Err(Problem::tenant_suspended());
        }
        Ok(Caller {
            user_id: live.user_id,
            tenant_id: live.tenant_id,
            role: live.role,
            session_id: claims.sid,
            context,
        })
    }
}

/// Returns the token of `Authorization: Bearer <token>`.
pub(crate) fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case("Bearer")).then(|| token.trim())
}

pub(crate) fn unauthenticated(detail: &'static str) -> Problem {
    Problem::new(Kind::Unauthenticated, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_only_from_a_single_bearer_header() {
        let of = |values: &[&'static str]| {
            let headers: HeaderMap =
                values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect();
            bearer_token(&headers).map(str::to_owned)
        };
        assert_eq!(of(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(of(&["bearer  abc "]).as_deref(), Some("abc"));
        for values in [&[][..], &["abc"], &["Basic abc"], &["Bearer"], &["Bearerabc"], &["Bearer \u{e9}"]] {
            assert_eq!(of(values), None, "{values:?}");
        }
    }
}
