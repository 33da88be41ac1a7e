//! Properties of every mapping and every payload.

use aggregates::mapping::{Mapping, MappingFailure};
use aggregates::payload::check_payload;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

/// Names that payloads and expressions share, so that paths often have a value.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[abc]", 1 => "[a-c\\] é\"\\\\]{0,3}"]
}

fn number() -> impl Strategy<Value = String> {
    "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?"
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t")]
}

fn text() -> impl Strategy<Value = String> {
    let plain = any::<String>().prop_map(|text| Value::String(text).to_string());
    let escaped = "\"(\\\\u[0-9a-fA-F]{4}|\\\\[/\"nt\\\\]|[ a]){0,4}\"";
    prop_oneof![plain, escaped]
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        number(),
        text(),
        prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let array = (vec(inner.clone(), 0..4), blank())
            .prop_map(|(elements, blank)| format!("[{blank}{}]", elements.join(&format!("{blank},"))));
        prop_oneof![array, object(inner)]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    vec((name(), value, blank()), 0..5).prop_map(|entries| {
        let entries = entries.into_iter().map(|(name, value, blank)| {
            format!("{blank}{}{blank}:{blank}{value}{blank}", Value::String(name))
        });
        format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
    })
}

fn path() -> impl Strategy<Value = String> {
    let segment = (name(), vec(0_u8..3, 0..2)).prop_map(|(name, indexes)| {
        indexes.into_iter().fold(name, |segment, index| format!("{segment}[{index}]"))
    });
    vec(segment, 1..4).prop_map(|segments| segments.join(":"))
}

fn expression() -> impl Strategy<Value = String> {
    vec(path(), 1..4).prop_map(|operands| operands.join(" + "))
}

fn mapping_json() -> impl Strategy<Value = String> {
    let one = expression().prop_map(|text| Value::String(text).to_string());
    let many =
        vec(expression(), 0..4).prop_map(|texts| serde_json::to_string(&texts).expect("texts are JSON"));
    object(prop_oneof![one, many])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_result_is_an_object_with_the_keys_of_the_mapping(mapping in mapping_json(), payload in object(json())) {
        let mapping = Mapping::parse(&mapping).expect("the strategy makes mappings");
        check_payload(payload.as_bytes()).expect("the strategy makes payloads");
        match mapping.apply(payload.as_bytes()) {
            Ok(applied) => {
                prop_assert_eq!(check_payload(&applied.bytes), Ok(()));
                let mut expected = keys_of(mapping.as_json());
                expected.retain(|key| !applied.missing.contains(key));
                prop_assert_eq!(keys(&applied.bytes), expected);
            }
            // Exponents have up to three digits, so a sum may exceed the largest float.
            Err(failure) => prop_assert!(matches!(&failure, MappingFailure::SumTooLarge { .. }), "{}", failure),
        }
    }

    /// Neither mappings nor payloads are trusted: none may cause a panic.
    #[test]
    fn nothing_panics(mapping in r#"\{"k":"[a+:\[\]0 "\\é]{0,12}"\}"#, payload in r#"[{}\[\]"a:,\\0e. ]{0,30}"#) {
        if let Ok(mapping) = Mapping::parse(&mapping) {
            let _ = mapping.apply(payload.as_bytes());
            let _ = mapping.apply(br#"{"a":{"a":[0,"a"]},"":0}"#);
        }
        let _ = Mapping::parse(&payload);
    }

    #[test]
    fn no_bytes_panic(mapping: Vec<u8>, payload: Vec<u8>) {
        let _ = Mapping::parse(&mapping);
        let _ = Mapping::parse(r#"{"k":"a"}"#).expect("a mapping").apply(&payload);
    }

    #[test]
    fn a_copied_number_keeps_its_text(number in number()) {
        let mapping = Mapping::parse(r#"{"whole":"a","inside":"a:n","list":["a:n"]}"#).expect("a mapping");
        let payload = format!(r#"{{"a": {{"n" : {number} }} }}"#);
        let result = mapping.apply(payload.as_bytes()).expect("copying cannot fail").bytes;
        let expected = format!(r#"{{"whole":{{"n":{number}}},"inside":{number},"list":[{number}]}}"#);
        prop_assert_eq!(String::from_utf8_lossy(&result), expected);
    }

    #[test]
    fn a_copied_value_keeps_its_meaning(value in json()) {
        let mapping = Mapping::parse(r#"{"v":"v"}"#).expect("a mapping");
        let payload = format!(r#"{{"v":{value}}}"#);
        let result = mapping.apply(payload.as_bytes()).expect("copying cannot fail");
        if value == "null" {
            prop_assert_eq!(result.missing, ["v"]);
        } else if let Ok(meaning) = serde_json::from_str::<Value>(&payload) {
            // serde_json does not represent every number and escape; it must read the others identically.
            prop_assert_eq!(serde_json::from_slice::<Value>(&result.bytes).expect("valid"), meaning);
        }
    }

    #[test]
    fn whole_numbers_add_like_numbers(a: i32, b: i32, c: i32) {
        let mapping = Mapping::parse(r#"{"k":"n[0]+n[1]+n[2]"}"#).expect("a mapping");
        let result = mapping.apply(format!(r#"{{"n":[{a},{b},{c}]}}"#).as_bytes()).expect("no float is near");
        let sum = i64::from(a) + i64::from(b) + i64::from(c);
        prop_assert_eq!(String::from_utf8_lossy(&result.bytes), format!(r#"{{"k":{sum}}}"#));
    }

    #[test]
    fn texts_join_like_texts(a: String, b: String) {
        let mapping = Mapping::parse(r#"{"k":"a+b"}"#).expect("a mapping");
        let payload = serde_json::json!({ "a": a, "b": b }).to_string();
        let result = mapping.apply(payload.as_bytes()).expect("joining cannot fail");
        let expected = serde_json::json!({ "k": a + &b }).to_string();
        prop_assert_eq!(String::from_utf8_lossy(&result.bytes), expected);
    }

    #[test]
    fn a_mapping_is_the_same_after_it_was_stored(json in mapping_json()) {
        let mapping = Mapping::parse(&json).expect("the strategy makes mappings");
        prop_assert!(mapping.as_json().len() <= json.len());
        prop_assert_eq!(Mapping::parse(mapping.as_json()), Ok(mapping));
    }
}

fn keys(json: &[u8]) -> Vec<String> {
    keys_of(std::str::from_utf8(json).expect("JSON is UTF-8"))
}

/// Returns the keys of an object in their order, which serde_json's map does not keep.
fn keys_of(json: &str) -> Vec<String> {
    struct Keys;
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = Vec<String>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut keys = Vec::new();
            while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                keys.push(key);
            }
            Ok(keys)
        }
    }
    serde::Deserializer::deserialize_map(&mut serde_json::Deserializer::from_str(json), Keys)
        .expect("an object")
}
