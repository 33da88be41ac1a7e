//! Complete mappings on complete payloads: order, missing keys, repeated names, text and failures.

use crate::{apply, mapped, mapping, value_of};
use aggregates::mapping::MappingFailure;
use aggregates::payload::{PayloadProblem, Position};

#[test]
fn the_result_has_the_order_of_the_mapping() {
    let payload = r#"{"id":7,"user":{"name":"octo"},"repository":{"full_name":"acme/repo"},"action":"opened","ref":"main","head_commit":{"id":"abc"}}"#;
    let json = r#"{"eventId":"id","userName":"user:name","repoName":"repository:full_name","action":"action","tags":["ref","head_commit:id"]}"#;
    let expected =
        r#"{"eventId":7,"userName":"octo","repoName":"acme/repo","action":"opened","tags":["main","abc"]}"#;
    assert_eq!(mapped(json, payload), expected);
    assert_eq!(mapped(r#"{"z":"b","m":"a","a":"c"}"#, r#"{"a":1,"b":2,"c":3}"#), r#"{"z":2,"m":1,"a":3}"#);
}

#[test]
fn missing_keys_are_left_out_and_named() {
    let applied = apply(
        r#"{"first":"none","a":"a","list":["none"],"sum":"a+none","b":"b","last":"nil"}"#,
        r#"{"a":1,"b":2,"nil":null}"#,
    );
    assert_eq!(String::from_utf8_lossy(&applied.bytes), r#"{"a":1,"list":[null],"b":2}"#);
    assert_eq!(applied.missing, ["first", "sum", "last"]);
}

#[test]
fn an_empty_mapping_makes_an_empty_object() {
    assert_eq!(mapped("{}", r#"{"a":1}"#), "{}");
    assert_eq!(mapped(r#"{"k":"a"}"#, "{}"), "{}");
}

#[test]
fn the_last_value_of_a_repeated_name_counts() {
    assert_eq!(value_of(r#""a""#, r#"{"a":1,"a":2}"#).as_deref(), Some("2"));
    assert_eq!(value_of(r#""a""#, r#"{"a":1,"\u0061":null}"#), None);
    assert_eq!(value_of(r#""a:b""#, r#"{"a":{"b":1},"a":{"c":2}}"#), None);
    assert_eq!(value_of(r#""a:b""#, r#"{"a":{"c":2},"a":{"b":{},"b":1}}"#).as_deref(), Some("1"));
    assert_eq!(value_of(r#""a[1]""#, r#"{"a":[1,2],"a":[3]}"#), None);
    assert_eq!(
        value_of(r#"["a","a:b:c"]"#, r#"{"a":{"b":{"c":1}},"a":{"b":[]}}"#).as_deref(),
        Some(r#"[{"b":[]},null]"#)
    );
    // The keys of the mapping follow the same rule, at the position of the first.
    assert_eq!(mapped(r#"{"k":"a","j":"a","k":"b"}"#, r#"{"a":1,"b":2}"#), r#"{"k":2,"j":1}"#);
}

#[test]
fn names_may_contain_anything_but_the_separators() {
    let payload = r#"{"a]b":1,"]":[2],"ключ":{"é":3},"a.b":4,"a b":5,"\"":6,"{":7,"a\nb":8,"\ud800":9}"#;
    for (value, expected) in [
        (r#""a]b""#, "1"),
        (r#""][0]""#, "2"),
        (r#""ключ:é""#, "3"),
        (r#""\u043aлюч:\u00e9""#, "3"),
        (r#""a.b""#, "4"),
        (r#""a b""#, "5"),
        (r#""\"""#, "6"),
        (r#""{""#, "7"),
        (r#""a\nb""#, "8"),
    ] {
        assert_eq!(value_of(value, payload).as_deref(), Some(expected), "{value}");
    }
}

#[test]
fn the_result_is_compact_with_required_escapes_only() {
    let payload = "{ \"text\" : \"caf\\u00e9 < & > ' + \\/ 😀 \\ud83d\\ude00 \\\" \\\\ \\u0001 \\n\" ,\n\"deep\" : { \"x y\" : [ 1 , { } ] } }";
    assert_eq!(
        value_of(r#""text""#, payload).as_deref(),
        Some("\"café < & > ' + / 😀 😀 \\\" \\\\ \\u0001 \\n\"")
    );
    assert_eq!(value_of(r#""deep""#, payload).as_deref(), Some(r#"{"x y":[1,{}]}"#));
    assert_eq!(mapped(r#"{ "\u00fc \"q\" \u002f\n" : "n" }"#, r#"{"n":1}"#), r#"{"ü \"q\" /\n":1}"#);
}

#[test]
fn joined_text_stays_valid() {
    let payload = r#"{"a":"say \"hi\"\\","b":"\u00e9\n","n":-1.50,"high":"\ud83d","low":"\ude00"}"#;
    assert_eq!(value_of(r#""a+b+n""#, payload).as_deref(), Some(r#""say \"hi\"\\é\n-1.50""#));
    // Two surrogates that are joined to a pair become a character; an unpaired one remains an escape.
    assert_eq!(value_of(r#""high+low""#, payload).as_deref(), Some(r#""😀""#));
    assert_eq!(value_of(r#""low+high""#, payload).as_deref(), Some(r#""\ude00\ud83d""#));
}

#[test]
fn sums_are_exact_in_64_bits_and_floats_beyond() {
    for (numbers, expected) in [
        ("9007199254740993,2", "9007199254740995"),
        ("-9223372036854775808,9223372036854775807", "-1"),
        ("-9223372036854775808,-1", "-9.223372036854776e18"),
        // Both exceed 64 bits and are therefore floats from the start.
        ("9223372036854775808,1", "9.223372036854776e18"),
        ("0.1,0.2", "0.30000000000000004"),
        ("1e2,1", "101"),
        ("-0.5,0.5", "0"),
        ("2.5,-5", "-2.5"),
        ("1e300,1e300", "2e300"),
        ("1e-7,0.0", "1e-7"),
        ("1e-6,0.0", "0.000001"),
        ("9007199254740991.0,0", "9007199254740991"),
        ("9007199254740992.0,0", "9.007199254740992e15"),
        ("1e-999,1", "1"),
    ] {
        let payload = format!(r#"{{"n":[{numbers}]}}"#);
        assert_eq!(value_of(r#""n[0]+n[1]""#, &payload).as_deref(), Some(expected), "{numbers}");
    }
}

#[test]
fn a_sum_beyond_the_largest_float_fails() {
    let too_large = |key: &str| Err(MappingFailure::SumTooLarge { key: key.to_owned() });
    let mapping = mapping(r#"{"fine":"n[0]","total":"n[0]+n[1]"}"#);
    assert_eq!(mapping.apply(br#"{"n":[1e308,1e308]}"#), too_large("total"));
    assert_eq!(mapping.apply(br#"{"n":[1e999,1]}"#), too_large("total"));
    assert_eq!(mapping.apply(br#"{"n":[1e999,-1e999]}"#), too_large("total"));
    let failure = mapping.apply(br#"{"n":[1e308,1e308]}"#).expect_err("the sum has no number");
    assert_eq!(failure.to_string(), r#"the sum for key "total" is too large for a number"#);
    // Copied or joined, the same number is text.
    assert_eq!(value_of(r#""n""#, r#"{"n":1e999}"#).as_deref(), Some("1e999"));
    assert_eq!(value_of(r#""n+s""#, r#"{"n":1e999,"s":"!"}"#).as_deref(), Some(r#""1e999!""#));
}

#[test]
fn bytes_that_are_no_payload_fail() {
    let mapping = mapping(r#"{"k":"[0]"}"#);
    let position = Position { line: 1, column: 1 };
    let problem = PayloadProblem::NotAnObject { position, found: '[' };
    assert_eq!(mapping.apply(b"[5]"), Err(MappingFailure::Payload(problem)));
    for payload in ["", "\"s\"", "{", "{\"a\":1}x", "{'a':1}"] {
        assert!(matches!(mapping.apply(payload.as_bytes()), Err(MappingFailure::Payload(_))), "{payload}");
    }
}
