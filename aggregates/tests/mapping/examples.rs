//! Examples of expressions, all on the same payload.

use crate::{SOURCE, value_of};
use aggregates::mapping::Mapping;

/// Expression and its JSON value; `None` if the key is left out.
type Row = (&'static str, Option<&'static str>);

fn check(rows: &[Row]) {
    for (value, expected) in rows {
        assert_eq!(value_of(value, SOURCE).as_deref(), *expected, "{value}");
    }
}

#[test]
fn paths_select_values() {
    check(&[
        (r#""id""#, Some("42")),
        (r#"" id ""#, Some("42")),
        (r#""\tid\n""#, Some("42")),
        (r#""user:name""#, Some(r#""octo""#)),
        (r#""user:address:city""#, Some(r#""Rio""#)),
        // White space inside a path belongs to the names.
        (r#""user : name""#, None),
        (r#""user::name""#, None),
        (r#""USER:name""#, None),
        (r#""nil""#, None),
        (r#""missing""#, None),
        (r#""id:name""#, None),
        (r#""ok""#, Some("true")),
        (r#""empty""#, Some(r#""""#)),
        // The empty name is a name.
        (r#""""#, Some(r#""noname""#)),
        (r#""   ""#, Some(r#""noname""#)),
        (r#""0""#, Some(r#""zero""#)),
        // There are no literals.
        (r#""'text'""#, None),
        (r#""5""#, None),
    ]);
}

#[test]
fn objects_and_arrays_are_copied_whole() {
    check(&[
        (r#""user""#, Some(r#"{"name":"octo","address":{"city":"Rio"}}"#)),
        (r#""user:address""#, Some(r#"{"city":"Rio"}"#)),
        (r#""tags""#, Some(r#"["x","y",null,7]"#)),
        (r#""grid[1]""#, Some("[3,4]")),
        (r#""items[1]""#, Some(r#"{"sku":"B2","p":4}"#)),
    ]);
}

#[test]
fn indexes_select_elements() {
    check(&[
        (r#""tags[0]""#, Some(r#""x""#)),
        (r#""tags[ 1 ]""#, Some(r#""y""#)),
        (r#""tags[01]""#, Some(r#""y""#)),
        (r#""tags[2]""#, None),
        (r#""tags[3]""#, Some("7")),
        (r#""tags[9]""#, None),
        // Arrays need brackets, and only arrays have elements.
        (r#""tags:0""#, None),
        (r#""user[0]""#, None),
        (r#""[0]""#, None),
        (r#""[0]:id""#, None),
        (r#""items[1]:sku""#, Some(r#""B2""#)),
        // An index may follow another, and a segment may consist of indexes only.
        (r#""grid[0][1]""#, Some("2")),
        (r#""grid[0]:[1]""#, Some("2")),
        (r#""grid[0]:[1]:[0]""#, None),
        (r#""grid[0]::[1]""#, None),
    ]);
}

#[test]
fn numbers_keep_their_text_unless_they_are_added() {
    check(&[
        // Parsed as a float and formatted, this would be 1.
        (r#""whole""#, Some("1.0")),
        (r#""max""#, Some("9223372036854775807")),
        (r#""whole+whole""#, Some("2")),
    ]);
    let payload = r#"{"n":[123456789012345678901234567890,0.10,1e2,1E+400,-0,-0.0,6.02e23]}"#;
    assert_eq!(value_of(r#""n""#, payload).as_deref(), Some(&payload[5..payload.len() - 1]));
    for (index, text) in payload[6..payload.len() - 2].split(',').enumerate() {
        assert_eq!(value_of(&format!(r#""n[{index}]""#), payload).as_deref(), Some(text));
    }
}

#[test]
fn numbers_add_up() {
    check(&[
        (r#""id+qty""#, Some("44")),
        (r#""id + qty""#, Some("44")),
        (r#""price+qty""#, Some("11.5")),
        (r#""price+price""#, Some("19")),
        (r#""grid[1]:[0]+items[0]:p""#, Some("6")),
        // Integers that do not fit 64 bits become floats; they do not wrap around.
        (r#""max+qty""#, Some("9.223372036854776e18")),
        (r#""max+whole""#, Some("9.223372036854776e18")),
        // Any number of operands is combined from left to right; a name cannot contain the second `+`.
        (r#""id+qty+price""#, Some("53.5")),
        (r#""id+qty+qty+qty""#, Some("48")),
    ]);
}

#[test]
fn text_is_joined() {
    check(&[
        (r#""name+kind""#, Some(r#""acmerepo""#)),
        (r#""name+id""#, Some(r#""acme42""#)),
        (r#""id+name""#, Some(r#""42acme""#)),
        (r#""price+name""#, Some(r#""9.5acme""#)),
        // A number that is not added to another is joined with its own text.
        (r#""name+whole""#, Some(r#""acme1.0""#)),
        (r#""whole+name""#, Some(r#""1.0acme""#)),
        (r#""name+empty""#, Some(r#""acme""#)),
        (r#""empty+empty""#, Some(r#""""#)),
        // Numbers are added up to the first text, but not after it.
        (r#""id+qty+name""#, Some(r#""44acme""#)),
        (r#""name+id+qty""#, Some(r#""acme422""#)),
        (r#""price+price+name+price+whole""#, Some(r#""19acme9.51.0""#)),
        (r#""name+kind+user:name""#, Some(r#""acmerepoocto""#)),
    ]);
}

#[test]
fn a_plus_needs_numbers_or_text_on_both_sides() {
    check(&[
        (r#""name+ok""#, None),
        (r#""ok+ok""#, None),
        (r#""name+missing""#, None),
        (r#""missing+name""#, None),
        (r#""name+nil""#, None),
        (r#""user+name""#, None),
        (r#""tags+name""#, None),
        (r#""id+qty+missing""#, None),
        (r#""id+qty+ok""#, None),
    ]);
}

#[test]
fn a_plus_always_separates_unless_it_comes_first() {
    check(&[
        // The payload has a property `a+b`, but the expression means the sum of `a` and `b`, which it lacks.
        (r#""a+b""#, None),
        (r#""+id""#, None),
        (r#"" +id""#, None),
        // The empty name follows the last `+`.
        (r#""id+""#, Some(r#""42noname""#)),
        (r#""id++qty""#, Some(r#""42noname2""#)),
    ]);
    let payload = r#"{"+id":"own name","+":"plus","qty":2}"#;
    for (value, expected) in [
        (r#""+id""#, Some(r#""own name""#)),
        (r#"" +id ""#, Some(r#""own name""#)),
        (r#""+""#, Some(r#""plus""#)),
        (r#""++qty""#, Some(r#""plus2""#)),
        (r#""+id + qty""#, Some(r#""own name2""#)),
        (r#""qty + +id""#, None),
    ] {
        assert_eq!(value_of(value, payload).as_deref(), expected, "{value}");
    }
}

#[test]
fn arrays_of_expressions_become_arrays() {
    check(&[
        (r#"["id","name"]"#, Some(r#"[42,"acme"]"#)),
        (r#"["id","missing","nil"]"#, Some("[42,null,null]")),
        (r#"["id+qty","tags[0]"]"#, Some(r#"[44,"x"]"#)),
        (r#"["name+ok","user:address","id"]"#, Some(r#"[null,{"city":"Rio"},42]"#)),
        ("[]", Some("[]")),
    ]);
}

/// Expressions that cannot be parsed are refused when the mapping is saved.
#[test]
fn an_expression_that_cannot_be_parsed_is_refused() {
    let refused = [
        r#""tags[-1]""#,
        r#""tags[x]""#,
        r#""tags[]""#,
        r#""tags[0""#,
        r#""tags[0]zzz""#,
        r#""items[1]sku""#,
        r#"["id",5,true,null,["name"],{"x":"id"},"name"]"#,
        "5",
        "true",
        "null",
        r#"{"a":"id"}"#,
    ];
    for value in refused {
        let problem = Mapping::parse(format!(r#"{{"K":{value}}}"#)).expect_err(value);
        assert_eq!(problem.key(), Some("K"), "{value}");
    }
}
