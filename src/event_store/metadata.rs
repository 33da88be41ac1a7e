//! Metadata of facts: the actor and the request that caused them.

use std::fmt;

use aggregates::ids::{ApiKeyId, BulkActionId, PortalLinkId, TenantId, UserId};
use serde::Serialize;

use super::origin::Origin;

/// Cause of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    User(UserId),
    ApiKey(ApiKeyId),
    /// The holder of a portal link.
    PortalLink(PortalLinkId),
    /// A role of this program, such as `worker`.
    Role(&'static str),
    /// The operator of the installation, who ran a command of this program.
    Operator,
    /// An unauthenticated caller, who registers a tenant or accepts an invite.
    Anonymous,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => write!(f, "user:{id}"),
            Self::ApiKey(id) => write!(f, "api-key:{id}"),
            Self::PortalLink(id) => write!(f, "portal-link:{id}"),
            Self::Role(role) => write!(f, "role:{role}"),
            Self::Operator => f.write_str("operator"),
            Self::Anonymous => f.write_str("anonymous"),
        }
    }
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Metadata stored with a fact. Every value is a string, as `cqrs-es` requires.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub tenant_id: TenantId,
    pub actor: Actor,
    /// Id of the HTTP request that caused the fact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// W3C trace id of that request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Bulk action that was carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_action_id: Option<BulkActionId>,
    /// Client of the person who caused the fact. It must be stored by the append, or before it.
    #[serde(flatten)]
    pub origin: Option<Origin>,
}

impl Metadata {
    /// Returns metadata of a fact that a role of this program writes.
    #[must_use]
    pub fn of_role(tenant_id: TenantId, role: &'static str) -> Self {
        Self::of(tenant_id, Actor::Role(role))
    }

    /// Returns metadata of a fact that a command of the operator writes.
    #[must_use]
    pub fn of_operator(tenant_id: TenantId) -> Self {
        Self::of(tenant_id, Actor::Operator)
    }

    /// Returns metadata of a fact that follows from a bulk action, which `user` has requested.
    #[must_use]
    pub fn of_bulk_action(tenant_id: TenantId, user: UserId, id: BulkActionId) -> Self {
        Self { bulk_action_id: Some(id), ..Self::of(tenant_id, Actor::User(user)) }
    }

    fn of(tenant_id: TenantId, actor: Actor) -> Self {
        Self { tenant_id, actor, request_id: None, trace_id: None, bulk_action_id: None, origin: None }
    }
}
