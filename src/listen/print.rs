//! Arrivals as text for a terminal.

use std::fmt::Write as _;

use super::{Arrival, SignatureStatus};

/// Upper bound of the characters of a body that are shown.
const BODY_SHOWN_MAX: usize = 4000;

/// Headers that authors of a receiver need.
const HEADERS_SHOWN: [&str; 10] = [
    "content-type",
    "user-agent",
    "x-hooksentry-signature",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-hooksentry-event-id",
    "x-hooksentry-attempt",
    "traceparent",
    "authorization",
];

/// Renders an arrival as text without control characters.
pub(super) fn describe(arrival: &Arrival) -> String {
    let mut text = format!(
        "{}  {} {}  answered {}\n",
        arrival.at.format("%H:%M:%S%.3f"),
        arrival.method,
        arrival.uri,
        arrival.status.as_u16()
    );
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  {}  X-HookSentry-Signature", signature_status(arrival.plain_signature));
    let _ = writeln!(text, "  {}  Standard Webhooks", signature_status(arrival.standard_signature));
    for name in HEADERS_SHOWN {
        for value in arrival.headers.get_all(name) {
            let value = if name == "authorization" { b"(not shown)" } else { value.as_bytes() };
            let _ = writeln!(text, "  {name}: {}", printable(&String::from_utf8_lossy(value)));
        }
    }
    for line in body(&arrival.body).lines() {
        let _ = writeln!(text, "    {}", printable(line));
    }
    text.push('\n');
    text
}

fn signature_status(status: SignatureStatus) -> String {
    match status {
        SignatureStatus::Verified => "verified".to_owned(),
        SignatureStatus::NotVerified(reason) => format!("NOT VERIFIED ({reason})"),
        SignatureStatus::NotChecked => "not checked (no secret given)".to_owned(),
    }
}

fn body(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "(no body)".to_owned();
    }
    let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    let text = String::from_utf8_lossy(bytes);
    let shown = if is_json { indented(&text) } else { text.chars().take(BODY_SHOWN_MAX + 1).collect() };
    match shown.char_indices().nth(BODY_SHOWN_MAX) {
        Some((cut, _)) => format!("{}…\n({} bytes in total)", &shown[..cut], bytes.len()),
        None => shown,
    }
}

/// Indents JSON, a little more of it than is shown. It works on the text, because parsing would lose the
/// order of keys and digits of large numbers.
fn indented(json: &str) -> String {
    let mut text = String::new();
    let mut depth = 0;
    let mut in_string = false;
    let mut escaped = false;
    let mut opened = false;
    let new_line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth.min(40)));
    };
    let mut written = 0;
    for character in json.chars() {
        if written > BODY_SHOWN_MAX {
            break;
        }
        if !in_string && character.is_ascii_whitespace() {
            continue;
        }
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
            text.push(character);
        } else {
            if std::mem::take(&mut opened) && !matches!(character, '}' | ']') {
                depth += 1;
                new_line(&mut text, depth);
            } else if matches!(character, '}' | ']') && !text.ends_with(['{', '[']) {
                depth -= 1;
                new_line(&mut text, depth);
            }
            text.push(character);
            match character {
                '"' => in_string = true,
                '{' | '[' => opened = true,
                ',' => new_line(&mut text, depth),
                ':' => text.push(' '),
                _ => {}
            }
        }
        written += 1;
    }
    text
}

/// Escapes control characters, so that a header or a body cannot control the terminal.
fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|character| {
            let escape = character.is_control() && character != '\t';
            let escaped = escape.then(|| character.escape_unicode());
            escaped.into_iter().flatten().chain((!escape).then_some(character))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_and_otherwise_unchanged() {
        let json = r#" {"b":1.0000000000000000001,"a" : [ ] ,"c":{"d":["x, {y}\"",{}]}, "e":[1,2]}"#;
        let expected = r#"{
  "b": 1.0000000000000000001,
  "a": [],
  "c": {
    "d": [
      "x, {y}\"",
      {}
    ]
  },
  "e": [
    1,
    2
  ]
}"#;
        assert_eq!(body(json.as_bytes()), expected);
    }

    #[test]
    fn other_bodies_are_shown_as_they_are_and_long_ones_are_cut() {
        assert_eq!(body(b""), "(no body)");
        assert_eq!(body(b"{oops"), "{oops");
        let long = format!("\"{}\"", "é".repeat(BODY_SHOWN_MAX));
        let shown = body(long.as_bytes());
        assert!(shown.ends_with(&format!("é…\n({} bytes in total)", long.len())), "{shown}");
        assert!(body(format!("[{}]", "[".repeat(9) + &"]".repeat(9)).as_bytes()).contains("[]"));
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        assert_eq!(printable("a\x1b[31m\u{9b}b\tc"), "a\\u{1b}[31m\\u{9b}b\tc");
    }
}
