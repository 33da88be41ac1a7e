//! Short texts that people give to things: names and labels.

use thiserror::Error;

/// Longest tenant name or sender label, in characters.
pub const NAME_CHARS_MAX: usize = 255;
/// Longest API key name, in characters.
pub const API_KEY_NAME_CHARS_MAX: usize = 100;
/// Longest idempotency key, in characters.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

/// Why a text was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextProblem {
    /// Nothing but blanks.
    #[error("must not be blank")]
    Blank,
    /// Longer than allowed.
    #[error("must be at most {0} characters")]
    TooLong(usize),
    /// Holds a line break, NUL or another control character.
    #[error("must not contain control characters")]
    ControlCharacter,
}

/// A text of 1 to `chars_max` characters, trimmed, without control characters.
pub fn name(text: &str, chars_max: usize) -> Result<String, TextProblem> {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(TextProblem::Blank);
    }
    label(trimmed, chars_max)
}

/// A text of at most `chars_max` characters, as given, without control characters; it may be empty.
pub fn label(text: &str, chars_max: usize) -> Result<String, TextProblem> {
    if text.chars().any(char::is_control) {
        return Err(TextProblem::ControlCharacter);
    }
    if text.chars().count() > chars_max {
        return Err(TextProblem::TooLong(chars_max));
    }
    Ok(text.to_owned())
}
