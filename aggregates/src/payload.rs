//! Rules for payloads: one JSON object in UTF-8, nested no deeper than [`NESTING_MAX`].
//!
//! Every webhook event is checked before it is accepted. The check therefore builds no tree: it reads the text once
//! and keeps only the nesting depth. The bytes are stored as received. Numbers may have any size and names may be
//! repeated, because JSON allows both and the service does not interpret them.

use serde::de::IgnoredAny;
use std::fmt;

/// Maximum depth of nested objects and arrays, including the outermost object.
///
/// Deeper payloads are refused because common JSON parsers refuse them too, or overflow their stack.
pub const NESTING_MAX: usize = 128;

/// Reason why bytes are not accepted as a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadProblem {
    /// No byte, or white space only.
    #[error("expected a JSON object, but the text is empty")]
    Empty,
    #[error("expected a JSON object, but found {found:?} at {position}")]
    NotAnObject {
        /// Position of the first character that is not white space.
        position: Position,
        found: char,
    },
    #[error("invalid UTF-8 at {position}")]
    NotUtf8 {
        /// Position of the first invalid byte.
        position: Position,
    },
    #[error("invalid JSON at {position}: {rule}")]
    NotJson {
        /// Position of the character at which parsing failed.
        position: Position,
        rule: String,
    },
    #[error("more than {NESTING_MAX} levels of nested objects and arrays at {position}")]
    TooDeep {
        /// Position of the bracket that opens the first level beyond the limit.
        position: Position,
    },
}

/// Position in a text. Both numbers count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    /// Byte within the line.
    pub column: usize,
}

impl Position {
    fn of(bytes: &[u8], offset: usize) -> Self {
        let before = &bytes[..offset];
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Self { line, column: offset - line_start + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Checks that the bytes can be accepted as a payload.
///
/// # Errors
///
/// The first rule that the bytes break.
pub fn check_payload(bytes: &[u8]) -> Result<(), PayloadProblem> {
    json_object(bytes).map(|_| ())
}

/// Checks the bytes as [`check_payload`] does and returns them as text.
pub(crate) fn json_object(bytes: &[u8]) -> Result<&str, PayloadProblem> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| PayloadProblem::NotUtf8 { position: Position::of(bytes, error.valid_up_to()) })?;
    let body = text.trim_start_matches([' ', '\t', '\n', '\r']);
    match body.chars().next() {
        None => return Err(PayloadProblem::Empty),
        Some('{') => {}
        Some(found) => {
            let position = Position::of(bytes, text.len() - body.len());
            return Err(PayloadProblem::NotAnObject { position, found });
        }
    }
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| not_json(&error))?;
    match first_bracket_beyond_limit(bytes) {
        None => Ok(text),
        Some(offset) => Err(PayloadProblem::TooDeep { position: Position::of(bytes, offset) }),
    }
}

/// Converts a syntax error of serde_json.
pub(crate) fn not_json(error: &serde_json::Error) -> PayloadProblem {
    // If the text ends at the start of a line, serde_json reports column 0.
    let position = Position { line: error.line(), column: error.column().max(1) };
    let rule = if error.is_eof() {
        "the text ends before the object is complete".to_owned()
    } else {
        let message = error.to_string();
        // serde_json repeats the position at the end of its message.
        message.rsplit_once(" at line ").map_or(message.as_str(), |(rule, _)| rule).to_owned()
    };
    PayloadProblem::NotJson { position, rule }
}

/// Returns the offset of the first bracket beyond the nesting limit, in text that is known to be JSON.
///
/// This is a separate pass because serde_json does not limit the nesting of ignored values. Most payloads have fewer
/// brackets than the limit, and counting brackets is far faster than distinguishing them from text in strings.
fn first_bracket_beyond_limit(json: &[u8]) -> Option<usize> {
    if json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count() <= NESTING_MAX {
        return None;
    }
    let (mut depth, mut offset) = (0_usize, 0);
    while let Some(byte) = json.get(offset) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > NESTING_MAX {
                    return Some(offset);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => offset += string_length(&json[offset..]) - 1,
            _ => {}
        }
        offset += 1;
    }
    None
}

/// Returns the length in bytes of the JSON string that starts here, including both quotes.
pub(crate) fn string_length(json: &[u8]) -> usize {
    let mut length = 1;
    while let Some(byte) = json.get(length) {
        match byte {
            b'"' => return length + 1,
            b'\\' => length += 2,
            _ => length += 1,
        }
    }
    json.len()
}
