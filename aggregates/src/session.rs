//! Session: one login. It issues refresh tokens, each valid for one use, until it is closed.
//!
//! If a refresh token is used twice, two parties have it, and it is unknown which of them stole it. The session is
//! therefore closed for both (RFC 9700, section 4.14.2).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::Decide;
use crate::ids::{TenantId, UserId};
use crate::sealed::TokenHash;

/// State of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Session {
    /// Never opened.
    #[default]
    Unknown,
    /// The newest refresh token can be used once.
    Open {
        user_id: UserId,
        refresh_token_hash: TokenHash,
        /// Time at which the newest refresh token expires.
        expires_at: DateTime<Utc>,
    },
    /// Closed by logout, by reuse of a token, or with the user.
    Closed,
}

/// Refresh token and access token that were issued together, as the log records them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IssuedTokens {
    pub refresh_token_hash: TokenHash,
    pub refresh_expires_at: DateTime<Utc>,
    /// Claim `jti` of the access token.
    pub access_token_id: Uuid,
    pub access_expires_at: DateTime<Utc>,
}

/// Reason why a session was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Closing {
    Logout,
    /// A refresh token was used a second time.
    RefreshTokenReused,
    /// The user's password or status changed, or the user was deleted. It is no longer written: a session ends with
    /// the credentials that it was opened with, without a fact of its own.
    UserChanged,
}

/// Command to a session.
#[derive(Clone, Debug)]
pub enum SessionCommand {
    /// Opens the session. Repeated: refused.
    Open {
        tenant_id: TenantId,
        user_id: UserId,
        /// Version of the user's credentials that the login was checked against.
        credentials_version: u64,
        token_family_hash: TokenHash,
        tokens: IssuedTokens,
        at: DateTime<Utc>,
    },
    /// Exchanges the newest refresh token for new tokens. Repeated with the same token: the session is closed.
    Refresh {
        /// Hash of the refresh token that the client presents.
        presented: TokenHash,
        tokens: IssuedTokens,
        at: DateTime<Utc>,
    },
    /// Closes the session. Repeated: ignored.
    Close { closing: Closing, at: DateTime<Utc> },
}

/// Fact about a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum SessionFact {
    LoggedIn {
        tenant_id: TenantId,
        user_id: UserId,
        /// Version of the user's credentials that the login was checked against: the version of the user's stream
        /// with the fact that set them. A later password or a deactivation ends the session.
        credentials_version: u64,
        /// Hash of the part that all refresh tokens of the session have in common. It proves of an older token that
        /// it was issued.
        token_family_hash: TokenHash,
        tokens: IssuedTokens,
        at: DateTime<Utc>,
    },
    /// The refresh token was exchanged for new tokens.
    SessionRefreshed {
        tokens: IssuedTokens,
        at: DateTime<Utc>,
    },
    LoggedOut {
        closing: Closing,
        at: DateTime<Utc>,
    },
}

stored_facts!(SessionFact { LoggedIn: 2, SessionRefreshed, LoggedOut });

/// Reason why a session refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionRefusal {
    #[error("the session is already open")]
    AlreadyOpen,
    /// The session is not open, or its refresh token has expired.
    #[error("the session has ended; log in again")]
    HasEnded,
}

aggregate!(Session, SessionCommand, SessionFact, SessionRefusal);

impl Decide for Session {
    fn decide(&self, command: SessionCommand) -> Result<Vec<SessionFact>, SessionRefusal> {
        use SessionCommand as Command;
        match (self, command) {
            (
                Self::Unknown,
                Command::Open { tenant_id, user_id, credentials_version, token_family_hash, tokens, at },
            ) => Ok(vec![SessionFact::LoggedIn {
                tenant_id,
                user_id,
                credentials_version,
                token_family_hash,
                tokens,
                at,
            }]),
            (_, Command::Open { .. }) => Err(SessionRefusal::AlreadyOpen),
            (
                Self::Open { refresh_token_hash, expires_at, .. },
                Command::Refresh { presented, tokens, at },
            ) => {
                if presented != *refresh_token_hash {
                    Ok(vec![SessionFact::LoggedOut { closing: Closing::RefreshTokenReused, at }])
                } else if *expires_at <= at {
                    Err(SessionRefusal::HasEnded)
                } else {
                    Ok(vec![SessionFact::SessionRefreshed { tokens, at }])
                }
            }
            (Self::Unknown | Self::Closed, Command::Refresh { .. }) => Err(SessionRefusal::HasEnded),
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
