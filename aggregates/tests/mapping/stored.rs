//! The JSON text of a mapping, as facts store it.

use crate::mapping;

const JSON: &str = r#"{"z":"b","list":["y","x"],"a":"c + d","empty":[],"ü\"":""}"#;

#[test]
fn the_json_of_a_mapping_has_the_keys_in_their_original_order() {
    assert_eq!(mapping(JSON).as_json(), JSON);
    assert_eq!(mapping("{}").as_json(), "{}");
    let spaced = " { \"z\" : \"b\" ,\n\"a\" : [ \"\\u0063\" ] , \"z\" : \"\\/\" } ";
    assert_eq!(mapping(spaced).as_json(), r#"{"z":"/","a":["c"]}"#);
}

#[test]
fn the_json_of_a_mapping_parses_to_the_same_mapping() {
    let mapping = mapping(JSON);
    assert_eq!(crate::mapping(mapping.as_json()), mapping);
}
