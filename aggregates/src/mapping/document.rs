//! Extraction of values from the text of a payload, in one pass and without building a tree.
//!
//! The text is known to be valid JSON (see [`crate::payload`]), so reading it only means finding where values
//! begin and end. Values are slices of the text, which keeps the text of numbers and the order of names. For text
//! that is not JSON the result is meaningless, but reading ends and does not panic.

use super::paths::{NodeId, PathTree};
use crate::payload::string_length;

/// Values of a payload at the nodes of a path tree.
pub(super) struct Found<'a, 'p> {
    paths: &'p PathTree,
    values: Vec<Option<Value<'a>>>,
}

/// Value at a node, as it was read last.
///
/// A repeated property replaces the earlier one together with every value found inside it. Removing those at each
/// repetition could cost far more than reading the payload. Therefore each reading of a value has a number, and a
/// value counts only if `inside`, the number of the reading of its container, is that container's latest.
#[derive(Clone, Copy)]
struct Value<'a> {
    text: &'a str,
    reading: usize,
    inside: usize,
}

impl<'a, 'p> Found<'a, 'p> {
    /// Reads the payload once and records the values at the nodes of `paths`.
    pub(super) fn read(payload: &'a str, paths: &'p PathTree) -> Self {
        let found = Self { paths, values: vec![None; paths.len()] };
        let mut walk = Walk { rest: payload, readings: 0, found };
        walk.value(NodeId::ROOT, 0);
        walk.found
    }

    /// Returns the JSON text of the value at `node`; `None` if the payload has none there.
    pub(super) fn text(&self, node: NodeId) -> Option<&'a str> {
        let found = self.values[node.number()]?;
        let (mut node, mut value) = (node, found);
        while let Some(parent) = self.paths.parent(node) {
            let container = self.values[parent.number()]?;
            if container.reading != value.inside {
                return None;
            }
            (node, value) = (parent, container);
        }
        Some(found.text)
    }
}

struct Walk<'a, 'p> {
    rest: &'a str,
    readings: usize,
    found: Found<'a, 'p>,
}

impl<'a> Walk<'a, '_> {
    /// Reads the next value as the one at `node`. The recursion is as deep as the path tree, not as the payload.
    fn value(&mut self, node: NodeId, inside: usize) {
        self.readings += 1;
        let reading = self.readings;
        let start = self.skip_blanks();
        match start.as_bytes().first() {
            Some(b'{') if self.found.paths.has_properties(node) => self.object(node, reading),
            Some(b'[') if self.found.paths.has_elements(node) => self.array(node, reading),
            _ => self.skip_value(),
        }
        let text = &start[..start.len() - self.rest.len()];
        self.found.values[node.number()] = Some(Value { text, reading, inside });
    }

    fn object(&mut self, node: NodeId, reading: usize) {
        self.skip(1);
        loop {
            let start = self.skip_blanks();
            match start.as_bytes().first() {
                None => return,
                Some(b'}') => return self.skip(1),
                Some(b'"') => {
                    let (name, after) = split_string(start);
                    self.rest = after;
                    if self.skip_blanks().starts_with(':') {
                        self.skip(1);
                    }
                    match self.property(node, name) {
                        Some(property) => self.value(property, reading),
                        None => {
                            self.skip_blanks();
                            self.skip_value();
                        }
                    }
                }
                Some(_) => self.skip_character(),
            }
        }
    }

    fn array(&mut self, node: NodeId, reading: usize) {
        self.skip(1);
        let mut index = 0;
        loop {
            match self.skip_blanks().as_bytes().first() {
                None => return,
                Some(b']') => return self.skip(1),
                Some(b',') => self.skip(1),
                Some(_) => {
                    match self.found.paths.element(node, index) {
                        Some(element) => self.value(element, reading),
                        None => self.skip_value(),
                    }
                    index += 1;
                }
            }
        }
    }

    /// Returns the child of `node` for a property name that may contain escapes.
    fn property(&self, node: NodeId, name: &str) -> Option<NodeId> {
        if !name.contains('\\') {
            return self.found.paths.property(node, name);
        }
        // An unpaired surrogate fails here. No mapping can contain one, so no path matches.
        let name = serde_json::from_str::<String>(&format!("\"{name}\"")).ok()?;
        self.found.paths.property(node, &name)
    }

    fn skip_value(&mut self) {
        match self.rest.as_bytes().first() {
            Some(b'"') => self.rest = split_string(self.rest).1,
            Some(b'{' | b'[') => self.skip_container(),
            Some(_) => {
                self.skip_character();
                let end = self.rest.bytes().position(|byte| b",]} \t\n\r".contains(&byte));
                self.skip(end.unwrap_or(self.rest.len()));
            }
            None => {}
        }
    }

    fn skip_container(&mut self) {
        let mut depth = 0_usize;
        while let Some(next) = self.rest.bytes().position(|byte| b"\"{}[]".contains(&byte)) {
            self.skip(next);
            match self.rest.as_bytes()[0] {
                b'"' => {
                    self.rest = split_string(self.rest).1;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                _ => depth = depth.saturating_sub(1),
            }
            self.skip(1);
            if depth == 0 {
                return;
            }
        }
        self.rest = "";
    }

    fn skip_blanks(&mut self) -> &'a str {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest
    }

    fn skip_character(&mut self) {
        self.skip(self.rest.chars().next().map_or(0, char::len_utf8));
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
    }
}

