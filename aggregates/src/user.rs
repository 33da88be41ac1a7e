//! A user is one person of one tenant, with an email, a role and a password, who may be locked out and
//! let in again until deleted. That a tenant keeps an owner is a rule over several users, and is decided
//! by the tenant; who may ask for what is decided where the asking person is known.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::email::Email;
use crate::ids::TenantId;
use crate::role::{Role, UserStatus};

/// The life of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// Never registered.
    #[default]
    Unknown,
    /// Registered.
    Registered(UserState),
    /// Gone.
    Deleted,
}

/// What a registered user knows of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserState {
    /// Whose user it is.
    pub tenant_id: TenantId,
    /// The email to log in with.
    pub email: Email,
    /// What the user may do.
    pub role: Role,
    /// Whether the user may log in.
    pub status: UserStatus,
}

impl UserState {
    /// Whether the user counts as one of the tenant's owners, of which at least one must remain.
    #[must_use]
    pub fn is_active_owner(&self) -> bool {
        self.role == Role::Owner && self.status == UserStatus::Active
    }
}

/// What can be asked of a user.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// Register the user. Repeated: refused.
    Register {
        /// Whose user it is.
        tenant_id: TenantId,
        /// The email to log in with, claimed.
        email: Email,
        /// Argon2id hash of the password, in PHC form.
        password_hash: String,
        /// What the user may do.
        role: Role,
        at: DateTime<Utc>,
    },
    /// Change the email. To the same: ignored.
    ChangeEmail {
        /// The new email, claimed.
        email: Email,
        at: DateTime<Utc>,
    },
    /// Change the password. Repeated: changed again.
    ChangePassword {
        /// Argon2id hash of the new password, in PHC form.
        password_hash: String,
        at: DateTime<Utc>,
    },
    /// Change the role. To the same: ignored.
    ChangeRole { role: Role, at: DateTime<Utc> },
    /// Change whether the user may log in. To the same: ignored.
    ChangeStatus { status: UserStatus, at: DateTime<Utc> },
    /// Delete the user. Repeated: refused.
    Delete { at: DateTime<Utc> },
    /// Note that a login was refused. Repeated: noted again.
    RefuseLogin { at: DateTime<Utc> },
}

/// What happened to a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum UserFact {
    /// The user exists.
    UserRegistered {
        /// Whose user it is.
        tenant_id: TenantId,
        /// The email to log in with.
        email: Email,
        /// Argon2id hash of the password, in PHC form.
        password_hash: String,
        /// What the user may do.
        role: Role,
        at: DateTime<Utc>,
    },
    /// The user logs in with another email.
    EmailChanged { email: Email, at: DateTime<Utc> },
    /// The user has another password.
    PasswordChanged {
        /// Argon2id hash of the new password, in PHC form.
        password_hash: String,
        at: DateTime<Utc>,
    },
    /// The user may do other things.
    RoleChanged { role: Role, at: DateTime<Utc> },
    /// The user may not log in.
    UserDeactivated { at: DateTime<Utc> },
    /// The user may log in again.
    UserActivated { at: DateTime<Utc> },
    /// The user is gone.
    UserDeleted { at: DateTime<Utc> },
    /// Somebody gave a wrong password for this user, or the user may not log in.
    LoginRefused { at: DateTime<Utc> },
}

stored_facts!(UserFact {
    UserRegistered,
    EmailChanged,
    PasswordChanged,
    RoleChanged,
    UserDeactivated,
    UserActivated,
    UserDeleted,
    LoginRefused,
});

/// Why a user does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UserRefusal {
    /// It exists already.
    #[error("the user was registered before")]
    AlreadyRegistered,
    /// It does not exist, or is deleted.
    #[error("there is no user of this id")]
    NotRegistered,
}

aggregate!(User, UserCommand, UserFact, UserRefusal);

impl Decide for User {
    fn decide(&self, command: UserCommand) -> Result<Vec<UserFact>, UserRefusal> {
        use UserCommand as Command;
        let (person, command) = match (self, command) {
            (Self::Unknown, Command::Register { tenant_id, email, password_hash, role, at }) => {
                return Ok(vec![UserFact::UserRegistered { tenant_id, email, password_hash, role, at }]);
            }
            (_, Command::Register { .. }) => return Err(UserRefusal::AlreadyRegistered),
            (Self::Registered(person), command) => (person, command),
            (Self::Unknown | Self::Deleted, _) => return Err(UserRefusal::NotRegistered),
        };
        Ok(match command {
            Command::Register { .. } => return Err(UserRefusal::AlreadyRegistered),
            Command::ChangeEmail { email, .. } if email == person.email => vec![],
            Command::ChangeEmail { email, at } => vec![UserFact::EmailChanged { email, at }],
            Command::ChangePassword { password_hash, at } => {
                vec![UserFact::PasswordChanged { password_hash, at }]
            }
            Command::ChangeRole { role, .. } if role == person.role => vec![],
            Command::ChangeRole { role, at } => vec![UserFact::RoleChanged { role, at }],
            Command::ChangeStatus { status, .. } if status == person.status => vec![],
            Command::ChangeStatus { status: UserStatus::Active, at } => vec![UserFact::UserActivated { at }],
            Command::ChangeStatus { status: UserStatus::Inactive, at } => {
                vec![UserFact::UserDeactivated { at }]
            }
            Command::Delete { at } => vec![UserFact::UserDeleted { at }],
            Command::RefuseLogin { at } => vec![UserFact::LoginRefused { at }],
        })
    }
}

impl User {
    fn fold(&mut self, fact: UserFact) {
        match (&mut *self, fact) {
            (_, UserFact::UserRegistered { tenant_id, email, role, .. }) => {
                *self = Self::Registered(UserState { tenant_id, email, role, status: UserStatus::Active });
            }
            (_, UserFact::UserDeleted { .. }) => *self = Self::Deleted,
            (Self::Registered(person), UserFact::EmailChanged { email, .. }) => person.email = email,
            (Self::Registered(person), UserFact::RoleChanged { role, .. }) => person.role = role,
            (Self::Registered(person), UserFact::UserDeactivated { .. }) => {
                person.status = UserStatus::Inactive;
            }
            (Self::Registered(person), UserFact::UserActivated { .. }) => {
                person.status = UserStatus::Active;
            }
            (_, _) => {}
        }
    }
}
