//! Invite: lets one person join a tenant in a given role, once, until it expires.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::{TenantId, UserId};
use crate::role::Role;
use crate::sealed::{Sealed, TokenHash};

/// State of an invite. Expiry is not a state, because no fact records it: it follows from `expires_at` and the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Invite {
    /// Never issued.
    #[default]
    Unknown,
    Pending {
        tenant_id: TenantId,
        target_role: Role,
        expires_at: DateTime<Utc>,
    },
    Used,
}

/// Command to an invite.
#[derive(Clone, Debug)]
pub enum InviteCommand {
    /// Issues the invite. Repeated: refused.
    Issue {
        tenant_id: TenantId,
        /// Role that the new user gets.
        target_role: Role,
        /// Role of the inviting user.
        invited_by: Role,
        token_hash: TokenHash,
        /// The token itself, since the list of invites shows it again.
        token: Sealed,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// Uses the invite. Repeated: refused.
    Accept { user_id: UserId, at: DateTime<Utc> },
}

/// Fact about an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum InviteFact {
    InviteIssued {
        tenant_id: TenantId,
        /// Role that the new user gets.
        target_role: Role,
        token_hash: TokenHash,
        token: Sealed,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// A new user joined the tenant.
    InviteAccepted { user_id: UserId, at: DateTime<Utc> },
}

stored_facts!(InviteFact { InviteIssued, InviteAccepted });

/// Reason why an invite refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InviteRefusal {
    #[error("the invite was already issued")]
    AlreadyIssued,
    #[error("must not be Owner: an invite can give the roles Viewer, Developer and Admin")]
    OwnerCannotBeInvited,
    #[error("only an Owner can invite an Admin")]
    AdminNeedsOwner,
    #[error("no invite has this token")]
    NotIssued,
    #[error("the invite has already been used")]
    IsUsed,
    #[error("the invite has expired")]
    HasExpired,
}

aggregate!(Invite, InviteCommand, InviteFact, InviteRefusal);

impl Decide for Invite {
    fn decide(&self, command: InviteCommand) -> Result<Vec<InviteFact>, InviteRefusal> {
        use InviteCommand as Command;
        match (self, command) {
            (_, Command::Issue { target_role: Role::Owner, .. }) => Err(InviteRefusal::OwnerCannotBeInvited),
            (_, Command::Issue { target_role: Role::Admin, invited_by, .. }) if invited_by != Role::Owner => {
                Err(InviteRefusal::AdminNeedsOwner)
            }
            (
                Self::Unknown,
                Command::Issue { tenant_id, target_role, token_hash, token, expires_at, at, .. },
            ) => Ok(vec![InviteFact::InviteIssued {
                tenant_id,
                target_role,
                token_hash,
                token,
                expires_at,
                at,
            }]),
            (_, Command::Issue { .. }) => Err(InviteRefusal::AlreadyIssued),
            (Self::Pending { expires_at, .. }, Command::Accept { at, .. }) if *expires_at <= at => {
                Err(InviteRefusal::HasExpired)
            }
            (Self::Pending { .. }, Command::Accept { user_id, at }) => {
                Ok(vec![InviteFact::InviteAccepted { user_id, at }])
            }
            (Self::Used, Command::Accept { .. }) => Err(InviteRefusal::IsUsed),
            (Self::Unknown, Command::Accept { .. }) => Err(InviteRefusal::NotIssued),
        }
    }
}

impl Invite {
    fn fold(&mut self, fact: InviteFact) {
        *self = match fact {
            InviteFact::InviteIssued { tenant_id, target_role, expires_at, .. } => {
                Self::Pending { tenant_id, target_role, expires_at }
            }
            InviteFact::InviteAccepted { .. } => Self::Used,
        };
    }
}
