//! Roles of a process.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::values::ValueProblem;

/// Part of the service that can run in a separate process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Answers HTTP requests.
    Api,
    /// Applies facts to the read models.
    Projector,
    /// Releases attempts when they are due.
    Dispatcher,
    /// Makes attempts.
    Worker,
    /// Writes the transparency logs.
    Sealer,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Api, Self::Projector, Self::Dispatcher, Self::Worker, Self::Sealer];

    /// The name in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Projector => "projector",
            Self::Dispatcher => "dispatcher",
            Self::Worker => "worker",
            Self::Sealer => "sealer",
        }
    }
}

/// Roles of a process; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    #[must_use]
    pub fn all() -> Self {
        Self(Role::ALL.into())
    }

    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }
}

impl FromStr for Roles {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let role = |word: &str| Role::ALL.into_iter().find(|role| role.name() == word.trim());
        match text.split(',').map(role).collect::<Option<BTreeSet<_>>>() {
            Some(roles) => Ok(Self(roles)),
            None => Err(ValueProblem(format!("must be some of {}, separated by commas", Self::all()))),
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|role| role.name()).collect();
        f.write_str(&names.join(","))
    }
}
