//! The mapping language: a JSON object that says how to build what is delivered from what was received.
//!
//! ```json
//! { "eventId": "id", "user": "user:name", "first": "items[0]:sku", "total": "price+tax", "tags": ["ref", "kind"] }
//! ```
//!
//! Each key of the mapping becomes a key of the result, in the same order. Its value is an expression, or an
//! array of expressions that becomes an array. An expression is a path into the payload (`:` enters an
//! object, `[n]` an array), or several joined with `+`. There are no literals, functions or conditions.
//!
//! What a path leads to is copied whole, be it a number, an object or an array, and numbers keep their text.
//! `+` adds numbers from left to right until a string appears; from there on the text of everything is
//! joined. Where the payload has nothing, or `null`, or where `+` meets anything but numbers and strings, the
//! expression is missing: its key is left out of the result, or it is `null` in an array.
//!
//! A mapping is checked when it is saved, so evaluating it cannot meet a broken expression. It can still fail
//! on a payload (see [`MappingFailure`]); that is for the caller to record, who delivers the payload as it
//! came. Whoever sends payloads is not whoever wrote the mapping, and neither may hold the service up: work
//! and memory grow with the payload's size and end at a limit.

mod compact;
mod document;
mod evaluate;
mod expression;
mod given;
mod paths;
mod problem;

pub use evaluate::{Applied, MappingFailure};
pub use expression::{ExpressionProblem, ExpressionRule};
pub use given::JsonKind;
pub use problem::{Location, MappingProblem};

use crate::payload;
use document::Found;
use expression::Expression;
use given::{GivenMapping, GivenValue};
use paths::{Paths, PathsBuilder, Place};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// How long the text of a mapping may be.
pub const TEXT_BYTES_MAX: usize = 64 * 1024;

/// How many keys a mapping may have.
pub const KEYS_MAX: usize = 500;

/// How much a mapping may copy out of a payload, beyond as much as the payload holds. Without a limit, a
/// mapping that names one large value often enough turns a small request into gigabytes.
pub const COPIED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A mapping that was checked and is ready to be applied.
///
/// As JSON it is the mapping object itself, keys in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    json: String,
    entries: Vec<Entry>,
    paths: Paths,
}

/// One key of the mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    /// The key as JSON.
    quoted_key: String,
    shape: Shape,
}

/// Expressions as the places whose values they combine.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shape {
    One(Vec<Place>),
    Many(Vec<Vec<Place>>),
}

impl Mapping {
    /// Reads and checks a mapping.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, MappingProblem> {
        let bytes = text.as_ref();
        if bytes.len() > TEXT_BYTES_MAX {
            return Err(MappingProblem::TooLong { bytes: bytes.len() });
        }
        let text = payload::json_object(bytes)?;
        let given = serde_json::from_str(text).map_err(|error| payload::not_json(&error))?;
        Self::check(given)
    }

    /// The mapping as compact JSON, keys in the order given.
    pub fn as_json(&self) -> &str {
        &self.json
    }

    /// Builds the mapped object out of a payload.
    pub fn apply(&self, payload: &[u8]) -> Result<Applied, MappingFailure> {
        let payload = payload::json_object(payload)?;
        let found = Found::read(payload, &self.paths);
        evaluate::evaluate(&self.entries, &found, COPIED_BYTES_MAX.saturating_add(payload.len()))
    }

    fn check(given: GivenMapping) -> Result<Self, MappingProblem> {
        let keys = given.0.len();
        if keys > KEYS_MAX {
            return Err(MappingProblem::TooManyKeys { keys });
        }
        let json = json_of(&given);
        if json.len() > TEXT_BYTES_MAX {
            return Err(MappingProblem::TooLong { bytes: json.len() });
        }
        let mut paths = PathsBuilder::new();
        let mut entries = Vec::with_capacity(keys);
        for (key, value) in given.0 {
            let shape = Checker { key: &key, paths: &mut paths }.shape(&value)?;
            entries.push(Entry { quoted_key: json_of(&key), key, shape });
        }
        Ok(Self { json, entries, paths: paths.build() })
    }
}

/// Checks what stands after one key.
struct Checker<'a> {
    key: &'a str,
    paths: &'a mut PathsBuilder,
}

impl Checker<'_> {
    fn shape(&mut self, value: &GivenValue) -> Result<Shape, MappingProblem> {
        match value {
            GivenValue::Text(text) => Ok(Shape::One(self.expression(text, None)?)),
            GivenValue::List(list) => {
                let expressions = list.iter().enumerate().map(|(index, value)| self.element(index, value));
                Ok(Shape::Many(expressions.collect::<Result<_, _>>()?))
            }
            GivenValue::Other(found) => {
                Err(MappingProblem::NotAnExpression { at: self.at(None), found: *found })
            }
        }
    }

    fn element(&mut self, index: usize, value: &GivenValue) -> Result<Vec<Place>, MappingProblem> {
        let found = match value {
            GivenValue::Text(text) => return self.expression(text, Some(index)),
            GivenValue::List(_) => JsonKind::Array,
            GivenValue::Other(found) => *found,
        };
        Err(MappingProblem::ElementIsNotAnExpression { at: self.at(Some(index)), found })
    }

    fn expression(&mut self, text: &str, element: Option<usize>) -> Result<Vec<Place>, MappingProblem> {
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

impl Serialize for Mapping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_json::from_str::<&RawValue>(&self.json).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Mapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::check(GivenMapping::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A mapping as facts keep it: its JSON as text.
///
/// Facts pass through JSON trees that sort the keys of objects, and the order of a mapping's keys is part of
/// its meaning; text comes through unchanged. Reading it back checks it again, as rules may have changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredMapping(String);

impl StoredMapping {
    /// The mapping's JSON.
    pub fn as_json(&self) -> &str {
        &self.0
    }

    /// The mapping, ready to be applied.
    pub fn to_mapping(&self) -> Result<Mapping, MappingProblem> {
        Mapping::parse(&self.0)
    }
}

impl From<&Mapping> for StoredMapping {
    fn from(mapping: &Mapping) -> Self {
        Self(mapping.json.clone())
    }
}
