//! Mappings and payloads that are expensive on purpose.
//!
//! Without bounds, some would exhaust memory or stack, and others would take far longer than reading the payload.

use crate::{apply, mapped, mapping, value_of};
use aggregates::mapping::{COPIED_BYTES_MAX, KEYS_MAX, Mapping, MappingFailure, TEXT_BYTES_MAX};

const MIB: usize = 1024 * 1024;

fn filled(unit: &str, bytes: usize) -> String {
    unit.repeat(bytes / unit.len())
}

/// Mapping of one key whose expression repeats an operand as often as the limit allows.
fn longest_expression(operand: &str) -> Mapping {
    let repeated = filled(&format!("{operand}+"), TEXT_BYTES_MAX - 16);
    mapping(&format!(r#"{{"k":"{}"}}"#, repeated.trim_end_matches('+')))
}

#[test]
fn five_hundred_keys_on_a_payload_of_a_mebibyte() {
    let keys = (0..KEYS_MAX).map(|key| format!(r#""k{key}":"name{key}:last""#)).collect::<Vec<_>>();
    let properties =
        (0..20_000).map(|name| format!(r#""name{name}":{{"filler":"{}","last":{name}}}"#, "x".repeat(20)));
    let payload = format!("{{{}}}", properties.collect::<Vec<_>>().join(","));
    assert!(payload.len() > MIB);
    let applied = apply(&format!("{{{}}}", keys.join(",")), &payload);
    assert_eq!(applied.missing, [""; 0]);
    assert!(applied.bytes.starts_with(br#"{"k0":0,"k1":1,"#) && applied.bytes.ends_with(br#""k499":499}"#));
}

#[test]
fn the_whole_payload_can_be_copied_whatever_its_size() {
    let array = format!("[{}0]", filled("0,", 3 * COPIED_BYTES_MAX));
    assert_eq!(value_of(r#""all""#, &format!(r#"{{"all":{array}}}"#)), Some(array));
}

#[test]
fn a_result_that_grows_too_large_fails() {
    let payload = format!(r#"{{"s":"{}","n":{}}}"#, filled("x", MIB), filled("1", MIB));
    let payload = payload.as_bytes();
    let keys = |count: usize, value: &str| {
        let entries = (0..count).map(|key| format!(r#""k{key}":{value}"#)).collect::<Vec<_>>();
        mapping(&format!("{{{}}}", entries.join(",")))
    };
    assert!(keys(5, r#""s""#).apply(payload).is_ok());
    for mapping in [
        keys(500, r#""s""#),
        keys(7, r#"["n"]"#),
        longest_expression("s"),
        longest_expression("n"),
        mapping(&format!(r#"{{"k":[{}"s"]}}"#, filled(r#""s","#, 1000))),
    ] {
        assert_eq!(mapping.apply(payload), Err(MappingFailure::TooLarge));
    }
}

/// The results would be tiny; the cost is in reading the same text many times.
#[test]
fn work_is_bounded_where_the_result_is_small() {
    let blanks = format!(r#"{{"a":[{}]}}"#, filled(" ", MIB));
    let many = mapping(&format!(r#"{{"k":[{}"a"]}}"#, filled(r#""a","#, TEXT_BYTES_MAX - 32)));
    assert_eq!(many.apply(blanks.as_bytes()), Err(MappingFailure::TooLarge));
    let digits = format!(r#"{{"a":0.{}}}"#, filled("1", MIB));
    assert_eq!(longest_expression("a").apply(digits.as_bytes()), Err(MappingFailure::TooLarge));
}

/// Each repetition invalidates thousands of values found under the earlier one.
#[test]
fn a_name_repeated_many_times_costs_no_more_than_reading_it() {
    let names = (0..6_000).map(|name| format!(r#""a:{name}""#)).collect::<Vec<_>>();
    let full = (0..6_000).map(|name| format!(r#""{name}":1"#)).collect::<Vec<_>>().join(",");
    let payload = format!(r#"{{"a":{{{full}}},{}"a":{{"5":"last"}}}}"#, filled(r#""a":{"0":0},"#, MIB));
    let result = value_of(&format!("[{}]", names.join(",")), &payload).expect("arrays are always there");
    assert!(result.starts_with(r#"[null,null,null,null,null,"last",null"#));
    assert_eq!(result.matches("null").count(), 5_999);
}

#[test]
fn thousands_of_paths_and_names_do_not_take_quadratic_time() {
    let names = (0..9_000).map(|name| format!(r#""{name}""#)).collect::<Vec<_>>();
    let payload = (0..60_000).map(|name| format!(r#""{name}":{name}"#)).collect::<Vec<_>>();
    let result = mapped(&format!(r#"{{"k":[{}]}}"#, names.join(",")), &format!("{{{}}}", payload.join(",")));
    assert!(result.starts_with(r#"{"k":[0,1,2,"#) && result.ends_with(",8999]}"));
}

#[test]
fn the_deepest_path_on_the_deepest_payload() {
    let payload = format!(r#"{}{{"a":"found"}}{}"#, r#"{"a":"#.repeat(127), "}".repeat(127));
    let path = |steps: usize| format!(r#""{}""#, vec!["a"; steps].join(":"));
    assert_eq!(value_of(&path(128), &payload).as_deref(), Some(r#""found""#));
    assert_eq!(value_of(&path(1), &payload).as_deref(), Some(&payload[5..payload.len() - 1]));
    let too_deep = format!(r#"{{"a":{payload}}}"#);
    assert!(matches!(mapping(r#"{"k":"a"}"#).apply(too_deep.as_bytes()), Err(MappingFailure::Payload(_))));
    // Every level is both copied and a prefix of another path.
    let levels = (1..=128).map(|steps| format!("\"k{steps}\":{}", path(steps))).collect::<Vec<_>>();
    assert!(apply(&format!("{{{}}}", levels.join(",")), &payload).missing.is_empty());
}
