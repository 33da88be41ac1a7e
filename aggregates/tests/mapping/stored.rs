//! Mappings as JSON and as facts keep them.

use crate::mapping;
use aggregates::mapping::{Mapping, StoredMapping};

const JSON: &str = r#"{"z":"b","list":["y","x"],"a":"c + d","empty":[],"ü\"":""}"#;

#[test]
fn the_json_of_a_mapping_has_the_keys_in_the_order_given() {
    assert_eq!(mapping(JSON).as_json(), JSON);
    assert_eq!(mapping("{}").as_json(), "{}");
    let spaced = " { \"z\" : \"b\" ,\n\"a\" : [ \"\\u0063\" ] , \"z\" : \"\\/\" } ";
    assert_eq!(mapping(spaced).as_json(), r#"{"z":"/","a":["c"]}"#);
}

#[test]
fn a_mapping_reads_and_writes_itself_as_the_object() {
    let mapping = mapping(JSON);
    assert_eq!(serde_json::to_string(&mapping).expect("a mapping is JSON"), JSON);
    assert_eq!(serde_json::from_str::<Mapping>(JSON).expect("and can be read"), mapping);
    let error = serde_json::from_str::<Mapping>(r#"{"k":"a[x]"}"#).expect_err("a broken expression");
    assert!(error.to_string().contains("character 3: an index is a whole number"), "{error}");
    let error = serde_json::from_str::<Mapping>("[]").expect_err("no object");
    assert!(error.to_string().contains("a JSON object of expressions"), "{error}");
}

#[test]
fn a_stored_mapping_survives_a_json_tree_that_sorts_keys() {
    let stored = StoredMapping::from(&mapping(JSON));
    let fact = serde_json::to_value(&stored).expect("text is JSON");
    assert_eq!(fact, serde_json::Value::String(JSON.to_owned()));
    let read = serde_json::from_value::<StoredMapping>(fact).expect("and can be read");
    assert_eq!(read.as_json(), JSON);
    assert_eq!(read.to_mapping(), Ok(mapping(JSON)));
}

#[test]
fn a_stored_mapping_that_is_none_says_so() {
    let stored = serde_json::from_str::<StoredMapping>(r#""{\"k\":5}""#).expect("any text can be stored");
    assert_eq!(stored.to_mapping().expect_err("a number is no expression").key(), Some("k"));
}
