//! Permissions of routes, and the roles that have them.
//!
//! Every route carries a [`Permission`], which is checked before its handler runs. Rules that depend on the
//! target user as well are in `aggregates::role`; handlers call them. A portal link has the permissions of which
//! [`Permission::portal_access`] says so, and no others.

use aggregates::portal_link::PortalAccess;
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
    /// Read deliveries: also through a portal link, those of its destination.
    ReadDeliveries,
    /// Replay an event whose delivery was given up: also through a portal link, one of its destination.
    ReplayDelivery,
    /// Cancel an event: also through a portal link, one of its destination. Same roles as for a queue, which could otherwise
    /// be emptied event by event.
    CancelDelivery,
    /// Learn which portal link the request has: not for users.
    UsePortalLink,
    /// List and close one's own sessions.
    LogOut,
    /// Change destinations, senders and mappings.
    ManageDestinations,
    /// Issue and revoke API keys.
    ManageApiKeys,
    /// Replay many events whose delivery was given up.
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
    /// Cancel many events.
    CancelEvents,
    /// Create, list and revoke portal links.
    ManagePortalLinks,
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
    /// Returns whether a token is required: an access token, or a portal link if the permission admits it.
    #[must_use]
    pub fn needs_user(self) -> bool {
        !matches!(self, Self::Anyone | Self::ApiKey)
    }

    /// Returns whether users of `role` have the permission.
    #[must_use]
    pub fn allows(self, role: Role) -> bool {
        match self {
            Self::Anyone | Self::ApiKey => true,
            Self::UsePortalLink => false,
            Self::Read | Self::ReadDeliveries | Self::LogOut | Self::UpdateUser | Self::UseSecondFactor => {
                true
            }
            Self::ManageDestinations
            | Self::ManageApiKeys
            | Self::ReplayDelivery
            | Self::ReplayEvents
            | Self::UseWebhookSecret => {
                matches!(role, Role::Developer | Role::Admin | Role::Owner)
            }
            Self::RegenerateWebhookSecret
            | Self::UpdateTenant
            | Self::Invite
            | Self::ReadAuditTrail
            | Self::PurgeQueue
            | Self::CancelDelivery
            | Self::CancelEvents
            | Self::ManagePortalLinks
            | Self::ErasePayloads
            | Self::CreateUser
            | Self::DeleteUser => matches!(role, Role::Admin | Role::Owner),
            Self::EnrolSecondFactor => role.may_enrol_second_factor(),
            Self::RemoveSecondFactor | Self::HoldLegally | Self::ErasePersonalData => role == Role::Owner,
        }
    }

    /// Returns the access that a portal link needs for the permission; `None`: no link has it.
    #[must_use]
    pub fn portal_access(self) -> Option<PortalAccess> {
        match self {
            Self::UsePortalLink | Self::ReadDeliveries => Some(PortalAccess::Read),
            Self::ReplayDelivery | Self::CancelDelivery => Some(PortalAccess::Operate),
            _ => None,
        }
    }

    /// Checks that portal links with `access` have the permission.
    ///
    /// # Errors
    /// A problem of kind `PortalLinkForbids`.
    pub(crate) fn check_portal_link(self, access: PortalAccess) -> Result<(), Problem> {
        match self.portal_access() {
            Some(needed) if access.includes(needed) => Ok(()),
            Some(_) => Err(Problem::portal_link_forbids("The portal link shows events and changes none.")),
            None => Err(Problem::portal_link_forbids("Only users may do this.")),
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
            (P::ReadDeliveries, [true, true, true, true]),
            (P::UsePortalLink, [false, false, false, false]),
            (P::LogOut, [true, true, true, true]),
            (P::UpdateUser, [true, true, true, true]),
            (P::ManageDestinations, [false, true, true, true]),
            (P::ManageApiKeys, [false, true, true, true]),
            (P::ReplayDelivery, [false, true, true, true]),
            (P::ReplayEvents, [false, true, true, true]),
            (P::UseWebhookSecret, [false, true, true, true]),
            (P::RegenerateWebhookSecret, [false, false, true, true]),
            (P::UpdateTenant, [false, false, true, true]),
            (P::Invite, [false, false, true, true]),
            (P::ReadAuditTrail, [false, false, true, true]),
            (P::PurgeQueue, [false, false, true, true]),
            (P::CancelDelivery, [false, false, true, true]),
            (P::CancelEvents, [false, false, true, true]),
            (P::ManagePortalLinks, [false, false, true, true]),
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

    #[test]
    fn portal_links_have_the_permissions_for_deliveries_only() {
        use Permission as P;
        let of = |access| {
            let all = [
                P::UsePortalLink,
                P::ReadDeliveries,
                P::ReplayDelivery,
                P::CancelDelivery,
                P::Read,
                P::ReplayEvents,
            ];
            all.map(|permission| permission.check_portal_link(access).is_ok())
        };
        assert_eq!(of(PortalAccess::Read), [true, true, false, false, false, false]);
        assert_eq!(of(PortalAccess::Operate), [true, true, true, true, false, false]);
    }
}
