//! Logging in, staying in, logging out.

use aggregates::email::Email;
use aggregates::fact::Fact;
use aggregates::ids::SessionId;
use aggregates::role::UserStatus;
use aggregates::sealed::TokenHash;
use aggregates::session::{Closing, IssuedTokens, Session, SessionCommand, SessionFact};
use aggregates::user::{User, UserCommand};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use projections::{LoggedFact, sessions, users};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::access::access_tokens::{AccessTokens, Bearer, LIFETIME};
use crate::api::access::authentication::Caller;
use crate::api::commands::Commands;
use crate::api::http::body::UnreadBody;
use crate::api::http::problem::{Kind, Problem, chain};
use crate::api::http::rate_limits::Limiter;
use crate::api::http::request_context::RequestContext;
use crate::api::http::time::Timestamp;
use crate::api::http::validation;
use crate::api::openapi::schemas::{EmailText, PasswordText, TokenText};
use crate::event_store::{Actor, Metadata, stream_reader};
use crate::secrets::passwords::Passwords;
use crate::secrets::token::{self, TokenKind};
use crate::{clock, identifiers};

/// How long a refresh token is good.
const REFRESH_LIFETIME: TimeDelta = TimeDelta::days(7);

/// What logging in needs.
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    pub(crate) commands: Commands,
    pub(crate) passwords: Passwords,
    pub(crate) tokens: AccessTokens,
    /// Failed logins, by address and by email.
    pub(crate) failures: Limiter,
    pub(crate) tasks: TaskTracker,
}

/// Whoever wants to log in, or to become somebody who can.
#[derive(Debug, ToSchema)]
pub(crate) struct Credentials {
    #[schema(value_type = EmailText)]
    pub(crate) email: Email,
    #[schema(value_type = PasswordText)]
    pub(crate) password: SecretString,
}

/// A refresh token that is given back.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes the body; what is read from it is `Presented`")]
pub(crate) struct RefreshTokenPresented {
    #[schema(value_type = TokenText)]
    refresh_token: SecretString,
}

/// A fresh pair of tokens.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tokens {
    /// The JWT for `Authorization: Bearer`.
    access_token: String,
    /// Seconds until the access token expires.
    #[schema(examples(900))]
    expires_in: i64,
    /// Good once, for the next pair.
    refresh_token: String,
    /// When the refresh token expires.
    expires_at: Timestamp,
}

/// Log in with email and password.
///
/// After ten failures within five minutes, from one address or with one email, further attempts are
/// answered with 429 until the window is over.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "Auth", request_body = Credentials,
    responses((status = 200, body = Tokens), (status = 400), (status = 401), (status = 429)))]
pub(crate) async fn login(
    State(auth): State<Auth>,
    context: RequestContext,
    body: UnreadBody,
) -> Result<Json<Tokens>, Problem> {
    let Credentials { email, password } = Credentials::read(body).await?;

    let check_limits = || auth.failures.check(context.client).and_then(|()| auth.failures.check(&email));
    check_limits()?;
    let known = users::by_email(&mut *auth.commands.pool().acquire().await?, &email).await?;
    let hash = known.as_ref().map(|known| known.password_hash.as_str());
    let verified = auth.passwords.verify(password, hash).await;
    // Attempts that were under way at the same time have used the limit up meanwhile: without this, so
    // many passwords could be tried at once as there are connections.
    check_limits()?;
    let Some(known) = known.filter(|known| {
        let welcome = verified && known.status == UserStatus::Active;
        if !welcome {
            auth.note_refusal(known, &context);
        }
        welcome
    }) else {
        // Both count, whether or not the email is known: the limit must not tell who exists.
        auth.failures.hit(context.client).and(auth.failures.hit(&email))?;
        return Err(wrong_credentials());
    };
    auth.failures.clear(context.client);
    auth.failures.clear(&email);

    let bearer = Bearer {
        user_id: known.id,
        session_id: SessionId(identifiers::new_id()),
        tenant_id: known.tenant_id,
        email: email.to_string(),
        role: known.role,
    };
    let now = clock::now();
    let (tokens, issued) = auth.issue(&bearer, now)?;
    let metadata = context.metadata(known.tenant_id, Actor::User(known.id));
    let open =
        SessionCommand::Open { tenant_id: known.tenant_id, user_id: known.id, tokens: issued, at: now };
    auth.commands.execute::<Session>(bearer.session_id.0, open, &metadata).await?;
    // Whoever changed the password in the same moment closed the sessions of before: this one, too, was
    // opened with the old one.
    let still = users::by_email(&mut *auth.commands.pool().acquire().await?, &email).await?;
    if still.is_none_or(|still| still.password_hash != known.password_hash) {
        auth.close(bearer.session_id, Closing::UserChanged, &metadata).await?;
        return Err(wrong_credentials());
    }
    Ok(Json(tokens))
}

