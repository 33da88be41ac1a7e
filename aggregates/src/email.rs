//! Email addresses, in the one form in which they are stored and compared.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest email, in characters.
pub const EMAIL_CHARS_MAX: usize = 255;

/// An email address: trimmed, lower case, holding an `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

/// Why a text is not an email address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EmailProblem {
    /// Nothing but blanks.
    #[error("must not be blank")]
    Blank,
    /// Longer than [`EMAIL_CHARS_MAX`].
    #[error("must be at most {EMAIL_CHARS_MAX} characters")]
    TooLong,
    /// No `@`, or nothing before or after it.
    #[error("must be an email address such as name@example.com")]
    Malformed,
    /// Holds a line break, NUL or another control character.
    #[error("must not contain control characters")]
    ControlCharacter,
}

impl Email {
    /// Reads an email as a person types it.
    pub fn parse(text: &str) -> Result<Self, EmailProblem> {
        let email = text.trim().to_lowercase();
        if email.is_empty() {
            return Err(EmailProblem::Blank);
        }
        if email.chars().any(char::is_control) {
            return Err(EmailProblem::ControlCharacter);
        }
        if email.chars().count() > EMAIL_CHARS_MAX {
            return Err(EmailProblem::TooLong);
        }
        match email.split_once('@') {
            Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(Self(email)),
            _ => Err(EmailProblem::Malformed),
        }
    }

    /// The email as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
