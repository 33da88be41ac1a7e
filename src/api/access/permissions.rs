//! Who may do what: the role matrix, all of it.
//!
//! Every route carries a [`Permission`], which is judged before its handler runs. What depends on the
//! body as well (which role is given to whom) is judged by the functions below, which handlers call.

use aggregates::ids::UserId;
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
        if self.allows(role) { Ok(()) } else { Err(forbidden(role, "do this")) }
    }
}

/// Whether `by` may create a user of role `target`: an Admin makes neither Admins nor Owners.
pub(crate) fn check_creating(by: Role, target: Role) -> Result<(), Problem> {
    if by == Role::Owner || (by == Role::Admin && !is_managing(target)) {
        Ok(())
    } else {
        Err(forbidden(by, &format!("create a user of role {}", target.name())))
    }
}

/// What somebody wants to change of a user.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UserChange {
    /// The role that is given, if it is another one.
    pub(crate) role: Option<Role>,
    /// Whether the status is changed.
    pub(crate) status: bool,
    /// Whether email or password are changed.
    pub(crate) credentials: bool,
}

/// Whether the user `by` may change the user `target` in this way. Email and password are one's own; an
/// Admin also manages those who manage nobody; an Owner everybody.
pub(crate) fn check_changing(
    by: (UserId, Role),
    target: (UserId, Role),
    change: UserChange,
) -> Result<(), Problem> {
    let manages = by.1 == Role::Owner || (by.1 == Role::Admin && !is_managing(target.1));
    if change.credentials && !manages && by.0 != target.0 {
        return Err(forbidden(by.1, "change the email or password of this user"));
    }
    if change.status && !manages {
        return Err(forbidden(by.1, "change the status of this user"));
    }
    match change.role {
        Some(role) if !manages || (by.1 != Role::Owner && is_managing(role)) => {
            Err(forbidden(by.1, &format!("make this user {}", role.name())))
        }
        _ => Ok(()),
    }
}

/// Whether a user of role `by` may delete one of role `target`.
pub(crate) fn check_deleting(by: Role, target: Role) -> Result<(), Problem> {
    if by == Role::Owner || (by == Role::Admin && target != Role::Owner) {
        Ok(())
    } else {
        Err(forbidden(by, "delete this user"))
    }
}

fn is_managing(role: Role) -> bool {
    matches!(role, Role::Admin | Role::Owner)
}

fn forbidden(role: Role, what: &str) -> Problem {
    Problem::new(Kind::RoleForbids, format!("The role {} may not {what}.", role.name()))
}

#[cfg(test)]
mod tests {
    use Role::{Admin, Developer, Owner, Viewer};
    use uuid::Uuid;

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

    #[test]
    fn an_admin_creates_and_deletes_below_and_an_owner_everybody() {
        for target in Role::ALL {
            assert!(check_creating(Owner, target).is_ok());
            assert!(check_deleting(Owner, target).is_ok());
            assert_eq!(check_creating(Admin, target).is_ok(), matches!(target, Developer | Viewer));
            assert_eq!(check_deleting(Admin, target).is_ok(), target != Owner);
            for by in [Developer, Viewer] {
                assert!(check_creating(by, target).is_err());
                assert!(check_deleting(by, target).is_err());
            }
        }
    }

    #[test]
    fn nobody_rises_by_changing_users() {
        let me = UserId(Uuid::from_u128(1));
        let other = UserId(Uuid::from_u128(2));
        let role = |role| UserChange { role: Some(role), ..UserChange::default() };
        let status = UserChange { status: true, ..UserChange::default() };
        let credentials = UserChange { credentials: true, ..UserChange::default() };
        let allowed = |by, target, change| check_changing(by, target, change).is_ok();

        for mine in Role::ALL {
            assert!(allowed((me, mine), (me, mine), credentials), "{mine:?}");
            assert_eq!(allowed((me, mine), (me, mine), status), mine == Owner, "{mine:?}");
            for given in Role::ALL {
                assert_eq!(allowed((me, mine), (me, mine), role(given)), mine == Owner, "{mine:?} {given:?}");
            }
            for theirs in Role::ALL {
                let manages = mine == Owner || (mine == Admin && matches!(theirs, Developer | Viewer));
                assert_eq!(allowed((me, mine), (other, theirs), credentials), manages);
                assert_eq!(allowed((me, mine), (other, theirs), status), manages);
                for given in Role::ALL {
                    let gives = manages && (mine == Owner || matches!(given, Developer | Viewer));
                    assert_eq!(allowed((me, mine), (other, theirs), role(given)), gives);
                }
                assert!(allowed((me, mine), (other, theirs), UserChange::default()));
            }
        }
    }
}