/// Exchange a refresh token for a new pair of tokens.
///
/// A refresh token is good once. When it is used again, two parties hold it, and its session is closed
/// for both.
#[utoipa::path(post, path = "/api/v1/auth/refresh", tag = "Auth", request_body = RefreshTokenPresented,
    responses((status = 200, body = Tokens), (status = 400), (status = 401)))]
pub(crate) async fn refresh(
    State(auth): State<Auth>,
    context: RequestContext,
    body: UnreadBody,
) -> Result<Json<Tokens>, Problem> {
    let presented = Presented::read(body).await?.ok_or_else(refresh_token_refused)?;
    let live = sessions::caller(&mut *auth.commands.pool().acquire().await?, presented.session_id).await?;
    let live = live.ok_or_else(refresh_token_refused)?;
    if !auth.was_issued(&presented).await? {
        return Err(refresh_token_refused());
    }
    let bearer = Bearer {
        user_id: live.user_id,
        session_id: presented.session_id,
        tenant_id: live.tenant_id,
        email: live.email.to_string(),
        role: live.role,
    };
    let now = clock::now();
    let (tokens, issued) = auth.issue(&bearer, now)?;
    let metadata = context.metadata(live.tenant_id, Actor::User(live.user_id));
    let command = SessionCommand::Refresh { presented: presented.hash, tokens: issued, at: now };
    let refreshed = auth.commands.execute::<Session>(presented.session_id.0, command, &metadata).await?;
    match refreshed.facts.as_slice() {
        [SessionFact::SessionRefreshed { .. }] => Ok(Json(tokens)),
        _ => Err(refresh_token_refused()),
    }
}

/// Log out.
///
/// The refresh token is void, and with it every access token of its session and of the session that the
/// request was made in.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "Auth", request_body = RefreshTokenPresented,
    responses((status = 204), (status = 400)))]
