//! Reasons why a text is not a mapping, worded for the author of the mapping.

use super::expression::ExpressionProblem;
use super::{KEYS_MAX, TEXT_BYTES_MAX};
use crate::payload::PayloadProblem;
use serde_json::Value;
use std::fmt;

/// Reason why a mapping is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingProblem {
    /// Longer than [`TEXT_BYTES_MAX`].
    #[error("a mapping must not be longer than {TEXT_BYTES_MAX} bytes, and this one has {bytes}")]
    TooLong { bytes: usize },
    #[error(transparent)]
    NotAnObject(#[from] PayloadProblem),
    /// More keys than [`KEYS_MAX`].
    #[error("a mapping must not have more than {KEYS_MAX} keys, and this one has {keys}")]
    TooManyKeys {
        /// Number of keys; repeated ones count once.
        keys: usize,
    },
    #[error("{at} must be an expression (text) or an array of expressions, but it is {found}")]
    NotAnExpression { at: Location, found: JsonKind },
    #[error("{at} must be an expression (text), but it is {found}")]
    ElementIsNotAnExpression { at: Location, found: JsonKind },
    #[error("{at} is {}, which cannot be parsed at {problem}", shortened(.expression))]
    Expression { at: Location, expression: String, problem: ExpressionProblem },
}

impl MappingProblem {
    /// Returns the key of the mapping that has the problem; `None` if the mapping as a whole has it.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::TooLong { .. } | Self::NotAnObject(_) | Self::TooManyKeys { .. } => None,
            Self::NotAnExpression { at, .. }
            | Self::ElementIsNotAnExpression { at, .. }
            | Self::Expression { at, .. } => Some(&at.key),
        }
    }
}

/// Kind of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

impl From<&Value> for JsonKind {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Boolean,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }
}

impl fmt::Display for JsonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Text => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

/// Position of a value in a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub key: String,
    /// Element of an array of expressions, the first one is 0; `None` for the value of the key itself.
    pub element: Option<usize>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(element) = self.element {
            write!(f, "element {element} of ")?;
        }
        write!(f, "the value of key {}", shortened(&self.key))
    }
}

/// Returns a text in quotes, cut to 60 characters.
pub(super) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
        None => format!("{text:?}"),
    }
}
