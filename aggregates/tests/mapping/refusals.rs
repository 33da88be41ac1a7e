//! Mappings that are refused, and the messages.

use aggregates::mapping::{
    ExpressionProblem, ExpressionRule, KEYS_MAX, Mapping, MappingProblem, TEXT_BYTES_MAX,
};

fn problem(json: impl AsRef<[u8]>) -> MappingProblem {
    Mapping::parse(json).expect_err("the mapping must be refused")
}

#[test]
fn an_expression_is_refused_at_the_character_that_breaks_a_rule() {
    use ExpressionRule::{BadIndex, IndexTooLarge, TextAfterBracket, UnclosedBracket};
    for (expression, position, rule) in [
        ("tags[0", 5, UnclosedBracket),
        ("tags[", 5, UnclosedBracket),
        ("[[0]", 2, BadIndex),
        ("a:b[0:c]", 4, UnclosedBracket),
        ("id+tags[+1]", 8, UnclosedBracket),
        ("tags[]", 6, BadIndex),
        ("tags[x]", 6, BadIndex),
        ("tags[ 1x]", 7, BadIndex),
        ("tags[-1]", 6, BadIndex),
        ("tags[1.0]", 6, BadIndex),
        ("tags[１]", 6, BadIndex),
        ("id + tags[x]", 11, BadIndex),
        ("  tags[x]", 8, BadIndex),
        ("тег[x]", 5, BadIndex),
        ("tags[4294967295]+tags[4294967296]", 23, IndexTooLarge),
        ("tags[0]zzz", 8, TextAfterBracket),
        ("items[1]sku", 9, TextAfterBracket),
        ("grid[0] [1]", 8, TextAfterBracket),
        ("grid[0]]", 8, TextAfterBracket),
        ("grid[0] :a", 8, TextAfterBracket),
        ("grid[0][1]é[2]", 11, TextAfterBracket),
    ] {
        let json = serde_json::json!({ "before": "id", "total": ["id", expression] }).to_string();
        match problem(&json) {
            MappingProblem::Expression { at, expression: text, problem } => {
                assert_eq!(problem, ExpressionProblem { position, rule }, "{expression}");
                assert_eq!((at.key.as_str(), at.element, text.as_str()), ("total", Some(1), expression));
            }
            other => panic!("{expression}: {other}"),
        }
    }
}

