//! User: one person of one tenant, with an email address, a role and a password. A user can be deactivated and
//! activated until deleted.
//!
//! The rule that a tenant keeps an owner concerns several users, so the tenant enforces it. Which user may change
//! which other is in [`role`](crate::role).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
use crate::email::Email;
use crate::ids::TenantId;
use crate::role::{Role, UserStatus};
use crate::sealed::{Sealed, TokenHash};
use crate::second_factor::{SecondFactor, SecondFactorCommand};

/// State of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum User {
    /// Never registered.
    #[default]
    Unknown,
    Registered(UserState),
    Deleted,
}

/// State of a registered user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserState {
    pub tenant_id: TenantId,
    pub email: Email,
    pub role: Role,
    pub status: UserStatus,
    /// Time of the last deactivation, also if the user was activated again.
    pub deactivated_at: Option<DateTime<Utc>>,
    pub second_factor: SecondFactor,
}

impl UserState {
    /// Whether the user counts as one of the tenant's owners, of which at least one must remain.
    #[must_use]
    pub fn is_active_owner(&self) -> bool {
        self.role == Role::Owner && self.status == UserStatus::Active
    }
}

/// Command to a user.
#[derive(Clone, Debug)]
pub enum UserCommand {
    /// Registers the user. Repeated: refused.
    Register {
        tenant_id: TenantId,
        /// Reserved in the same append.
        email: Email,
        /// Argon2id hash in PHC format.
        password_hash: String,
        role: Role,
        at: DateTime<Utc>,
    },
    /// Changes the email address. To the current one: ignored.
    ChangeEmail {
        /// Reserved in the same append.
        email: Email,
        at: DateTime<Utc>,
    },
    /// Changes the password. Repeated: changed again.
    ChangePassword {
        /// Argon2id hash in PHC format.
        password_hash: String,
        at: DateTime<Utc>,
    },
    /// Changes the role. To the current one: ignored.
    ChangeRole { role: Role, at: DateTime<Utc> },
    /// Activates or deactivates the user. To the current status: ignored.
    ChangeStatus { status: UserStatus, at: DateTime<Utc> },
    /// Deletes the user. Repeated: refused.
    Delete { at: DateTime<Utc> },
    /// Records a refused login. Repeated: recorded again.
    RefuseLogin { at: DateTime<Utc> },
    /// Changes or uses the second factor.
    SecondFactor(SecondFactorCommand),
}

/// Fact about a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum UserFact {
    UserRegistered {
        tenant_id: TenantId,
        email: Email,
        /// Argon2id hash in PHC format.
        password_hash: String,
        role: Role,
        at: DateTime<Utc>,
    },
    EmailChanged {
        email: Email,
        at: DateTime<Utc>,
    },
    PasswordChanged {
        /// Argon2id hash in PHC format.
        password_hash: String,
        at: DateTime<Utc>,
    },
    RoleChanged {
        role: Role,
        at: DateTime<Utc>,
    },
    UserDeactivated {
        at: DateTime<Utc>,
    },
    UserActivated {
        at: DateTime<Utc>,
    },
    UserDeleted {
        at: DateTime<Utc>,
    },
    /// A login with a wrong password, or of an inactive user.
    LoginRefused {
        at: DateTime<Utc>,
    },
    /// The user got a secret. Logins do not ask for codes yet.
    SecondFactorBegun {
        secret: Sealed,
        at: DateTime<Utc>,
    },
    /// Logins ask for a code.
    SecondFactorEnabled {
        recovery_codes: Vec<TokenHash>,
        at: DateTime<Utc>,
    },
    RecoveryCodesReplaced {
        recovery_codes: Vec<TokenHash>,
        at: DateTime<Utc>,
    },
    RecoveryCodeUsed {
        recovery_code: TokenHash,
        at: DateTime<Utc>,
    },
    SecondFactorDisabled {
        at: DateTime<Utc>,
    },
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
    SecondFactorBegun,
    SecondFactorEnabled,
    RecoveryCodesReplaced,
    RecoveryCodeUsed,
    SecondFactorDisabled,
});

/// Reason why a user refuses a command.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UserRefusal {
    #[error("the user is already registered")]
    AlreadyRegistered,
    #[error("no user has this id")]
    NotRegistered,
    #[error("the role {role} cannot enrol a second factor")]
    SecondFactorNotForRole { role: Role },
    #[error("the user has a second factor; disable it first")]
    SecondFactorEnabled,
    #[error("no enrolment of a second factor has begun, or it has begun again; begin it again")]
    SecondFactorNotBegun,
    #[error("the user has no second factor")]
    SecondFactorNotEnabled,
    #[error("the recovery code is unknown or was used before")]
    WrongRecoveryCode,
}

aggregate!(User, UserCommand, UserFact, UserRefusal);

impl Decide for User {
    fn decide(&self, command: UserCommand) -> Result<Vec<UserFact>, UserRefusal> {
        use UserCommand as Command;
        let (user, command) = match (self, command) {
            (Self::Unknown, Command::Register { tenant_id, email, password_hash, role, at }) => {
                return Ok(vec![UserFact::UserRegistered { tenant_id, email, password_hash, role, at }]);
            }
            (_, Command::Register { .. }) => return Err(UserRefusal::AlreadyRegistered),
            (Self::Registered(user), command) => (user, command),
            (Self::Unknown | Self::Deleted, _) => return Err(UserRefusal::NotRegistered),
        };
        Ok(match command {
            Command::Register { .. } => return Err(UserRefusal::AlreadyRegistered),
            Command::ChangeEmail { email, .. } if email == user.email => vec![],
            Command::ChangeEmail { email, at } => vec![UserFact::EmailChanged { email, at }],
            Command::ChangePassword { password_hash, at } => {
                vec![UserFact::PasswordChanged { password_hash, at }]
            }
            Command::ChangeRole { role, .. } if role == user.role => vec![],
            Command::ChangeRole { role, at } => vec![UserFact::RoleChanged { role, at }],
            Command::ChangeStatus { status, .. } if status == user.status => vec![],
            Command::ChangeStatus { status: UserStatus::Active, at } => vec![UserFact::UserActivated { at }],
            Command::ChangeStatus { status: UserStatus::Inactive, at } => {
                vec![UserFact::UserDeactivated { at }]
            }
            Command::Delete { at } => vec![UserFact::UserDeleted { at }],
            Command::RefuseLogin { at } => vec![UserFact::LoginRefused { at }],
            Command::SecondFactor(command) => return user.second_factor.decide(user.role, command),
        })
    }
}

impl User {
    fn fold(&mut self, fact: UserFact) {
        match (&mut *self, fact) {
            (_, UserFact::UserRegistered { tenant_id, email, role, .. }) => {
                *self = Self::Registered(UserState {
                    tenant_id,
                    email,
                    role,
                    status: UserStatus::Active,
                    deactivated_at: None,
                    second_factor: SecondFactor::Absent,
                });
            }
            (_, UserFact::UserDeleted { .. }) => *self = Self::Deleted,
            (Self::Registered(user), UserFact::EmailChanged { email, .. }) => user.email = email,
            (Self::Registered(user), UserFact::RoleChanged { role, .. }) => user.role = role,
            (Self::Registered(user), UserFact::UserDeactivated { at }) => {
                user.status = UserStatus::Inactive;
                user.deactivated_at = Some(at);
            }
            (Self::Registered(user), UserFact::UserActivated { .. }) => {
                user.status = UserStatus::Active;
            }
            (Self::Registered(user), fact) => user.second_factor.fold(fact),
            (_, _) => {}
        }
    }
}
