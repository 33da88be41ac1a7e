//! A session is one login: it hands out refresh tokens, each good for one use, until it is closed.
//!
//! A refresh token used twice means that two parties hold it, and nobody can tell which is the thief:
//! the session closes for both (RFC 9700, section 4.14.2).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::Decide;
use crate::ids::{TenantId, UserId};
use crate::sealed::TokenHash;

/// The life of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Session {
    /// Never opened.
    #[default]
    Unknown,
    /// Open: the newest refresh token is good once.
    Open {
        user_id: UserId,
        /// Hash of the newest refresh token.
        refresh_token_hash: TokenHash,
        /// When that token expires.
        expires_at: DateTime<Utc>,
    },
    /// Closed by logout, by reuse of a token, or with the user.
    Closed,
}

/// A fresh pair of tokens, as the log knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuedTokens {
    /// Hash of the refresh token.
    pub refresh_token_hash: TokenHash,
    /// When the refresh token expires.
    pub refresh_expires_at: DateTime<Utc>,
    /// The access token's `jti`.
    pub access_token_id: Uuid,
    /// When the access token expires.
    pub access_expires_at: DateTime<Utc>,
}

/// Why a session was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Closing {
    /// The user logged out.
    Logout,
    /// A refresh token was used a second time.
    RefreshTokenReused,
    /// The user's password, role or status changed, or the user was deleted.
    UserChanged,
}

/// What can be asked of a session.
#[derive(Clone, Debug)]
pub enum SessionCommand {
    /// Open it. Repeated: refused.
    Open {
        /// Whose account it belongs to.
        tenant_id: TenantId,
        user_id: UserId,
        tokens: IssuedTokens,
        at: DateTime<Utc>,
    },
    /// Exchange the newest refresh token for new tokens. Repeated with the same token: the session
    /// closes.
    Refresh {
        /// Hash of the token presented.
        presented: TokenHash,
        tokens: IssuedTokens,
        at: DateTime<Utc>,
    },
    /// Close it. Repeated: ignored.
    Close { closing: Closing, at: DateTime<Utc> },
}

/// What happened to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum SessionFact {
    /// A user logged in.
    LoggedIn {
        /// Whose account it belongs to.
        tenant_id: TenantId,
        user_id: UserId,
        tokens: IssuedTokens,
        at: DateTime<Utc>,
    },
    /// The refresh token was exchanged.
    SessionRefreshed { tokens: IssuedTokens, at: DateTime<Utc> },
    /// The session is closed.
    LoggedOut { closing: Closing, at: DateTime<Utc> },
}

stored_facts!(SessionFact { LoggedIn, SessionRefreshed, LoggedOut });

/// Why a session does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionRefusal {
    /// It was opened before.
    #[error("the session was opened before")]
    AlreadyOpen,
    /// It is not open (any more), or its refresh token has expired.
    #[error("the session is over; log in again")]
    IsOver,
}

aggregate!(Session, SessionCommand, SessionFact, SessionRefusal);

impl Decide for Session {
    fn decide(&self, command: SessionCommand) -> Result<Vec<SessionFact>, SessionRefusal> {
        use SessionCommand as Command;
        match (self, command) {
            (Self::Unknown, Command::Open { tenant_id, user_id, tokens, at }) => {
                Ok(vec![SessionFact::LoggedIn { tenant_id, user_id, tokens, at }])
            }
            (_, Command::Open { .. }) => Err(SessionRefusal::AlreadyOpen),
            (
                Self::Open { refresh_token_hash, expires_at, .. },
                Command::Refresh { presented, tokens, at },
            ) => {
                if presented != *refresh_token_hash {
                    Ok(vec![SessionFact::LoggedOut { closing: Closing::RefreshTokenReused, at }])
                } else if *expires_at <= at {
                    Err(SessionRefusal::IsOver)
                } else {
                    Ok(vec![SessionFact::SessionRefreshed { tokens, at }])
                }
            }
            (Self::Unknown | Self::Closed, Command::Refresh { .. }) => Err(SessionRefusal::IsOver),
            (Self::Open { .. }, Command::Close { closing, at }) => {
                Ok(vec![SessionFact::LoggedOut { closing, at }])
            }
            (Self::Unknown | Self::Closed, Command::Close { .. }) => Ok(vec![]),
        }
    }
}

impl Session {
    fn fold(&mut self, fact: SessionFact) {
        match (&mut *self, fact) {
            (_, SessionFact::LoggedIn { user_id, tokens, .. }) => {
                *self = Self::Open {
                    user_id,
                    refresh_token_hash: tokens.refresh_token_hash,
                    expires_at: tokens.refresh_expires_at,
                };
            }
            (
                Self::Open { refresh_token_hash, expires_at, .. },
                SessionFact::SessionRefreshed { tokens, .. },
            ) => {
                *refresh_token_hash = tokens.refresh_token_hash;
                *expires_at = tokens.refresh_expires_at;
            }
            (_, SessionFact::SessionRefreshed { .. }) => {}
            (_, SessionFact::LoggedOut { .. }) => *self = Self::Closed,
        }
    }
}