#[test]
fn the_message_names_the_key_the_position_and_the_rule() {
    for (json, words) in [
        (
            r#"{"total":"price + tags[x]"}"#,
            r#"the value of key "total" is "price + tags[x]", which cannot be parsed at character 14: an index is a whole number, where 0 is the first element, as in tags[0]"#,
        ),
        (
            r#"{"tags":["a","b[0"]}"#,
            r#"element 1 of the value of key "tags" is "b[0", which cannot be parsed at character 2: this '[' has no matching ']' in its part of the path"#,
        ),
        (
            r#"{"a":"b[0]c"}"#,
            r#"the value of key "a" is "b[0]c", which cannot be parsed at character 5: only '[', ':' or '+' may follow ']'"#,
        ),
        (
            r#"{"a":5}"#,
            r#"the value of key "a" must be an expression (text) or an array of expressions, but it is a number"#,
        ),
        (
            r#"{"a":["x",["y"]]}"#,
            r#"element 1 of the value of key "a" must be an expression (text), but it is an array"#,
        ),
        ("", "expected a JSON object, but the text is empty"),
        (r#" ["a"]"#, "expected a JSON object, but found '[' at line 1, column 2"),
        (r#"{"a":"b""#, "invalid JSON at line 1, column 8: the text ends before the object is complete"),
        (r#"{"a":"b"} x"#, "invalid JSON at line 1, column 11: trailing characters"),
    ] {
        assert_eq!(problem(json).to_string(), words, "{json}");
    }
}

#[test]
fn only_text_and_arrays_of_text_are_expressions() {
    for (value, kind) in [
        ("null", "null"),
        ("true", "true or false"),
        ("1", "a number"),
        ("-1", "a number"),
        ("1.5", "a number"),
        (r#"{"a":"b"}"#, "an object"),
    ] {
        let whole = problem(format!(r#"{{"k":{value}}}"#));
        assert!(
            matches!(&whole, MappingProblem::NotAnExpression { .. }) && whole.to_string().ends_with(kind)
        );
        let element = problem(format!(r#"{{"k":["a",{value}]}}"#));
        assert!(matches!(&element, MappingProblem::ElementIsNotAnExpression { .. }));
        assert!(element.to_string().ends_with(kind), "{element}");
        assert_eq!(element.key(), Some("k"));
    }
}

#[test]
fn the_last_value_of_a_repeated_key_is_checked() {
    assert_eq!(problem(r#"{"k":"a","k":5}"#).key(), Some("k"));
    assert!(Mapping::parse(r#"{"k":5,"k":"a"}"#).is_ok());
}

#[test]
fn anything_but_one_json_object_in_utf8_is_refused() {
    for text in [
        "null",
        "[]",
        "\"a\"",
        "{",
        "{}{}",
        "{\"a\":}",
        "{\"a\" \"b\"}",
        r#"{"a":"\ud800"}"#,
        r#"{"\ud800":"a"}"#,
    ] {
        let problem = problem(text);
        assert!(matches!(problem, MappingProblem::NotAnObject(_)), "{text}: {problem}");
        assert_eq!(problem.key(), None);
    }
    assert!(matches!(problem(b"{\"a\":\"\xff\"}"), MappingProblem::NotAnObject(_)));
    let nested = format!(r#"{{"a":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    assert!(matches!(problem(nested), MappingProblem::NotAnObject(_)));
}

#[test]
fn a_mapping_has_at_most_500_keys() {
    let keys = |count: usize| {
        let entries = (0..count).map(|key| format!(r#""k{key}":"a""#)).collect::<Vec<_>>();
        format!("{{{}}}", entries.join(","))
    };
    assert!(Mapping::parse(keys(KEYS_MAX)).is_ok());
    assert_eq!(problem(keys(KEYS_MAX + 1)), MappingProblem::TooManyKeys { keys: 501 });
    // Repetitions of a key count once.
    assert!(Mapping::parse(format!("{{{}\"a\":\"b\"}}", r#""a":"b","#.repeat(KEYS_MAX))).is_ok());
}

#[test]
fn a_mapping_has_at_most_64_kib() {
    let json = |name: usize| format!(r#"{{"k":"{}"}}"#, "a".repeat(name));
    assert!(Mapping::parse(json(TEXT_BYTES_MAX - 8)).is_ok());
    assert_eq!(problem(json(TEXT_BYTES_MAX - 7)), MappingProblem::TooLong { bytes: TEXT_BYTES_MAX + 1 });
}

#[test]
fn a_path_has_as_many_steps_as_a_payload_has_levels() {
    let path = |steps: usize| format!(r#"{{"k":"{}"}}"#, vec!["a"; steps].join(":"));
    assert!(Mapping::parse(path(128)).is_ok());
    let problem = problem(path(129)).to_string();
    assert!(
        problem.ends_with("character 257: the path has more than 128 steps, deeper than a payload may be"),
        "{problem}"
    );
    let indexes = format!(r#"{{"k":"a{}"}}"#, "[0]".repeat(128));
    assert!(Mapping::parse(indexes).is_err());
}

#[test]
fn long_texts_are_cut_in_the_message_only() {
    let key = "ключ".repeat(100);
    let problem = problem(format!(r#"{{"{key}":"{}["}}"#, "x".repeat(1000)));
    assert_eq!(problem.key(), Some(key.as_str()));
    assert!(problem.to_string().len() < 400, "{problem}");
}
