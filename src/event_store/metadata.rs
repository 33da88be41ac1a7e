//! Who did something and in the course of what, as it stands beside every fact.

use std::fmt;

use aggregates::ids::{ApiKeyId, TenantId, UserId};
use serde::Serialize;

/// Whoever caused a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A person.
    User(UserId),
    /// A service with an API key.
    ApiKey(ApiKeyId),
    /// A role of this program, such as `worker`.
    Role(&'static str),
    /// Somebody who is nobody yet: who registers a tenant or accepts an invite.
    Anonymous,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::ApiKey(id) => write!(f, "api-key:{id}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What stands beside a fact. Every value is a string, as `cqrs-es` expects.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Whose fact it is.
    pub tenant_id: TenantId,
    pub actor: Actor,
    /// The HTTP request in whose course it was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The W3C trace it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// What it followed from, such as `DeliveryAttempted` of a webhook event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub causation: Option<String>,
}

impl Metadata {
    /// Metadata of a fact that one of the program's own roles writes.
    #[must_use]
    pub fn of_role(tenant_id: TenantId, role: &'static str) -> Self {
        Self { tenant_id, actor: Actor::Role(role), request_id: None, trace_id: None, causation: None }
    }
}
