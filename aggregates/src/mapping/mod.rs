//! The mapping language: a JSON object that describes how to build the delivered object from the received payload.
//!
//! ```json
//! { "eventId": "id", "user": "user:name", "first": "items[0]:sku", "total": "price+tax", "tags": ["ref", "kind"] }
//! ```
//!
//! Each key of the mapping becomes a key of the result, in the same order. Its value is an expression, or an
//! array of expressions that becomes an array. An expression is a path into the payload (`:` selects a property of
//! an object, `[n]` an element of an array), or several paths joined with `+`. There are no literals, functions or
//! conditions.
//!
//! The value at a path is copied whole, be it a number, an object or an array, and numbers keep their text. `+`
//! adds numbers from left to right up to the first string; from there on the text of all operands is joined. An
//! expression has no value if the payload has no value at a path, or `null`, or if an operand of `+` is neither a
//! number nor a string. Its key is then left out of the result; in an array it becomes `null`.
//!
//! A mapping is checked when it is saved, so every stored expression can be parsed. Applying it to a payload can
//! still fail (see [`MappingFailure`]); the caller records that and delivers the payload unchanged. Neither the
//! author of a mapping nor the sender of a payload is trusted with the service's time: work and memory are
//! proportional to the size of the payload and bounded by a limit.

mod compact;
mod document;
mod evaluate;
mod expression;
mod paths;
mod payload_path;
mod problem;

pub use evaluate::{Applied, MappingFailure};
pub use expression::{ExpressionProblem, ExpressionRule};
pub use payload_path::PayloadPath;
pub use problem::{JsonKind, Location, MappingProblem};

use crate::payload;
use document::Found;
use expression::Expression;
use indexmap::IndexMap;
use paths::{NodeId, PathTree, PathTreeBuilder};
use serde::Serialize;
use serde_json::Value;

/// Maximum length of the text of a mapping, in bytes.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of keys of a mapping.
pub const KEYS_MAX: usize = 500;

/// Maximum number of bytes that a mapping may copy out of a payload, in addition to the size of the payload. Without
/// a limit, a mapping that refers to one large value many times turns a small request into gigabytes.
pub const COPIED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Checked mapping, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    json: String,
    entries: Vec<Entry>,
    paths: PathTree,
}

/// Key of a mapping and its expressions.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    /// The key as JSON.
    quoted_key: String,
    shape: Shape,
}

/// Expressions after a key: each is the nodes of the path tree whose values it combines.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    One(Vec<NodeId>),
    Many(Vec<Vec<NodeId>>),
}

impl Mapping {
    /// Parses and checks the JSON text of a mapping.
    ///
    /// # Errors
    ///
    /// If the text is not a JSON object of valid expressions, or exceeds [`TEXT_BYTES_MAX`] or [`KEYS_MAX`].
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, MappingProblem> {
        let bytes = text.as_ref();
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(MappingProblem::TooLong { bytes: bytes.len() });
        }
        let text = payload::json_object(bytes)?;
        // Where a key is repeated, its first position and its last value count. serde_json's own map would sort the
        // keys, whose order is part of a mapping.
        let entries: IndexMap<String, Value> =
            serde_json::from_str(text).map_err(|error| payload::not_json(&error))?;
        Self::check(entries)
    }

    /// Returns the mapping as compact JSON, its keys in the original order.
    pub fn as_json(&self) -> &str {
        &self.json
    }

    /// Builds the mapped object from a payload.
    ///
    /// # Errors
    ///
    /// If the payload is not a JSON object, a sum is too large, or the mapping copies too much.
    pub fn apply(&self, payload: &[u8]) -> Result<Applied, MappingFailure> {
        let payload = payload::json_object(payload)?;
        let found = Found::read(payload, &self.paths);
        evaluate::evaluate(&self.entries, &found, COPIED_BYTES_MAX.saturating_add(payload.len()))
    }

    fn check(given: IndexMap<String, Value>) -> Result<Self, MappingProblem> {
        let keys = given.len();
        if keys > KEYS_MAX {
            return Err(MappingProblem::TooManyKeys { keys });
        }
        let json = json_of(&given);
        if json.len() > TEXT_BYTES_MAX {
            return Err(MappingProblem::TooLong { bytes: json.len() });
        }
        let mut paths = PathTreeBuilder::new();
        let mut entries = Vec::with_capacity(keys);
        for (key, value) in given {
            let shape = Checker { key: &key, paths: &mut paths }.shape(&value)?;
            entries.push(Entry { quoted_key: json_of(&key), key, shape });
        }
        Ok(Self { json, entries, paths: paths.build() })
    }
}

/// Check of the value after one key.
struct Checker<'a> {
    key: &'a str,
    paths: &'a mut PathTreeBuilder,
}

impl Checker<'_> {
    fn shape(&mut self, value: &Value) -> Result<Shape, MappingProblem> {
        match value {
            Value::String(text) => Ok(Shape::One(self.expression(text, None)?)),
            Value::Array(list) => {
                let expressions = list.iter().enumerate().map(|(index, value)| self.element(index, value));
                Ok(Shape::Many(expressions.collect::<Result<_, _>>()?))
            }
            other => Err(MappingProblem::NotAnExpression { at: self.at(None), found: other.into() }),
        }
    }

    fn element(&mut self, index: usize, value: &Value) -> Result<Vec<NodeId>, MappingProblem> {
        match value {
            Value::String(text) => self.expression(text, Some(index)),
            other => {
                let at = self.at(Some(index));
                Err(MappingProblem::ElementIsNotAnExpression { at, found: other.into() })
            }
        }
    }

    fn expression(&mut self, text: &str, element: Option<usize>) -> Result<Vec<NodeId>, MappingProblem> {
        let Expression { operands } = Expression::parse(text).map_err(|problem| {
            MappingProblem::Expression { at: self.at(element), expression: text.to_owned(), problem }
        })?;
        Ok(operands.into_iter().map(|path| self.paths.add(path)).collect())
    }

    fn at(&self, element: Option<usize>) -> Location {
        Location { key: self.key.to_owned(), element }
    }
}

fn json_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, lists and objects with string keys can always be written")
}
