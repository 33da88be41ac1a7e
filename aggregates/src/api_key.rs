//! An API key lets a service ingest for one tenant. It is issued once, shown once, and revoked once.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::TenantId;
use crate::sealed::TokenHash;

/// The life of an API key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiKey {
    /// Never issued.
    #[default]
    Unknown,
    /// Opens ingest for the tenant.
    Active(TenantId),
    /// Opens nothing any more.
    Revoked(TenantId),
}

/// What can be asked of an API key.
#[derive(Clone, Debug)]
pub enum ApiKeyCommand {
    /// Issue it. Repeated: refused.
    Issue {
        /// Whose key it is.
        tenant_id: TenantId,
        /// What people call it.
        name: String,
        /// Hash of the key, which is shown once and not kept.
        key_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// Revoke it. Repeated: refused, as the contract answers "not found".
    Revoke { at: DateTime<Utc> },
}

/// What happened to an API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ApiKeyFact {
    /// The key opens ingest from now on.
    ApiKeyIssued {
        /// Whose key it is.
        tenant_id: TenantId,
        /// What people call it.
        name: String,
        /// Hash of the key.
        key_hash: TokenHash,
        at: DateTime<Utc>,
    },
    /// The key opens nothing from now on.
    ApiKeyRevoked { at: DateTime<Utc> },
}

stored_facts!(ApiKeyFact { ApiKeyIssued, ApiKeyRevoked });

/// Why an API key does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ApiKeyRefusal {
    /// It exists already.
    #[error("the API key was issued before")]
    AlreadyIssued,
    /// It does not exist, or is revoked.
    #[error("there is no active API key of this id")]
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
