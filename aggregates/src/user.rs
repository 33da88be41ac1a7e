//! User: one person of one tenant, with an email address, a role and a password. A user can be deactivated and
//! activated until deleted.
//!
//! Email addresses and password hashes are kept outside the log, where they can be erased, in rows with the number of the
//! user and the version of the stream.
//!
//! The rule that a tenant keeps an owner concerns several users, so the tenant enforces it. Which user may change
//! which other is in [`role`](crate::role).

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Decide;
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
    /// Deleted, and the personal data is erased.
    Erased,
}

/// State of a registered user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserState {
    pub tenant_id: TenantId,
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
        /// Commitment to the email address, which is reserved in the same append.
        email_hmac_sha256: String,
        role: Role,
        at: DateTime<Utc>,
    },
    /// Changes the email address. Repeated: changed again.
    ChangeEmail {
        /// Commitment to the email address, which is reserved in the same append.
        email_hmac_sha256: String,
        at: DateTime<Utc>,
    },
    /// Changes the password. Repeated: changed again.
    ChangePassword { at: DateTime<Utc> },
    /// Changes the role. To the current one: ignored.
    ChangeRole { role: Role, at: DateTime<Utc> },
    /// Activates or deactivates the user. To the current status: ignored.
    ChangeStatus { status: UserStatus, at: DateTime<Utc> },
    /// Deletes the user. Repeated: refused.
    Delete { at: DateTime<Utc> },
    /// Erases the personal data of a deleted user. Repeated: ignored.
    ErasePersonalData { reason: String, at: DateTime<Utc> },
    /// Records a refused login. Repeated: recorded again.
    RefuseLogin { at: DateTime<Utc> },
    /// Changes or uses the second factor.
    SecondFactor(SecondFactorCommand),
}

/// Fact about a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum UserFact {
    /// The user has an email address and a password, in the rows of this version.
    UserRegistered {
        tenant_id: TenantId,
        /// HMAC-SHA256 of the email address in lower-case hex, with the salt that is stored with it. `None`: registered
        /// before email addresses were kept outside the log.
        email_hmac_sha256: Option<String>,
        role: Role,
        at: DateTime<Utc>,
    },
    EmailChanged {
        /// As that of `UserRegistered`.
        email_hmac_sha256: Option<String>,
        at: DateTime<Utc>,
    },
    PasswordChanged {
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
    /// Email addresses, password hash and the origins of facts were deleted in the same transaction. The metadata has who
    /// asked for it.
    PersonalDataErased {
        reason: String,
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
    UserRegistered: 2,
    EmailChanged: 2,
    PasswordChanged: 2,
    RoleChanged,
    UserDeactivated,
    UserActivated,
    UserDeleted,
    PersonalDataErased,
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
    #[error("the user is not deleted; delete the user first")]
    NotDeleted,
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
            (Self::Unknown, Command::Register { tenant_id, email_hmac_sha256, role, at }) => {
                let email_hmac_sha256 = Some(email_hmac_sha256);
                return Ok(vec![UserFact::UserRegistered { tenant_id, email_hmac_sha256, role, at }]);
            }
            (_, Command::Register { .. }) => return Err(UserRefusal::AlreadyRegistered),
            (Self::Deleted, Command::ErasePersonalData { reason, at }) => {
                return Ok(vec![UserFact::PersonalDataErased { reason, at }]);
            }
            (Self::Erased, Command::ErasePersonalData { .. }) => return Ok(vec![]),
            (Self::Registered(user), command) => (user, command),
            (Self::Unknown | Self::Deleted | Self::Erased, _) => return Err(UserRefusal::NotRegistered),
        };
        Ok(match command {
            Command::Register { .. } => return Err(UserRefusal::AlreadyRegistered),
            Command::ChangeEmail { email_hmac_sha256, at } => {
                vec![UserFact::EmailChanged { email_hmac_sha256: Some(email_hmac_sha256), at }]
            }
            Command::ChangePassword { at } => vec![UserFact::PasswordChanged { at }],
            Command::ChangeRole { role, .. } if role == user.role => vec![],
            Command::ChangeRole { role, at } => vec![UserFact::RoleChanged { role, at }],
            Command::ChangeStatus { status, .. } if status == user.status => vec![],
            Command::ChangeStatus { status: UserStatus::Active, at } => vec![UserFact::UserActivated { at }],
            Command::ChangeStatus { status: UserStatus::Inactive, at } => {
                vec![UserFact::UserDeactivated { at }]
            }
            Command::Delete { at } => vec![UserFact::UserDeleted { at }],
            Command::ErasePersonalData { .. } => return Err(UserRefusal::NotDeleted),
            Command::RefuseLogin { at } => vec![UserFact::LoginRefused { at }],
            Command::SecondFactor(command) => return user.second_factor.decide(user.role, command),
        })
    }
}

impl User {
    fn fold(&mut self, fact: UserFact) {
        match (&mut *self, fact) {
            (_, UserFact::UserRegistered { tenant_id, role, .. }) => {
                *self = Self::Registered(UserState {
                    tenant_id,
                    role,
                    status: UserStatus::Active,
                    deactivated_at: None,
                    second_factor: SecondFactor::Absent,
                });
            }
            (_, UserFact::UserDeleted { .. }) => *self = Self::Deleted,
            (_, UserFact::PersonalDataErased { .. }) => *self = Self::Erased,
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
