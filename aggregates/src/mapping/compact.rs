//! Compact JSON: copies JSON text without insignificant white space and unnecessary escapes.
//!
//! The text of numbers and the names of properties, their order and their repetitions stay as they are. serde_json
//! cannot do this: it drops repeated names, rewrites numbers and refuses unpaired surrogates.

use super::document::split_string;
use std::fmt::Write;

/// Appends the compact form of a JSON value to `out`.
pub(super) fn write_value(json: &str, out: &mut String) {
    let mut rest = json;
    while let Some(plain) = rest.bytes().position(|byte| b"\" \t\n\r".contains(&byte)) {
        out.push_str(&rest[..plain]);
        rest = &rest[plain..];
        if rest.starts_with('"') {
            let (content, after) = split_string(rest);
            out.push('"');
            write_string_content(content, out);
            out.push('"');
            rest = after;
        } else {
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
}

/// Appends the content of a JSON string, without its quotes, to `out`.
pub(super) fn write_string_content(content: &str, out: &mut String) {
    let mut rest = content;
    while let Some(backslash) = rest.find('\\') {
        out.push_str(&rest[..backslash]);
        rest = &rest[backslash..];
        let (length, character) = match rest.as_bytes().get(1) {
            Some(b'/') => (2, Some('/')),
            Some(b'u') => unicode_escape(rest),
            _ => (2, None),
        };
        let (escape, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        match character {
            Some(character) => write_character(character, out),
            None => out.push_str(escape),
        }
        rest = after;
    }
    out.push_str(rest);
}

/// Returns the length in bytes of the `\u` escape that `text` starts with, and its character. An unpaired
/// surrogate has no character and can only be written as an escape.
fn unicode_escape(text: &str) -> (usize, Option<char>) {
    let Some(first) = code_unit(text) else { return (2, None) };
    if let Some(character) = char::from_u32(first.into()) {
        return (6, Some(character));
    }
    let second = text.get(6..).and_then(code_unit);
    match second.and_then(|second| char::decode_utf16([first, second]).next()) {
        Some(Ok(character)) => (12, Some(character)),
        _ => (6, None),
    }
}

fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    u16::from_str_radix(digits, 16).ok()
}

fn write_character(character: char, out: &mut String) {
    match character {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{8}' => out.push_str("\\b"),
        '\t' => out.push_str("\\t"),
        '\n' => out.push_str("\\n"),
        '\u{c}' => out.push_str("\\f"),
        '\r' => out.push_str("\\r"),
        '\0'..'\u{20}' => write!(out, "\\u{:04x}", u32::from(character)).expect("a String takes all text"),
        _ => out.push(character),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compact(json: &str) -> String {
        let mut out = String::new();
        write_value(json, &mut out);
        out
    }

    #[test]
    fn only_required_escapes_remain() {
        let cases = [
            (r#""caf\u00e9 \u003c\u0026\u003E \/""#, r#""café <&> /""#),
            (r#""\u0022 \u005c \" \\""#, r#""\" \\ \" \\""#),
            (
                r#""\u0000\u0008\u0009\u000a\u000B\u000c\u000d\u001f\u007f""#,
                "\"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\u{7f}\"",
            ),
            (r#""\ud83d\ude00""#, r#""😀""#),
            (r#""\ud83d \ude00\ud83d""#, r#""\ud83d \ude00\ud83d""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ud83d😀""#),
            (r#""\\u0041""#, r#""\\u0041""#),
        ];
        for (given, expected) in cases {
            assert_eq!(compact(given), expected, "{given}");
        }
    }

    #[test]
    fn only_insignificant_white_space_is_dropped() {
        let given = "{ \"b\" : [ 1.0 , -0 ,\t1E+2 ],\r\n \" a \" : null , \"b\" : { } }";
        assert_eq!(compact(given), r#"{"b":[1.0,-0,1E+2]," a ":null,"b":{}}"#);
    }

    proptest! {
        #[test]
        fn strings_keep_their_meaning(text: String) {
            let escaped = text.encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect::<String>();
            let escaped = compact(&format!("\"{escaped}\""));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).expect("still a string"), text.clone());
            prop_assert_eq!(escaped, serde_json::to_string(&text).expect("text can be written"));
        }

        #[test]
        fn text_that_is_not_json_does_not_panic(text in r#"["\\u0d8é ]{0,40}"#) {
            compact(&text);
        }
    }
}
