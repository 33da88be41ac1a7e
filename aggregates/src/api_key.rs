//! API key: lets a service send webhook events to one tenant. It is issued, shown once, and can be revoked.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::TenantId;
use crate::sealed::TokenHash;

/// State of an API key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiKey {
    /// Never issued.
    #[default]
    Unknown,
    Active(TenantId),
    Revoked(TenantId),
}

/// Command to an API key.
#[derive(Clone, Debug)]
pub enum ApiKeyCommand {
    /// Issues the key. Repeated: refused.
    Issue {
        tenant_id: TenantId,
        name: String,
        /// The key itself is shown once and not stored.
        key_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// Revokes the key. Repeated: refused, since the API answers 404.
    Revoke { at: DateTime<Utc> },
}

/// Fact about an API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ApiKeyFact {
    ApiKeyIssued { tenant_id: TenantId, name: String, key_hash: TokenHash, at: DateTime<Utc> },
    ApiKeyRevoked { at: DateTime<Utc> },
}

stored_facts!(ApiKeyFact { ApiKeyIssued, ApiKeyRevoked });

/// Reason why an API key refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApiKeyRefusal {
    #[error("the API key was already issued")]
    AlreadyIssued,
    #[error("no active API key has this id")]
    NotActive,
}

aggregate!(ApiKey, ApiKeyCommand, ApiKeyFact, ApiKeyRefusal);

impl Decide for ApiKey {
    fn decide(&self, command: ApiKeyCommand) -> Result<Vec<ApiKeyFact>, ApiKeyRefusal> {
        match (self, command) {
            (Self::Unknown, ApiKeyCommand::Issue { tenant_id, name, key_hash, at }) => {
                Ok(vec![ApiKeyFact::ApiKeyIssued { tenant_id, name, key_hash, at }])
            }
            (_, ApiKeyCommand::Issue { .. }) => Err(ApiKeyRefusal::AlreadyIssued),
            (Self::Active(_), ApiKeyCommand::Revoke { at }) => Ok(vec![ApiKeyFact::ApiKeyRevoked { at }]),
            (_, ApiKeyCommand::Revoke { .. }) => Err(ApiKeyRefusal::NotActive),
        }
    }
}

impl ApiKey {
    fn fold(&mut self, fact: ApiKeyFact) {
        match (&*self, fact) {
            (_, ApiKeyFact::ApiKeyIssued { tenant_id, .. }) => *self = Self::Active(tenant_id),
            (Self::Active(tenant_id), ApiKeyFact::ApiKeyRevoked { .. }) => *self = Self::Revoked(*tenant_id),
            (_, ApiKeyFact::ApiKeyRevoked { .. }) => {}
        }
    }
}
