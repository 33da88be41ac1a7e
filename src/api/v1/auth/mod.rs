//! Sessions: login, refresh, logout.

pub(crate) mod failed_logins;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod refresh;
mod refresh_token;

use aggregates::ids::SessionId;
use aggregates::session::{Closing, IssuedTokens, Session, SessionCommand, SessionFact};
use chrono::{DateTime, TimeDelta, Utc};
use projections::sessions::{self, CurrentSession};
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use crate::api::access::access_tokens::{AccessTokens, Bearer, LIFETIME};
use crate::api::access::second_factors::SecondFactors;
use crate::api::commands::Commands;
use crate::api::http::fields::body;
use crate::api::http::fields::text::{EmailText, PasswordText, TokenText};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::rate_limits::RateLimiter;
use crate::api::http::time::Timestamp;
use crate::event_store::{Loaded, Metadata};
use crate::secrets::passwords::Passwords;
use crate::secrets::token;
use crate::{clock, identifiers};

use self::failed_logins::FailedLogins;
use self::refresh_token::TokenFamily;

/// Validity of a refresh token.
const REFRESH_LIFETIME: TimeDelta = TimeDelta::days(7);

/// Dependencies of the handlers of sessions.
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    pub(crate) commands: Commands,
    pub(crate) passwords: Passwords,
    pub(crate) tokens: AccessTokens,
    pub(crate) second_factors: SecondFactors,
    pub(crate) failures: FailedLogins,
    /// Limits the facts about refused logins by user.
    pub(crate) recorded_refusals: RateLimiter,
    /// Limits refreshes by session: each is a fact.
    pub(crate) refreshes: RateLimiter,
    /// Time from the login after which a session cannot be refreshed any more.
    pub(crate) session_lifetime: TimeDelta,
    pub(crate) tasks: TaskTracker,
}

body! {
    /// Email address and password of a user.
    Credentials with Passwords {
        email: EmailText = "email",
        password: PasswordText = "password",
    }
}

body! {
    /// A refresh token.
    #[schema(as = RefreshTokenPresented)]
    PresentedRefreshToken {
        refresh_token: TokenText = "refreshToken",
    }
}

/// An access token and a refresh token.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tokens {
    /// JWT for `Authorization: Bearer`.
    access_token: String,
    /// Seconds until the access token expires.
    #[schema(examples(900))]
    expires_in: i64,
    /// Token that can be exchanged once for new tokens.
    refresh_token: String,
    /// Time at which the refresh token expires.
    expires_at: Timestamp,
}

impl Auth {
    /// Issues tokens of a session that was opened at `opened_at`, and returns what the session records of them.
    fn issue(
        &self,
        bearer: &Bearer,
        family: &TokenFamily,
        opened_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<(Tokens, IssuedTokens), Problem> {
        let session_ends_at = opened_at + self.session_lifetime;
        let access_expires_at = session_ends_at.min(now + LIFETIME);
        let access_token_id = identifiers::new_id();
        let access_token =
            self.tokens.issue(bearer, access_token_id, now, access_expires_at).map_err(Problem::internal)?;
        let refresh_token = family.generate_token(bearer.session_id);
        let issued = IssuedTokens {
            refresh_token_hash: token::hash(refresh_token.expose_secret()),
            refresh_expires_at: session_ends_at.min(now + REFRESH_LIFETIME),
            access_token_id,
            access_expires_at,
        };
        let tokens = Tokens {
            access_token,
            expires_in: (access_expires_at - now).num_seconds(),
            refresh_token: refresh_token.expose_secret().to_owned(),
            expires_at: issued.refresh_expires_at.into(),
        };
        Ok((tokens, issued))
    }

    /// Returns a session as it is now; `None`: there is no such session, or it is not shown yet.
    async fn session(&self, id: SessionId) -> Result<Option<CurrentSession>, Problem> {
        let mut connection = self.commands.pool().acquire().await?;
        Ok(sessions::current(&mut connection, id).await?)
    }

    /// Executes a command of a session, and returns its facts. The session's stream is not loaded, since it has a fact
    /// for every refresh.
    async fn change(
        &self,
        id: SessionId,
        command: &SessionCommand,
        metadata: &Metadata,
    ) -> Result<Vec<SessionFact>, Problem> {
        self.commands
            .transact(metadata, |mut work| async move {
                let session = self.session(id).await?.ok_or_else(refresh_token_refused)?;
                let mut loaded =
                    Loaded::<Session> { id: id.0, version: session.version, state: session.state };
                let facts = work.decide_loaded(&mut loaded, vec![command.clone()], Problem::from)?;
                Ok((work, facts))
            })
            .await
    }

    /// Closes a session.
    ///
    /// # Errors
    /// The database fails.
    pub(crate) async fn close(
        &self,
        id: SessionId,
        closing: Closing,
        metadata: &Metadata,
    ) -> Result<(), Problem> {
        self.change(id, &SessionCommand::Close { closing, at: clock::now() }, metadata).await?;
        Ok(())
    }
}

fn refresh_token_refused() -> Problem {
    Problem::new(
        Kind::RefreshTokenRefused,
        "The refresh token is invalid, expired or was used before. Log in again.",
    )
}
