//! The JSON of a mapping as somebody wrote it, before it is known to be one.
//!
//! serde_json's own tree cannot serve: it sorts the keys, and their order is part of a mapping.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::collections::HashMap;
use std::fmt;

/// The entries, in the order given. Where a key is repeated, its first appearance has the last value.
pub(super) struct GivenMapping(pub(super) Vec<(String, GivenValue)>);

/// What stands after a key.
pub(super) enum GivenValue {
    Text(String),
    List(Vec<GivenValue>),
    /// Only its kind matters: it will be refused.
    Other(JsonKind),
}

/// The kinds of JSON values that are no expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// Any number.
    Number,
    /// `[...]`
    Array,
    /// `{...}`
    Object,
}

impl fmt::Display for JsonKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

impl Serialize for GivenMapping {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

impl Serialize for GivenValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => serializer.collect_seq(list),
            Self::Other(_) => serializer.serialize_unit(),
        }
    }
}

impl<'de> Deserialize<'de> for GivenMapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MappingVisitor)
    }
}

impl<'de> Deserialize<'de> for GivenValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct MappingVisitor;

impl<'de> Visitor<'de> for MappingVisitor {
    type Value = GivenMapping;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object of expressions")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GivenMapping, A::Error> {
        let mut entries: Vec<(String, GivenValue)> = Vec::new();
        let mut places = HashMap::new();
        while let Some((key, value)) = map.next_entry::<String, GivenValue>()? {
            match places.get(&key) {
                Some(place) => {
                    let (_, earlier): &mut (String, GivenValue) = &mut entries[*place];
                    *earlier = value;
                }
                None => {
                    places.insert(key.clone(), entries.len());
                    entries.push((key, value));
                }
            }
        }
        Ok(GivenMapping(entries))
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = GivenValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<GivenValue, E> {
        Ok(GivenValue::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<GivenValue, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(GivenValue::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<GivenValue, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(GivenValue::Other(JsonKind::Object))
    }

    fn visit_unit<E>(self) -> Result<GivenValue, E> {
        Ok(GivenValue::Other(JsonKind::Null))
    }

    fn visit_bool<E>(self, _: bool) -> Result<GivenValue, E> {
        Ok(GivenValue::Other(JsonKind::Boolean))
    }

    fn visit_i64<E>(self, _: i64) -> Result<GivenValue, E> {
        Ok(GivenValue::Other(JsonKind::Number))
    }

    fn visit_u64<E>(self, _: u64) -> Result<GivenValue, E> {
        Ok(GivenValue::Other(JsonKind::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<GivenValue, E> {
        Ok(GivenValue::Other(JsonKind::Number))
    }
}
