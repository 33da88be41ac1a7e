//! Permissions of routes, and the roles that have them.
//!
//! Every route carries a [`Permission`], which is checked before its handler runs. Rules that depend on the
//! target user as well are in `aggregates::role`; handlers call them.

use aggregates::role::Role;

use crate::api::http::problem::{Kind, Problem};

/// Permission that a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// No authentication.
    Anyone,
    /// API key, which the handler checks in the order of the contract.
    ApiKey,
    /// Read the tenant's resources.
    Read,
    /// List and close one's own sessions.
    LogOut,
    /// Change destinations, senders and mappings.
    ManageDestinations,
    /// Issue and revoke API keys.
    ManageApiKeys,
    /// Replay events whose delivery was given up.
    ReplayEvents,
    /// Read the webhook secret, or check a signature with it.
    UseWebhookSecret,
    /// Replace the webhook secret.
    RegenerateWebhookSecret,
    /// Change the tenant.
    UpdateTenant,
    /// Issue and list invites.
    Invite,
    /// Read and export the audit trail.
    ReadAuditTrail,
    /// Cancel all events in a queue.
    PurgeQueue,
    /// Cancel an event. Same roles as for a queue, which could otherwise be emptied event by event.
    CancelEvents,
    /// Erase payloads. Same roles as for the retention of the tenant, which erases them as well.
    ErasePayloads,
    /// Place and lift legal holds.
    HoldLegally,
    CreateUser,
    /// Change oneself, or other users if the role allows it.
    UpdateUser,
    DeleteUser,
    /// Enrol a second factor of one's own.
    EnrolSecondFactor,
    /// Disable one's own second factor, and replace its recovery codes: also with a role that may not enrol one.
    UseSecondFactor,
    /// Remove the second factor of another user.
    RemoveSecondFactor,
    /// Erase the personal data of deleted users.
    ErasePersonalData,
}

impl Permission {
    /// Returns whether an access token is required.
    #[must_use]
    pub fn needs_user(self) -> bool {
        !matches!(self, Self::Anyone | Self::ApiKey)
    }

    /// Returns whether users of `role` have the permission.
    #[must_use]
    pub fn allows(self, role: Role) -> bool {
        match self {
            Self::Anyone | Self::ApiKey => true,
            Self::Read | Self::LogOut | Self::UpdateUser | Self::UseSecondFactor => true,
            Self::ManageDestinations | Self::ManageApiKeys | Self::ReplayEvents | Self::UseWebhookSecret => {
                matches!(role, Role::Developer | Role::Admin | Role::Owner)
            }
            Self::RegenerateWebhookSecret
            | Self::UpdateTenant
            | Self::Invite
            | Self::ReadAuditTrail
            | Self::PurgeQueue
            | Self::CancelEvents
            | Self::ErasePayloads
            | Self::CreateUser
            | Self::DeleteUser => matches!(role, Role::Admin | Role::Owner),
            Self::EnrolSecondFactor => role.may_enrol_second_factor(),
            Self::RemoveSecondFactor | Self::HoldLegally | Self::ErasePersonalData => role == Role::Owner,
        }
    }

    /// Checks that users of `role` have the permission.
    ///
    /// # Errors
    /// A problem of kind `RoleForbids`.
    pub(crate) fn check(self, role: Role) -> Result<(), Problem> {
        if self.allows(role) {
            Ok(())
        } else {
            Err(Problem::new(Kind::RoleForbids, format!("The role {role} may not do this.")))
        }
    }
}

#[cfg(test)]
mod tests {
    use Role::{Admin, Developer, Owner, Viewer};

    use super::*;

    #[test]
    fn roles_have_the_permissions_of_the_matrix() {
        use Permission as P;
        let matrix = [
            (P::Read, [true, true, true, true]),
            (P::LogOut, [true, true, true, true]),
            (P::UpdateUser, [true, true, true, true]),
            (P::ManageDestinations, [false, true, true, true]),
            (P::ManageApiKeys, [false, true, true, true]),
            (P::ReplayEvents, [false, true, true, true]),
            (P::UseWebhookSecret, [false, true, true, true]),
            (P::RegenerateWebhookSecret, [false, false, true, true]),
            (P::UpdateTenant, [false, false, true, true]),
            (P::Invite, [false, false, true, true]),
            (P::ReadAuditTrail, [false, false, true, true]),
            (P::PurgeQueue, [false, false, true, true]),
            (P::CancelEvents, [false, false, true, true]),
            (P::ErasePayloads, [false, false, true, true]),
            (P::CreateUser, [false, false, true, true]),
            (P::DeleteUser, [false, false, true, true]),
            (P::EnrolSecondFactor, [false, false, true, true]),
            (P::UseSecondFactor, [true, true, true, true]),
            (P::RemoveSecondFactor, [false, false, false, true]),
            (P::HoldLegally, [false, false, false, true]),
            (P::ErasePersonalData, [false, false, false, true]),
        ];
        for (permission, allowed) in matrix {
            let allows = [Viewer, Developer, Admin, Owner].map(|role| permission.allows(role));
            assert_eq!(allows, allowed, "{permission:?}");
            assert!(permission.needs_user());
        }
    }
}
