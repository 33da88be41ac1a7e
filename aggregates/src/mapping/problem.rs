//! Why a text is not a mapping, in words for whoever wrote it.

use super::expression::ExpressionProblem;
use super::given::JsonKind;
use super::{KEYS_MAX, TEXT_BYTES_MAX};
use crate::payload::PayloadProblem;
use std::fmt;

/// Why a mapping is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingProblem {
    /// Longer than [`TEXT_BYTES_MAX`].
    #[error("a mapping takes at most {TEXT_BYTES_MAX} bytes, and this one takes {bytes}")]
    TooLong { bytes: usize },
    /// Not a JSON object at all.
    #[error(transparent)]
    NotAnObject(#[from] PayloadProblem),
    /// More keys than [`KEYS_MAX`].
    #[error("a mapping has at most {KEYS_MAX} keys, and this one has {keys}")]
    TooManyKeys {
        /// How many it has, repeated ones counted once.
        keys: usize,
    },
    /// The value of a key is of the wrong kind.
    #[error("{at} must be an expression (text) or an array of expressions, but it is {found}")]
    NotAnExpression {
        at: Location,
        /// What it is instead.
        found: JsonKind,
    },
    /// The element of an array is of the wrong kind.
    #[error("{at} must be an expression (text), but it is {found}")]
    ElementIsNotAnExpression {
        at: Location,
        /// What it is instead.
        found: JsonKind,
    },
    /// An expression that cannot be read.
    #[error("{at} is {}, which cannot be read at {problem}", shortened(.expression))]
    Expression {
        /// Where the expression stands.
        at: Location,
        expression: String,
        /// What is wrong with it.
        problem: ExpressionProblem,
    },
}

impl MappingProblem {
    /// The key of the mapping that the problem is about.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::TooLong { .. } | Self::NotAnObject(_) | Self::TooManyKeys { .. } => None,
            Self::NotAnExpression { at, .. }
            | Self::ElementIsNotAnExpression { at, .. }
            | Self::Expression { at, .. } => Some(&at.key),
        }
    }
}

/// Which value of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    pub key: String,
    /// The element, if an array of expressions stands there; the first one is 0.
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

/// A text in quotes, cut where it would drown the sentence around it.
pub(super) fn shortened(text: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((cut, _)) => format!("{:?}...", &text[..cut]),
        None => format!("{text:?}"),
    }
}
