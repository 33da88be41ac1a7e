//! Roles and the state of a user, with the integers older clients send for them.

use serde::{Deserialize, Serialize};

/// What a user may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Role {
    /// ApiDependencies destinations, senders and API keys, replays events.
    #[default]
    Developer,
    /// Also manages users, invites, settings and queues.
    Admin,
    /// Holds the account; a tenant always has one.
    Owner,
    /// Looks, and changes nothing.
    Viewer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Developer, Self::Admin, Self::Owner, Self::Viewer];

    /// The role's integer in the API.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Developer => 0,
            Self::Admin => 1,
            Self::Owner => 10,
            Self::Viewer => 20,
        }
    }

    /// The role's name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Developer => "Developer",
            Self::Admin => "Admin",
            Self::Owner => "Owner",
            Self::Viewer => "Viewer",
        }
    }

    /// The role of a number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|role| i64::from(role.number()) == number)
    }

    /// The role of a name in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name().eq_ignore_ascii_case(name))
    }
}

/// Whether a user may log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UserStatus {
    /// May log in.
    #[default]
    Active,
    /// May not.
    Inactive,
}

impl UserStatus {
    /// The status's integer in the API.
    #[must_use]
    pub fn number(self) -> i16 {
        match self {
            Self::Active => 0,
            Self::Inactive => 1,
        }
    }

    /// The status's name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
        }
    }

    /// The status of a number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Active, Self::Inactive].into_iter().find(|status| i64::from(status.number()) == number)
    }

    /// The status of a name in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Inactive].into_iter().find(|status| status.name().eq_ignore_ascii_case(name))
    }
}
