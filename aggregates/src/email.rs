//! Email addresses in normalised form.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Maximum length of an email address, in characters.
pub const EMAIL_CHARS_MAX: usize = 255;

/// Email address in the form in which it is stored and compared: trimmed, in lower case, with text around an `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Email(String);

/// Reason why a text is not an email address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EmailProblem {
    #[error("must not be blank")]
    Blank,
    #[error("must be at most {EMAIL_CHARS_MAX} characters")]
    TooLong,
    #[error("must be an email address such as name@example.com")]
    Malformed,
    #[error("must not contain control characters")]
    ControlCharacter,
}

impl Email {
    /// Normalises and checks an email address that a user entered.
    ///
    /// # Errors
    ///
    /// The first rule that the text breaks.
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
