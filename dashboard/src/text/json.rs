//! JSON with line breaks and indentation. Only white space changes: numbers and escapes stay as they are written.

/// Deepest nesting that is indented. Deeper texts are shown as they are.
const DEPTH_MAX: usize = 64;

/// Returns a JSON text with one value a line; `None`: it is no JSON, or too deep.
pub(crate) fn indented(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '"' => {
                out.push('"');
                let mut escaped = false;
                for next in rest.by_ref() {
                    out.push(next);
                    if next == '"' && !escaped {
                        break;
                    }
                    escaped = next == '\\' && !escaped;
                }
            }
            '{' | '[' => {
                out.push(character);
                while rest.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(end) = rest.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                    continue;
                }
                depth += 1;
                if depth > DEPTH_MAX {
                    return None;
                }
                line(&mut out, depth);
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(character);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            ' ' | '\t' | '\n' | '\r' => {}
            other => out.push(other),
        }
    }
    Some(out)
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_changes() {
        let text = r#"{"a":[1e999,0.10,{}, [ ]],"b":"\" { ,\\","c":12345678901234567890}"#;
        let shown = "{\n  \"a\": [\n    1e999,\n    0.10,\n    {},\n    []\n  ],\n  \"b\": \"\\\" { ,\\\\\",\n  \
                     \"c\": 12345678901234567890\n}";
        assert_eq!(indented(text).as_deref(), Some(shown));
    }

    #[test]
    fn what_is_no_json_is_left_alone() {
        for text in ["", "{", "{'a':1}", "plain", &"[".repeat(100)] {
            assert_eq!(indented(text), None, "{text}");
        }
        let deep = format!("{}{}", "[1,".repeat(100), "1]".repeat(100));
        assert_eq!(indented(&deep), None);
    }
}
