//! What a search requires of payloads.

use crate::mapping::{ExpressionProblem, PayloadPath};

/// Conditions on the text of a payload, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadSearch {
    /// Text that the payload contains exactly as it was sent, in the same case.
    pub contains: Option<String>,
    /// A value that the payload has.
    pub value: Option<ValueCondition>,
}

/// Condition on the value at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueCondition {
    path: PayloadPath,
    /// Text of a string, or JSON of any other value. `None`: any value.
    equals: Option<String>,
}

impl PayloadSearch {
    /// Returns whether it requires nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.contains.is_none() && self.value.is_none()
    }

    /// Returns whether a payload fulfils all conditions.
    #[must_use]
    pub fn accepts(&self, payload: &str) -> bool {
        self.contains.as_ref().is_none_or(|text| payload.contains(text))
            && self.value.as_ref().is_none_or(|condition| condition.accepts(payload))
    }
}

impl ValueCondition {
    /// Parses the path, which is written as in mappings: `user:name`, `items[0]:sku`.
    ///
    /// # Errors
    /// If it is not one path.
    pub fn parse(path: &str, equals: Option<String>) -> Result<Self, ExpressionProblem> {
        Ok(Self { path: PayloadPath::parse(path)?, equals })
    }

    fn accepts(&self, payload: &str) -> bool {
        let Some(value) = self.path.value(payload) else { return false };
        let Some(wanted) = &self.equals else { return true };
        if value.starts_with('"') {
            return serde_json::from_str::<String>(value).is_ok_and(|text| text == *wanted);
        }
        value == wanted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYLOAD: &str = r#"{"user":{"name":"Zo\u00eb","age":41},"tags":["new",null],"paid":true}"#;

    fn has(path: &str, equals: Option<&str>) -> bool {
        let value = ValueCondition::parse(path, equals.map(str::to_owned)).unwrap();
        PayloadSearch { contains: None, value: Some(value) }.accepts(PAYLOAD)
    }

    #[test]
    fn a_value_is_found_at_its_path() {
        assert!(has("user:name", Some("Zoë")), "escapes do not matter");
        assert!(has("user:age", Some("41")));
        assert!(has("paid", Some("true")));
        assert!(has("tags[0]", Some("new")));
        assert!(has("tags[1]", Some("null")));
        assert!(has("tags[1]", None), "null is a value");
        assert!(has("user", None));
        for (path, equals) in [
            ("user:name", Some("Zo")),
            ("user:age", Some("4")),
            ("user:name:x", None),
            ("tags[2]", None),
            ("Paid", None),
            ("paid", Some("\"true\"")),
        ] {
            assert!(!has(path, equals), "{path} {equals:?}");
        }
    }

    #[test]
    fn text_is_found_as_it_was_sent() {
        let contains = |text: &str| PayloadSearch { contains: Some(text.to_owned()), value: None };
        assert!(contains(r#""tags":["new""#).accepts(PAYLOAD));
        assert!(!contains("NEW").accepts(PAYLOAD));
        assert!(!contains("Zoë").accepts(PAYLOAD), "the sender escaped it");
    }

    #[test]
    fn all_conditions_must_hold() {
        let value = Some(ValueCondition::parse("paid", Some("true".to_owned())).unwrap());
        let search = |text: &str| PayloadSearch { contains: Some(text.to_owned()), value: value.clone() };
        assert!(search("new").accepts(PAYLOAD));
        assert!(!search("old").accepts(PAYLOAD));
        assert!(PayloadSearch::default().is_empty() && PayloadSearch::default().accepts(PAYLOAD));
    }

    #[test]
    fn a_sum_is_not_a_path() {
        assert!(ValueCondition::parse("price+tax", None).is_err());
        assert!(ValueCondition::parse("tags[x]", None).is_err());
    }

    proptest! {
        #[test]
        fn foreign_bytes_as_a_path_and_a_payload(path in ".{0,40}", payload in r#"[{}\[\]":,\\a0 é]{0,40}"#) {
            if let Ok(value) = ValueCondition::parse(&path, Some("a".to_owned())) {
                let _is_match = PayloadSearch { contains: None, value: Some(value) }.accepts(&payload);
            }
        }
    }
}
