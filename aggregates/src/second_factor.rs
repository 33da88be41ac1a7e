//! Second factor of a user: a secret from which an authenticator app computes codes (TOTP, RFC 6238), and recovery codes
//! for when the app is lost.
//!
//! Logins ask for it from the fact on that enables it, which proves that the app has the secret. It stays when its user
//! gets another role. Codes of the app are no facts: there is one for every login.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::role::Role;
use crate::sealed::{Sealed, TokenHash};
use crate::user::{UserFact, UserRefusal};

/// State of a user's second factor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecondFactor {
    #[default]
    Absent,
    /// The user has the secret, and has not proved it yet.
    Begun { secret: Sealed },
    Enabled {
        secret: Sealed,
        /// Hashes of the recovery codes that were not used.
        recovery_codes: Vec<TokenHash>,
    },
}

/// Command to a user's second factor.
#[derive(Clone, Debug)]
pub enum SecondFactorCommand {
    /// Begins the enrolment. Repeated before it is enabled: begun again, and the former secret is void.
    Begin { secret: Sealed, at: DateTime<Utc> },
    /// Enables it after a code was checked. Repeated: refused.
    Enable {
        /// Secret that the code was checked against.
        secret: Sealed,
        recovery_codes: Vec<TokenHash>,
        at: DateTime<Utc>,
    },
    /// Replaces all recovery codes. Repeated: replaced again.
    ReplaceRecoveryCodes { recovery_codes: Vec<TokenHash>, at: DateTime<Utc> },
    /// Uses up a recovery code. Repeated: refused.
    UseRecoveryCode { recovery_code: TokenHash, at: DateTime<Utc> },
    /// Removes the secret and the recovery codes. Repeated: refused.
    Disable { at: DateTime<Utc> },
}

impl SecondFactor {
    /// Whether logins ask for it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        matches!(self, Self::Enabled { .. })
    }

    /// Decides a command of a user with this role.
    pub(crate) fn decide(
        &self,
        role: Role,
        command: SecondFactorCommand,
    ) -> Result<Vec<UserFact>, UserRefusal> {
        use SecondFactorCommand as Command;
        let fact = match (self, command) {
            (Self::Enabled { .. }, Command::Begin { .. } | Command::Enable { .. }) => {
                return Err(UserRefusal::SecondFactorEnabled);
            }
            (_, Command::Begin { .. } | Command::Enable { .. }) if !role.may_enrol_second_factor() => {
                return Err(UserRefusal::SecondFactorNotForRole { role });
            }
            (_, Command::Begin { secret, at }) => UserFact::SecondFactorBegun { secret, at },
            (Self::Begun { secret: begun }, Command::Enable { secret, recovery_codes, at })
                if secret == *begun =>
            {
                UserFact::SecondFactorEnabled { recovery_codes, at }
            }
            (_, Command::Enable { .. }) => return Err(UserRefusal::SecondFactorNotBegun),
            (Self::Enabled { .. }, Command::ReplaceRecoveryCodes { recovery_codes, at }) => {
                UserFact::RecoveryCodesReplaced { recovery_codes, at }
            }
            (Self::Enabled { recovery_codes, .. }, Command::UseRecoveryCode { recovery_code, at }) => {
                if !recovery_codes.contains(&recovery_code) {
                    return Err(UserRefusal::WrongRecoveryCode);
                }
                UserFact::RecoveryCodeUsed { recovery_code, at }
            }
            (Self::Enabled { .. }, Command::Disable { at }) => UserFact::SecondFactorDisabled { at },
            (Self::Absent | Self::Begun { .. }, _) => return Err(UserRefusal::SecondFactorNotEnabled),
        };
        Ok(vec![fact])
    }

    pub(crate) fn fold(&mut self, fact: UserFact) {
        *self = match (std::mem::take(self), fact) {
            (_, UserFact::SecondFactorBegun { secret, .. }) => Self::Begun { secret },
            (Self::Begun { secret }, UserFact::SecondFactorEnabled { recovery_codes, .. }) => {
                Self::Enabled { secret, recovery_codes }
            }
            (Self::Enabled { secret, .. }, UserFact::RecoveryCodesReplaced { recovery_codes, .. }) => {
                Self::Enabled { secret, recovery_codes }
            }
            (
                Self::Enabled { secret, mut recovery_codes },
                UserFact::RecoveryCodeUsed { recovery_code, .. },
            ) => {
                recovery_codes.retain(|code| *code != recovery_code);
                Self::Enabled { secret, recovery_codes }
            }
            (_, UserFact::SecondFactorDisabled { .. }) => Self::Absent,
            (unchanged, _) => unchanged,
        };
    }
}
