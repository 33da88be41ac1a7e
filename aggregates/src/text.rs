//! Names and labels that users choose.

use thiserror::Error;

/// Maximum length of a tenant name or sender label, in characters.
pub const NAME_CHARS_MAX: usize = 255;
/// Maximum length of the name of an API key, in characters.
pub const API_KEY_NAME_CHARS_MAX: usize = 100;
/// Maximum length of an idempotency key, in characters.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

/// Maximum length of the reason for suspending a tenant, in characters.
pub const SUSPENSION_REASON_CHARS_MAX: usize = 500;

/// Maximum length of the reason for an erasure or a legal hold, in characters.
pub const ERASURE_REASON_CHARS_MAX: usize = 500;

/// Reason why a text is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextProblem {
    #[error("must not be blank")]
    Blank,
    #[error("must be at most {0} characters")]
    TooLong(usize),
    #[error("must not contain control characters")]
    ControlCharacter,
}

/// Trims and checks a name: 1 to `chars_max` characters, without control characters.
///
/// # Errors
///
/// The first rule that the text breaks.
pub fn name(text: &str, chars_max: usize) -> Result<String, TextProblem> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(TextProblem::Blank);
    }
    label(trimmed, chars_max)
}

/// Checks a label: at most `chars_max` characters, without control characters. It may be empty and is not trimmed.
///
/// # Errors
///
/// The first rule that the text breaks.
pub fn label(text: &str, chars_max: usize) -> Result<String, TextProblem> {
    if text.chars().any(char::is_control) {
        return Err(TextProblem::ControlCharacter);
    }
    if text.chars().count() > chars_max {
        return Err(TextProblem::TooLong(chars_max));
    }
    Ok(text.to_owned())
}
