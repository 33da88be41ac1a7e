//! Errors in settings, worded for the operator.

use std::fmt::Display;

use thiserror::Error;

/// Reason why a setting is refused. It never contains the value of a secret.
///
/// `setting` is the name of the environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SettingProblem {
    #[error("{setting} (--{}) is \"{value}\": {allowed}", flag_of(.setting))]
    Invalid { setting: String, value: String, allowed: String },
    #[error("{setting} (--{}): {allowed}", flag_of(.setting))]
    InvalidSecret { setting: String, allowed: String },
    #[error("{setting} (--{}) is not set: {reason}", flag_of(.setting))]
    Missing { setting: &'static str, reason: &'static str },
}

impl SettingProblem {
    pub(super) fn invalid(setting: &str, value: impl Display, allowed: impl Into<String>) -> Self {
        Self::Invalid { setting: setting.to_owned(), value: value.to_string(), allowed: allowed.into() }
    }
}

/// Returns the flag of a setting: its name follows from that of the environment variable.
pub(super) fn flag_of(variable: &str) -> String {
    variable.trim_start_matches("HOOKSENTRY_").to_ascii_lowercase().replace('_', "-")
}
