//! Roles and statuses of users, and the rules on which user may create, change or delete which other.
//!
//! An Owner manages every user, an Admin those who manage no one (Developers and Viewers). The email and
//! the password are also the user's own. Which role may use which route is decided by the API.

use thiserror::Error;

use crate::stored_enum;

stored_enum! {
    /// What a user may do.
    #[derive(Default)]
    pub enum Role {
        /// Manages destinations, senders and API keys, replays events.
        #[default]
        Developer = 0 => "Developer",
        /// Also manages users, invites, settings and queues.
        Admin = 1 => "Admin",
        /// Also manages admins and owners; a tenant always has an owner.
        Owner = 10 => "Owner",
        /// Reads only.
        Viewer = 20 => "Viewer",
    }
}

stored_enum! {
    /// Whether a user may log in.
    #[derive(Default)]
    pub enum UserStatus {
        #[default]
        Active = 0 => "Active",
        Inactive = 1 => "Inactive",
    }
}

/// Parts of a user that a request would change.
#[derive(Clone, Copy, Debug, Default)]
pub struct UserChange {
    /// The new role; `None` if the role stays.
    pub role: Option<Role>,
    pub status: bool,
    /// Email or password.
    pub credentials: bool,
}

/// An action that the role `by` of the acting user does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RoleRefusal {
    #[error("the role {by} may not create a user of role {role}")]
    CreateUser { by: Role, role: Role },
    #[error("the role {by} may not change the email or password of this user")]
    ChangeCredentials { by: Role },
    #[error("the role {by} may not change the status of this user")]
    ChangeStatus { by: Role },
    #[error("the role {by} may not make this user {role}")]
    ChangeRole { by: Role, role: Role },
    #[error("the role {by} may not delete this user")]
    DeleteUser { by: Role },
    #[error("the role {by} may not remove the second factor of another user")]
    RemoveSecondFactor { by: Role },
    #[error("one's own second factor cannot be removed without the password and a code; disable it")]
    RemoveOwnSecondFactor,
}

impl Role {
    /// Whether users of this role may invite users of role `target`.
    #[must_use]
    pub fn may_invite(self, target: Self) -> bool {
        target != Self::Owner && self.manages(target)
    }

    /// Whether users of this role may enrol a second factor. A user who loses the role keeps it.
    #[must_use]
    pub fn may_enrol_second_factor(self) -> bool {
        matches!(self, Self::Admin | Self::Owner)
    }

    fn manages(self, other: Self) -> bool {
        match self {
            Self::Owner => true,
            Self::Admin => matches!(other, Self::Developer | Self::Viewer),
            Self::Developer | Self::Viewer => false,
        }
    }

    /// Checks that a user of this role may create a user of `role`.
    ///
    /// # Errors
    ///
    /// Unless this role manages users of `role`.
    pub fn check_create(self, role: Self) -> Result<(), RoleRefusal> {
        if self.manages(role) { Ok(()) } else { Err(RoleRefusal::CreateUser { by: self, role }) }
    }

    /// Checks that a user of this role may make `change` to a user of role `target`, who is the same user if
    /// `is_self`.
    ///
    /// # Errors
    ///
    /// The first part of the change that this role does not allow.
    pub fn check_change(self, target: Self, is_self: bool, change: UserChange) -> Result<(), RoleRefusal> {
        let manages = self.manages(target);
        if change.credentials && !manages && !is_self {
            return Err(RoleRefusal::ChangeCredentials { by: self });
        }
        if change.status && !manages {
            return Err(RoleRefusal::ChangeStatus { by: self });
        }
        match change.role {
            Some(role) if !manages || !self.manages(role) => Err(RoleRefusal::ChangeRole { by: self, role }),
            _ => Ok(()),
        }
    }

    /// Checks that a user of this role may delete a user of role `target`. An Admin may delete an Admin, although
    /// an Admin cannot create or change one.
    ///
    /// # Errors
    ///
    /// Unless this is an Owner, or an Admin and the target no Owner.
    pub fn check_delete(self, target: Self) -> Result<(), RoleRefusal> {
        match (self, target) {
            (Self::Owner, _) | (Self::Admin, Self::Admin | Self::Developer | Self::Viewer) => Ok(()),
            _ => Err(RoleRefusal::DeleteUser { by: self }),
        }
    }

    /// Checks that a user of this role may remove the second factor of a user, who is the same user if `is_self`.
    ///
    /// # Errors
    ///
    /// Unless this is an Owner, and the user another one.
    pub fn check_remove_second_factor(self, is_self: bool) -> Result<(), RoleRefusal> {
        match self {
            Self::Owner if is_self => Err(RoleRefusal::RemoveOwnSecondFactor),
            Self::Owner => Ok(()),
            by => Err(RoleRefusal::RemoveSecondFactor { by }),
        }
    }
}
