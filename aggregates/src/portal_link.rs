//! Portal link: lets a customer of a tenant, who is no user, see the deliveries of one destination for a while. Its token is
//! shown once; it ends when it expires or is revoked.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::{DestinationId, TenantId};
use crate::sealed::TokenHash;
use crate::stored_enum;

/// Longest validity of a portal link.
pub const PORTAL_LINK_VALIDITY_MAX: TimeDelta = TimeDelta::days(90);

stored_enum! {
    /// What the holder of a portal link may do with the events of its destination.
    pub enum PortalAccess {
        /// See them, with their payloads and attempts.
        Read = 0 => "Read",
        /// Replay and cancel them as well.
        Operate = 1 => "Operate",
    }
}

impl PortalAccess {
    /// Returns whether this access includes `other`.
    #[must_use]
    pub fn includes(self, other: Self) -> bool {
        self == Self::Operate || other == Self::Read
    }
}

/// State of a portal link.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortalLink {
    /// Never created.
    #[default]
    Unknown,
    /// It may have expired.
    Created(TenantId),
    Revoked(TenantId),
}

/// Command to a portal link.
#[derive(Clone, Debug)]
pub enum PortalLinkCommand {
    /// Creates the link. Repeated: refused.
    Create {
        tenant_id: TenantId,
        destination_id: DestinationId,
        access: PortalAccess,
        label: String,
        /// The token itself is shown once and not stored.
        token_hash: TokenHash,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// Revokes the link. Repeated: refused, since the API answers 404.
    Revoke { at: DateTime<Utc> },
}

/// Fact about a portal link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum PortalLinkFact {
    PortalLinkCreated {
        tenant_id: TenantId,
        destination_id: DestinationId,
        access: PortalAccess,
        label: String,
        token_hash: TokenHash,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    PortalLinkRevoked {
        at: DateTime<Utc>,
    },
}

stored_facts!(PortalLinkFact { PortalLinkCreated, PortalLinkRevoked });

/// Reason why a portal link refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortalLinkRefusal {
    #[error("the portal link was already created")]
    AlreadyCreated,
    #[error("a portal link must expire within 90 days after it is created")]
    InvalidExpiry,
    #[error("no unrevoked portal link has this id")]
    NotActive,
}

aggregate!(PortalLink, PortalLinkCommand, PortalLinkFact, PortalLinkRefusal);

impl Decide for PortalLink {
    fn decide(&self, command: PortalLinkCommand) -> Result<Vec<PortalLinkFact>, PortalLinkRefusal> {
        match (self, command) {
            (
                Self::Unknown,
                PortalLinkCommand::Create {
                    tenant_id,
                    destination_id,
                    access,
                    label,
                    token_hash,
                    expires_at,
                    at,
                },
            ) => {
                if expires_at <= at || expires_at - at > PORTAL_LINK_VALIDITY_MAX {
                    return Err(PortalLinkRefusal::InvalidExpiry);
                }
                Ok(vec![PortalLinkFact::PortalLinkCreated {
                    tenant_id,
                    destination_id,
                    access,
                    label,
                    token_hash,
                    expires_at,
                    at,
                }])
            }
            (_, PortalLinkCommand::Create { .. }) => Err(PortalLinkRefusal::AlreadyCreated),
            (Self::Created(_), PortalLinkCommand::Revoke { at }) => {
                Ok(vec![PortalLinkFact::PortalLinkRevoked { at }])
            }
            (_, PortalLinkCommand::Revoke { .. }) => Err(PortalLinkRefusal::NotActive),
        }
    }
}

impl PortalLink {
    fn fold(&mut self, fact: PortalLinkFact) {
        match (&*self, fact) {
            (_, PortalLinkFact::PortalLinkCreated { tenant_id, .. }) => *self = Self::Created(tenant_id),
            (Self::Created(tenant_id), PortalLinkFact::PortalLinkRevoked { .. }) => {
                *self = Self::Revoked(*tenant_id);
            }
            (_, PortalLinkFact::PortalLinkRevoked { .. }) => {}
        }
    }
}
