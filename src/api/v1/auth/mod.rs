//! Sessions: login, refresh, logout.

pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod refresh;
mod refresh_token;

use aggregates::ids::SessionId;
use aggregates::session::{Closing, IssuedTokens, Session, SessionCommand};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret;
use serde::Serialize;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;

use crate::api::access::access_tokens::{AccessTokens, Bearer, LIFETIME};
use crate::api::commands::Commands;
use crate::api::http::fields::body;
use crate::api::http::fields::text::{EmailText, PasswordText, TokenText};
use crate::api::http::problem::{Kind, Problem};
use crate::api::http::rate_limits::RateLimiter;
use crate::api::http::time::Timestamp;
use crate::event_store::Metadata;
use crate::secrets::passwords::Passwords;
use crate::secrets::token;
use crate::{clock, identifiers};

/// Validity of a refresh token.
const REFRESH_LIFETIME: TimeDelta = TimeDelta::days(7);

/// Dependencies of the handlers of sessions.
#[derive(Clone, Debug)]
pub(crate) struct Auth {
    pub(crate) commands: Commands,
    pub(crate) passwords: Passwords,
    pub(crate) tokens: AccessTokens,
    /// Limits failed logins by client address and by email address.
    pub(crate) failures: RateLimiter,
    pub(crate) tasks: TaskTracker,
}

body! {
    /// Email address and password of a user.
    Credentials with (), Passwords {
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
    /// Issues tokens, and returns what the session records of them.
    fn issue(&self, bearer: &Bearer, now: DateTime<Utc>) -> Result<(Tokens, IssuedTokens), Problem> {
        let access_token_id = identifiers::new_id();
        let access_token = self.tokens.issue(bearer, access_token_id, now).map_err(Problem::internal)?;
        let refresh_token = refresh_token::generate(bearer.session_id);
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

    async fn close(&self, id: SessionId, closing: Closing, metadata: &Metadata) -> Result<(), Problem> {
        let command = SessionCommand::Close { closing, at: clock::now() };
        self.commands.execute::<Session>(id.0, command, metadata).await?;
        Ok(())
    }
}

fn refresh_token_refused() -> Problem {
    Problem::new(
        Kind::RefreshTokenRefused,
        "The refresh token is invalid, expired or was used before. Log in again.",
    )
}
