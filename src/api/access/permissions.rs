//! Permissions of routes, and the roles that have them.
//!
//! Every route carries a [`Permission`], which is checked before its handler runs. Rules that depend on the
//! target user as well are in `aggregates::role`; handlers call them.

use aggregates::role::Role;

use crate::api::http::problem::{Kind, Problem};

/// What a caller must be to use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Nobody in particular.
    Anyone,
    /// A service with an API key, which the handler judges in the order of the contract.
    ApiKey,
    /// A user who looks at what is the tenant's.
    Read,
    /// A user who closes their own session.
    LogOut,
    /// A user who changes destinations, senders and mappings.
    ManageDestinations,
    /// A user who issues and revokes API keys.
    ManageApiKeys,
    /// A user who has failed events delivered again.
    ReplayEvents,
    /// A user who sees the signing secret or checks a signature with it.
    UseWebhookSecret,
    /// A user who replaces the signing secret.
    RegenerateWebhookSecret,
    /// A user who changes the tenant.
    UpdateTenant,
    /// A user who invites, and sees the invites.
    Invite,
    /// A user who cancels what waits in a queue.
    PurgeQueue,
    /// A user who cancels an event: whoever could not purge a queue shall not empty it event by event.
    CancelEvents,
    /// A user who creates users.
    CreateUser,
    /// A user who changes users: others, if the role allows, or oneself.
    UpdateUser,
    /// A user who deletes users.
    DeleteUser,
}

impl Permission {
    /// Whether an access token is asked for.
    #[must_use]
    pub fn needs_user(self) -> bool {
        !matches!(self, Self::Anyone | Self::ApiKey)
    }

    /// Whether a user of `role` has it.
    #[must_use]
    pub fn allows(self, role: Role) -> bool {
        match self {
            Self::Anyone | Self::ApiKey => true,
            Self::Read | Self::LogOut | Self::UpdateUser => true,
            Self::ManageDestinations | Self::ManageApiKeys | Self::ReplayEvents | Self::UseWebhookSecret => {
                matches!(role, Role::Developer | Role::Admin | Role::Owner)
            }
            Self::RegenerateWebhookSecret
            | Self::UpdateTenant
            | Self::Invite
            | Self::PurgeQueue
            | Self::CancelEvents
            | Self::CreateUser
            | Self::DeleteUser => matches!(role, Role::Admin | Role::Owner),
        }
    }

    /// The refusal of whoever does not have it.
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
    fn a_role_may_do_what_the_matrix_says() {
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
            (P::PurgeQueue, [false, false, true, true]),
            (P::CancelEvents, [false, false, true, true]),
            (P::CreateUser, [false, false, true, true]),
            (P::DeleteUser, [false, false, true, true]),
        ];
        for (permission, allowed) in matrix {
            let allows = [Viewer, Developer, Admin, Owner].map(|role| permission.allows(role));
            assert_eq!(allows, allowed, "{permission:?}");
            assert!(permission.needs_user());
        }
    }
}
