//! What may come in: one JSON object, in UTF-8, nested no deeper than [`NESTING_MAX`].
//!
//! The check runs on every webhook event before it is accepted, so it builds nothing: it reads the text to
//! its end and remembers only the brackets that are still open. The bytes themselves are kept as received.
//! Numbers may have any size and names may repeat, because JSON allows both and nobody here has to
//! understand them.

use serde::de::IgnoredAny;
use std::fmt;

/// How many objects and arrays may lie within each other, the outermost included.
///
/// Deeper payloads are refused because common JSON readers refuse them too, or overflow their stack.
pub const NESTING_MAX: usize = 128;

/// Why bytes are not accepted as a payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadProblem {
    /// Nothing, or nothing but blanks.
    #[error("a JSON object is expected, and this is empty")]
    Empty,
    /// The first character cannot open an object.
    #[error("a JSON object is expected, which starts with '{{', but {position} holds {found:?}")]
    NotAnObject {
        /// Where the first character that is not blank stands.
        position: Position,
        found: char,
    },
    /// The bytes are not text.
    #[error("the text is not valid UTF-8 at {position}")]
    NotUtf8 {
        /// The first byte that does not belong.
        position: Position,
    },
    /// A rule of JSON is broken.
    #[error("the text is not valid JSON at {position}: {rule}")]
    NotJson {
        /// Where reading came to its end.
        position: Position,
        /// The rule that is broken.
        rule: String,
    },
    /// More than [`NESTING_MAX`] objects and arrays lie within each other.
    #[error("objects and arrays are nested more than {NESTING_MAX} levels deep at {position}")]
    TooDeep {
        /// The bracket that opens one level too many.
        position: Position,
    },
}

/// A place in a text, both numbers counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    /// The byte within the line.
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

/// Says whether the bytes are a payload that can be accepted.
pub fn check_payload(bytes: &[u8]) -> Result<(), PayloadProblem> {
    json_object(bytes).map(|_| ())
}

/// The bytes as text, once they are known to be one JSON object.
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
    match one_level_too_many(bytes) {
        None => Ok(text),
        Some(offset) => Err(PayloadProblem::TooDeep { position: Position::of(bytes, offset) }),
    }
}

/// A syntax error of serde_json in the terms of this module.
pub(crate) fn not_json(error: &serde_json::Error) -> PayloadProblem {
    // serde_json calls the start of a line column 0 when the text ends there.
    let position = Position { line: error.line(), column: error.column().max(1) };
    let rule = if error.is_eof() {
        "it ends before the object is complete".to_owned()
    } else {
        let message = error.to_string();
        // serde_json repeats the position at the end of its message.
        message.rsplit_once(" at line ").map_or(message.as_str(), |(rule, _)| rule).to_owned()
    };
    PayloadProblem::NotJson { position, rule }
}

/// The offset of the first bracket beyond the limit, in text that is known to be JSON.
///
/// serde_json does not limit the nesting of what it ignores, so this is a pass of its own. Most payloads
/// hold fewer brackets than the limit, and counting them is far quicker than telling them from text.
fn one_level_too_many(json: &[u8]) -> Option<usize> {
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

/// How many bytes the string takes that starts here, both quotes included.
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
