//! What is wrong with a setting, in words that its owner can act upon.

use std::fmt::Display;

use thiserror::Error;

/// Why a setting is refused. A secret's value is never part of it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingProblem {
    /// Its value is not allowed.
    #[error("{setting} (--{}) is \"{value}\": {allowed}", flag_of(.setting))]
    Invalid {
        /// The name of the environment variable.
        setting: String,
        /// What was given.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// The value of a secret is not allowed.
    #[error("{setting} (--{}): {allowed}", flag_of(.setting))]
    InvalidSecret {
        /// The name of the environment variable.
        setting: String,
        /// What is allowed.
        allowed: String,
    },
    /// It is needed and was not given.
    #[error("{setting} (--{}) is not set: {needed}", flag_of(.setting))]
    Missing {
        /// The name of the environment variable.
        setting: &'static str,
        /// What for.
        needed: &'static str,
    },
}

impl SettingProblem {
    pub(super) fn invalid(setting: &str, value: impl Display, allowed: impl Into<String>) -> Self {
        Self::Invalid { setting: setting.to_owned(), value: value.to_string(), allowed: allowed.into() }
    }
}

/// Every setting is a flag and an environment variable whose names follow from one another.
pub(super) fn flag_of(variable: &str) -> String {
    variable.trim_start_matches("HOOKSENTRY_").to_ascii_lowercase().replace('_', "-")
}
