//! Bytes that are accepted as a payload, and the problems of others.

use aggregates::payload::{NESTING_MAX, PayloadProblem, Position, check_payload};
use proptest::prelude::*;

fn problem(bytes: impl AsRef<[u8]>) -> PayloadProblem {
    check_payload(bytes.as_ref()).expect_err("the payload must be refused")
}

#[test]
fn any_json_object_is_accepted() {
    for payload in [
        "{}",
        " \r\n\t{ } \n",
        r#"{"a":1,"a":2}"#,
        r#"{"":{"é":[null,true,false,-0.5e-3,"\u00e9\/"]}}"#,
        r#"{"huge":1e999,"long":123456789012345678901234567890}"#,
        r#"{"unpaired surrogate":"\ud800"}"#,
    ] {
        assert_eq!(check_payload(payload.as_bytes()), Ok(()), "{payload}");
    }
}

#[test]
fn other_values_are_refused_where_they_start() {
    for (payload, line, column, found) in [
        ("[{}]", 1, 1, '['),
        (" \n  \"{}\"", 2, 3, '"'),
        ("5", 1, 1, '5'),
        ("null", 1, 1, 'n'),
        ("event=push", 1, 1, 'e'),
        ("\u{feff}{}", 1, 1, '\u{feff}'),
    ] {
        let position = Position { line, column };
        assert_eq!(problem(payload), PayloadProblem::NotAnObject { position, found }, "{payload}");
    }
    assert_eq!(problem(""), PayloadProblem::Empty);
    assert_eq!(problem(" \n"), PayloadProblem::Empty);
}

#[test]
fn broken_json_is_refused_with_rule_and_position() {
    for (payload, words) in [
        (r#"{"a":1"#, "line 1, column 6: the text ends before the object is complete"),
        ("{\n", "line 2, column 1: the text ends before the object is complete"),
        ("{\"a\":1}\n{}", "line 2, column 1: trailing characters"),
        ("{\"a\":\n tru}", "line 2, column 5: expected ident"),
        (r#"{"a" 1}"#, "line 1, column 6: expected `:`"),
        (r#"{"a":1,}"#, "line 1, column 8: key must be a string"),
        (r#"{a:1}"#, "line 1, column 2: key must be a string"),
        (r#"{"a":01}"#, "line 1, column 7: invalid number"),
        (r#"{"a":"\x"}"#, "line 1, column 8: invalid escape"),
        (
            "{\"a\":\"\u{1}\"}",
            "line 1, column 6: control character (\\u0000-\\u001F) found while parsing a string",
        ),
    ] {
        assert_eq!(problem(payload).to_string(), format!("invalid JSON at {words}"), "{payload:?}");
    }
}

#[test]
fn bytes_that_are_not_utf8_are_refused_at_any_position() {
    for (payload, line, column) in
        [(&b"{\"a\":\n\"b\xff\"}"[..], 2, 3), (b"{\"\xc3\":1}", 1, 3), (b"\xff", 1, 1), (b"{}\xe2\x82", 1, 3)]
    {
        assert_eq!(problem(payload), PayloadProblem::NotUtf8 { position: Position { line, column } });
    }
}

#[test]
fn nesting_is_limited() {
    let nested =
        |levels: usize| format!(r#"{}{{}}{}"#, r#"{"a":["#.repeat(levels / 2), "]}".repeat(levels / 2));
    assert_eq!(check_payload(nested(NESTING_MAX - 2).as_bytes()), Ok(()));
    let deepest = nested(NESTING_MAX - 2).replace("{}", "[{}]");
    assert_eq!(check_payload(deepest.as_bytes()), Ok(()));
    let position = Position { line: 1, column: 64 * 6 + 1 };
    assert_eq!(problem(nested(NESTING_MAX)), PayloadProblem::TooDeep { position });
    // Recursion at this depth would overflow the stack.
    let bottomless = format!(r#"{{"a":{}{}}}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert!(matches!(problem(bottomless), PayloadProblem::TooDeep { .. }));
}

#[test]
fn only_brackets_outside_of_strings_nest() {
    let brackets = "[{".repeat(NESTING_MAX);
    let text = format!(r#"{{"a":"{brackets}\"{brackets}\\","b":[{}{{}}]}}"#, "[],{},".repeat(NESTING_MAX));
    assert_eq!(check_payload(text.as_bytes()), Ok(()));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = check_payload(&bytes);
    }

    /// The check, which builds no tree, accepts every object that a parser accepts.
    #[test]
    fn a_parser_agrees(text in r#"\{[{}\[\]":,\\atrue0-9.e ]{0,20}\}"#) {
        if serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok() {
            prop_assert_eq!(check_payload(text.as_bytes()), Ok(()));
        }
    }
}