/// Splits text that starts with a JSON string into the raw content of the string and the rest.
pub(super) fn split_string(text: &str) -> (&str, &str) {
    let (string, after) = text.split_at(string_length(text.as_bytes()));
    (string_content(string), after)
}

/// Returns the raw content of a JSON string: the text between the quotes.
pub(super) fn string_content(string: &str) -> &str {
    string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::expression::Expression;
    use super::super::paths::PathTreeBuilder;
    use super::*;
    use proptest::prelude::*;

    fn read(payload: &str, expressions: &[&str]) -> Vec<Option<String>> {
        let mut builder = PathTreeBuilder::new();
        let nodes = expressions.iter().map(|text| {
            let mut expression = Expression::parse(text).expect("the expression is sound");
            builder.add(expression.operands.remove(0))
        });
        let nodes = nodes.collect::<Vec<_>>();
        let paths = builder.build();
        let found = Found::read(payload, &paths);
        nodes.into_iter().map(|node| found.text(node).map(str::to_owned)).collect()
    }

    #[test]
    fn a_value_and_the_values_inside_it_are_found_in_one_pass() {
        let found = read(r#" { "a" : { "b" : [ 1 , 2.50 ] } } "#, &["a", "a:b", "a:b[1]", "a:b[2]"]);
        let expected = [Some(r#"{ "b" : [ 1 , 2.50 ] }"#), Some("[ 1 , 2.50 ]"), Some("2.50"), None];
        assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn a_repeated_name_replaces_every_value_found_under_the_first() {
        let found = read(r#"{"a":{"b":{"c":1}},"x":0,"a":{"b":2}}"#, &["a:b:c", "a:b", "a", "x"]);
        let expected = [None, Some("2"), Some(r#"{"b":2}"#), Some("0")];
        assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn names_are_compared_without_their_escapes() {
        let found = read(r#"{"caf\u00e9":1,"q\"":2,"\ud800":3}"#, &["café", "q\""]);
        assert_eq!(found, [Some("1".to_owned()), Some("2".to_owned())]);
    }

    proptest! {
        /// Even without the check that the text is JSON, reading must neither hang nor panic.
        #[test]
        fn text_that_is_not_json_does_not_panic(text in r#"[{}\[\]":,\\a0 é]{0,40}"#) {
            read(&text, &["a", "a:a", "a[0]", "[0][0]:a", ":é"]);
        }
    }
}
