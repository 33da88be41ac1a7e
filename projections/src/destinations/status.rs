//! What callers see of a destination's stage.

use aggregates::destination::Stage;

/// What callers see of a destination's stage. One that is being probed is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It receives.
    Active,
    /// Somebody switched it off.
    Inactive,
    /// Its breaker is open.
    Suspended,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Active, Self::Inactive, Self::Suspended];

    /// The status's name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Inactive => "Inactive",
            Self::Suspended => "Suspended",
        }
    }

    /// The status of a name in any case.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn number(self) -> i16 {
        match self {
            Self::Active => 0,
            Self::Inactive => 1,
            Self::Suspended => 2,
        }
    }
}

impl From<Stage> for Status {
    fn from(stage: Stage) -> Self {
        match stage {
            Stage::Active | Stage::Probing => Self::Active,
            Stage::Inactive => Self::Inactive,
            Stage::Suspended => Self::Suspended,
        }
    }
}