pub(crate) async fn logout(
    State(auth): State<Auth>,
    caller: Caller,
    body: UnreadBody,
) -> Result<StatusCode, Problem> {
    let presented = Presented::read(body).await?.ok_or_else(refresh_token_refused)?;
    let session = auth.commands.store().load::<Session>(presented.session_id.0).await?;
    match &session.state {
        Session::Open { user_id, refresh_token_hash, expires_at }
            if *user_id == caller.user_id
                && token::same(refresh_token_hash, &presented.hash)
                && *expires_at > clock::now() => {}
        _ => return Err(refresh_token_refused()),
    }
    let metadata = caller.metadata();
    auth.close(presented.session_id, Closing::Logout, &metadata).await?;
    if caller.session_id != presented.session_id {
        auth.close(caller.session_id, Closing::Logout, &metadata).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Credentials {
    pub(crate) async fn read(body: UnreadBody) -> Result<Self, Problem> {
        let mut fields = body.fields().await?;
        let email = fields.required("email", validation::email);
        let password = fields.required("password", validation::password);
        fields.complete(|| Some(Self { email: email?, password: password? }))
    }
}

/// A refresh token that somebody presents. It carries the id of its session, so that one that was used
/// before is still known for what it is.
struct Presented {
    session_id: SessionId,
    hash: TokenHash,
}

impl Presented {
    /// The token in a body; `None` when it cannot be one of ours.
    async fn read(body: UnreadBody) -> Result<Option<Self>, Problem> {
        let mut fields = body.fields().await?;
        let token = fields.required("refreshToken", validation::token);
        let token = fields.complete(|| token)?;
        Ok(Self::of(token.expose_secret()))
    }

    fn of(token: &str) -> Option<Self> {
        let body = token.strip_prefix(TokenKind::Refresh.prefix())?;
        let session_id = body.len().checked_sub(SESSION_ID_CHARS).and_then(|start| body.get(start..))?;
        let session_id = Uuid::try_parse(session_id).ok()?;
        Some(Self { session_id: SessionId(session_id), hash: token::hash(token) })
    }
}

/// Hex characters of a session's id at the end of its refresh tokens.
const SESSION_ID_CHARS: usize = 32;

fn refresh_token_of(session_id: SessionId) -> SecretString {
    let random = TokenKind::Refresh.generate();
    format!("{}{}", random.expose_secret(), session_id.0.simple()).into()
}

impl Auth {
    fn issue(&self, bearer: &Bearer, now: DateTime<Utc>) -> Result<(Tokens, IssuedTokens), Problem> {
        let access_token_id = identifiers::new_id();
        let access_token = self.tokens.issue(bearer, access_token_id, now).map_err(Problem::internal)?;
        let refresh_token = refresh_token_of(bearer.session_id);
        let issued = IssuedTokens {
            refresh_token_hash: token::hash(refresh_token.expose_secret()),
            refresh_expires_at: now + REFRESH_LIFETIME,
            access_token_id,
            access_expires_at: now + LIFETIME,
        };
        let tokens = Tokens {
            access_token,
            expires_in: LIFETIME.num_seconds(),
            refresh_token: refresh_token.expose_secret().to_owned(),
            expires_at: issued.refresh_expires_at.into(),
        };
        Ok((tokens, issued))
    }

    /// Whether a token was ever a refresh token of its session. Only such a token may close it: the id of
    /// a session alone, which every access token shows, must not be enough to log somebody out.
    async fn was_issued(&self, presented: &Presented) -> Result<bool, Problem> {
        let mut connection = self.commands.pool().acquire().await?;
        let rows = stream_reader::read::<Session>(&mut connection, presented.session_id.0).await?;
        for row in rows {
            let issued = match LoggedFact::try_from(row).map_err(Problem::internal)?.fact {
                Fact::Session(
                    SessionFact::LoggedIn { tokens, .. } | SessionFact::SessionRefreshed { tokens, .. },
                ) => tokens,
                _ => continue,
            };
            if token::same(&issued.refresh_token_hash, &presented.hash) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn close(&self, id: SessionId, closing: Closing, metadata: &Metadata) -> Result<(), Problem> {
        let command = SessionCommand::Close { closing, at: clock::now() };
        self.commands.execute::<Session>(id.0, command, metadata).await?;
        Ok(())
    }

    /// Notes a refused login of a user who exists. Not before the answer: the time it takes would tell
    /// that the user exists.
    fn note_refusal(&self, known: &users::Login, context: &RequestContext) {
        let (store, id) = (self.commands.store().clone(), known.id.0);
        let metadata = context.metadata(known.tenant_id, Actor::Anonymous);
        self.tasks.spawn(async move {
            let refuse = UserCommand::RefuseLogin { at: clock::now() };
            if let Err(failure) = store.execute::<User>(id, refuse, &metadata).await {
                tracing::warn!(error = chain(&failure), "a refused login could not be noted");
            }
        });
    }
}

fn wrong_credentials() -> Problem {
    Problem::new(
        Kind::WrongCredentials,
        "Email and password do not belong together, or the user may not log in.",
    )
}

fn refresh_token_refused() -> Problem {
    Problem::new(Kind::RefreshTokenRefused, "The refresh token is not valid, or not any more; log in again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refresh_token_leads_back_to_its_session() {
        let session_id = SessionId(identifiers::new_id());
        let token = refresh_token_of(session_id);
        assert!(token.expose_secret().len() >= 64);
        let presented = Presented::of(token.expose_secret()).unwrap();
        assert_eq!(presented.session_id, session_id);
        for other in
            ["", "rfr_", "rfr_12", "abc", &token.expose_secret()[4..], &format!("rfr_é{}", "1".repeat(31))]
        {
            assert!(Presented::of(other).is_none(), "{other}");
        }
    }
}
