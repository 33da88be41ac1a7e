//! Texts of others, such as payloads: shown as text with any content.
//!
//! Markup is escaped. Characters that cannot be seen, or that change the order in which others are shown, are replaced
//! by their names, so that what one reads is what is stored.

use std::fmt::{self, Write};

use askama::filters::HtmlSafe;

/// A text of others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreign<'a>(pub(crate) &'a str);

impl<'a> Foreign<'a> {
    /// Divides a text after this many characters.
    pub(crate) fn cut(text: &'a str, chars: usize) -> (Self, Option<Self>) {
        match text.char_indices().nth(chars) {
            None => (Self(text), None),
            Some((at, _)) => (Self(&text[..at]), Some(Self(&text[at..]))),
        }
    }
}

impl fmt::Display for Foreign<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(character)?,
                hidden if is_hidden(hidden) => {
                    write!(f, "<span class=\"hidden-char\">U+{:04X}</span>", u32::from(hidden))?;
                }
                plain => f.write_char(plain)?,
            }
        }
        Ok(())
    }
}

impl HtmlSafe for Foreign<'_> {}

/// Returns whether a text has characters other than line breaks that are shown by their names.
pub(crate) fn has_hidden(text: &str) -> bool {
    text.chars().any(|character| !matches!(character, '\n' | '\t') && is_hidden(character))
}

/// Returns whether a character is invisible or changes how others are shown: controls, zero-width characters,
/// directional marks, separators of lines, variation selectors, tags, and the replacement of bytes that are no text.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffd}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        let shown = Foreign("<script>alert('x')</script>&\"").to_string();
        assert_eq!(shown, "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;");
    }

    #[test]
    fn what_cannot_be_seen_is_named() {
        for hidden in
            ['\0', '\r', '\u{1b}', '\u{85}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{feff}', '\u{fffd}']
        {
            let name = format!("U+{:04X}", u32::from(hidden));
            let shown = Foreign(&format!("a{hidden}b")).to_string();
            assert_eq!(shown, format!("a<span class=\"hidden-char\">{name}</span>b"));
        }
        assert_eq!(Foreign("a\tb\nü 漢 🙂").to_string(), "a\tb\nü 漢 🙂");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let (start, rest) = Foreign::cut("äöü", 2);
        assert_eq!(
            (start.to_string(), rest.map(|rest| rest.to_string())),
            ("äö".to_owned(), Some("ü".to_owned()))
        );
        assert!(Foreign::cut("äö", 2).1.is_none());
    }
}
