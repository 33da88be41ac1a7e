//! Who calls.
//!
//! An access token says which session it belongs to; whether that session is open, and what its user may
//! do, is asked of the database on every request. So a logout, a new role, a deactivated user take effect
//! at once and on every node, and the token's own claims decide nothing but whom to ask about.

use aggregates::ids::{SessionId, TenantId, UserId};
use aggregates::role::Role;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use projections::sessions;
use sqlx::PgPool;

use crate::api::access::access_tokens::AccessTokens;
use crate::api::access::permissions::Permission;
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::request_context::RequestContext;
use crate::event_store::{Actor, Metadata};

/// Tells callers by their access tokens.
#[derive(Clone, Debug)]
pub(crate) struct Authentication {
    pub(crate) pool: PgPool,
    pub(crate) tokens: AccessTokens,
}

/// A user who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) user_id: UserId,
    pub(crate) tenant_id: TenantId,
    /// The user's role at this moment, whatever the token says.
    pub(crate) role: Role,
    pub(crate) session_id: SessionId,
    context: RequestContext,
}

impl Caller {
    /// What stands beside a fact that the caller brings about.
    pub(crate) fn metadata(&self) -> Metadata {
        self.context.metadata(self.tenant_id, Actor::User(self.user_id))
    }

    /// Lets the caller through to what belongs to `owner`; `None`: there is no such `thing`.
    pub(crate) fn check_owner(&self, owner: Option<TenantId>, thing: &str) -> Result<(), Problem> {
        match owner {
            None => Err(Problem::not_found(thing)),
            Some(owner) if owner != self.tenant_id => Err(Problem::other_tenant(thing)),
            Some(_) => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Problem::internal("a handler asks for a caller on a route that anyone may use"))
    }
}

/// Stands before a route: lets those through who have its permission.
pub(crate) async fn guard(
    State((authentication, permission)): State<(Authentication, Permission)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if permission.needs_user() {
        let context = request.extensions().get::<RequestContext>().cloned();
        let context =
            context.ok_or_else(|| Problem::internal("a route is mounted without the router's layers"))?;
        let caller = authentication.caller(bearer_token(request.headers()), context).await?;
        permission.check(caller.role)?;
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

impl Authentication {
    async fn caller(&self, token: Option<&str>, context: RequestContext) -> Result<Caller, Problem> {
        let token = token.ok_or_else(|| unauthenticated("An access token is needed."))?;
        let refused = || unauthenticated("The access token is not valid, or not any more.");
        let claims = self.tokens.verify(token).ok_or_else(refused)?;
        let mut connection = self.pool.acquire().await?;
        let live = sessions::caller(&mut connection, claims.sid).await?.ok_or_else(refused)?;
        // A session belongs to one user for ever; a token that says otherwise was not issued here.
        if live.user_id != claims.sub || live.tenant_id != claims.tenant_id {
            return Err(refused());
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

/// The token of `Authorization: Bearer <token>`.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case("Bearer")).then(|| token.trim())
}

fn unauthenticated(detail: &'static str) -> Problem {
    Problem::new(Kind::Unauthenticated, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_one_bearer_header_and_nothing_else() {
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
