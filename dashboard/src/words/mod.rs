//! Sentences in place of codes: what happened, what happens next, and what the person can do.
//!
//! The codes are those of the API. A test of the service compares the lists with the domain, so a code without words
//! fails it.

mod audit_types;
mod erasures;
mod facts;
mod outcomes;
mod problems;
mod roles;
mod statuses;

pub use audit_types::{AUDIT_TYPES, spoken};
pub use erasures::erasure_of_event;
pub use facts::fact;
pub(crate) use outcomes::OUTCOMES;
pub use outcomes::{OutcomeWords, outcome};
pub use problems::{ProblemWords, problem};
pub(crate) use roles::ROLES;
pub use roles::{role, user_status};
pub(crate) use statuses::EVENT_STATUSES;
pub use statuses::{StatusWords, bulk_action_state, destination_status, event_status};

/// How an outcome or a status is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    /// Something will follow.
    Waiting,
    Progress,
    Neutral,
}

impl Tone {
    /// Returns the name of the icon and the class of the style.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "success",
            Self::Bad => "failure",
            Self::Waiting => "waiting",
            Self::Progress => "progress",
            Self::Neutral => "cancelled",
        }
    }
}
