//! Invite: lets one person join a tenant in a given role, once, until it expires or is revoked, and while the user who
//! issued it may give that role. A deactivation of that user ends it, also if the user is activated again.

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
        /// `None`: the fact did not record it yet.
        issued_by: Option<UserId>,
        issued_at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    },
    Used,
    Revoked,
}

/// Active user who issued an invite, as the user is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inviter {
    pub role: Role,
    /// Time of the user's last deactivation.
    pub deactivated_at: Option<DateTime<Utc>>,
}

/// Command to an invite.
#[derive(Clone, Debug)]
pub enum InviteCommand {
    /// Issues the invite. Repeated: refused.
    Issue {
        tenant_id: TenantId,
        /// Role that the new user gets.
        target_role: Role,
        issued_by: UserId,
        /// Role of the inviting user.
        invited_by: Role,
        token_hash: TokenHash,
        /// The token itself, since the list of invites shows it again.
        token: Sealed,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// Uses the invite. Repeated: refused.
    Accept {
        user_id: UserId,
        /// `None`: the user who issued the invite is inactive or deleted.
        inviter: Option<Inviter>,
        at: DateTime<Utc>,
    },
    /// Revokes the invite. Repeated: refused, since the API answers 404.
    Revoke { at: DateTime<Utc> },
}

/// Fact about an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum InviteFact {
    InviteIssued {
        tenant_id: TenantId,
        /// Role that the new user gets.
        target_role: Role,
        /// `None`: the fact is of a version that did not record it.
        issued_by: Option<UserId>,
        token_hash: TokenHash,
        token: Sealed,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// A new user joined the tenant.
    InviteAccepted {
        user_id: UserId,
        at: DateTime<Utc>,
    },
    InviteRevoked {
        at: DateTime<Utc>,
    },
}

stored_facts!(InviteFact { InviteIssued: 2, InviteAccepted, InviteRevoked });

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
                Command::Issue {
                    tenant_id, target_role, issued_by, token_hash, token, expires_at, at, ..
                },
            ) => Ok(vec![InviteFact::InviteIssued {
                tenant_id,
                target_role,
                issued_by: Some(issued_by),
                token_hash,
                token,
                expires_at,
                at,
            }]),
            (_, Command::Issue { .. }) => Err(InviteRefusal::AlreadyIssued),
            (
                Self::Pending { target_role, issued_by: Some(_), issued_at, .. },
                Command::Accept { inviter, .. },
            ) if !inviter.is_some_and(|inviter| inviter.backs(*target_role, *issued_at)) => {
                Err(InviteRefusal::NotIssued)
            }
            (Self::Pending { expires_at, .. }, Command::Accept { at, .. }) if *expires_at <= at => {
                Err(InviteRefusal::HasExpired)
            }
            (Self::Pending { .. }, Command::Accept { user_id, at, .. }) => {
                Ok(vec![InviteFact::InviteAccepted { user_id, at }])
            }
            (Self::Pending { .. }, Command::Revoke { at }) => Ok(vec![InviteFact::InviteRevoked { at }]),
            (Self::Used, Command::Accept { .. } | Command::Revoke { .. }) => Err(InviteRefusal::IsUsed),
            (Self::Unknown | Self::Revoked, Command::Accept { .. } | Command::Revoke { .. }) => {
                Err(InviteRefusal::NotIssued)
            }
        }
    }
}

impl Inviter {
    /// Whether the user may still give the role, and was not deactivated since the invite was issued.
    fn backs(&self, target_role: Role, issued_at: DateTime<Utc>) -> bool {
        self.role.may_invite(target_role) && self.deactivated_at.is_none_or(|at| at < issued_at)
    }
}

impl Invite {
    fn fold(&mut self, fact: InviteFact) {
        *self = match fact {
            InviteFact::InviteIssued { tenant_id, target_role, issued_by, expires_at, at, .. } => {
                Self::Pending { tenant_id, target_role, issued_by, issued_at: at, expires_at }
            }
            InviteFact::InviteAccepted { .. } => Self::Used,
            InviteFact::InviteRevoked { .. } => Self::Revoked,
        };
    }
}
