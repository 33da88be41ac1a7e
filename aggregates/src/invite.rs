//! An invite lets one person join a tenant in a given role, once, before it expires.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::ids::{TenantId, UserId};
use crate::role::Role;
use crate::sealed::{Sealed, TokenHash};

/// The life of an invite. Expiry is no stage of its own: it is a fact about the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Invite {
    /// Never issued.
    #[default]
    Unknown,
    /// Good until it expires.
    Pending {
        /// Whose tenant it leads to.
        tenant_id: TenantId,
        /// The role it gives.
        target_role: Role,
        expires_at: DateTime<Utc>,
    },
    /// Used.
    Used,
}

/// What can be asked of an invite.
#[derive(Clone, Debug)]
pub enum InviteCommand {
    /// Issue it. Repeated: refused.
    Issue {
        /// Whose tenant it leads to.
        tenant_id: TenantId,
        /// The role it gives.
        target_role: Role,
        /// The role of whoever invites.
        invited_by: Role,
        /// Hash of its token.
        token_hash: TokenHash,
        /// The token, which the invite list shows again.
        token: Sealed,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// Use it. Repeated: refused.
    Accept { user_id: UserId, at: DateTime<Utc> },
}

/// What happened to an invite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum InviteFact {
    /// Somebody was invited.
    InviteIssued {
        /// Whose tenant it leads to.
        tenant_id: TenantId,
        /// The role it gives.
        target_role: Role,
        /// Hash of its token.
        token_hash: TokenHash,
        token: Sealed,
        expires_at: DateTime<Utc>,
        at: DateTime<Utc>,
    },
    /// Somebody joined.
    InviteAccepted { user_id: UserId, at: DateTime<Utc> },
}

stored_facts!(InviteFact { InviteIssued, InviteAccepted });

/// Why an invite does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InviteRefusal {
    /// It exists already.
    #[error("the invite was issued before")]
    AlreadyIssued,
    /// Nobody is invited as Owner.
    #[error("nobody can be invited as Owner")]
    OwnerCannotBeInvited,
    /// Only an Owner invites an Admin.
    #[error("only an Owner can invite an Admin")]
    AdminNeedsOwner,
    /// It does not exist.
    #[error("there is no invite of this token")]
    NotIssued,
    /// It was used.
    #[error("the invite has been used")]
    IsUsed,
    /// Its time is over.
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
