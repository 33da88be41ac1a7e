//! Reading values out of the text of a payload without building a tree of it.
//!
//! The text is known to be JSON (see [`crate::payload`]), so reading it only means to find where things
//! begin and end. Values stay slices of the text, which is how numbers and the order of names survive.
//! Given text that is not JSON after all, this finds nonsense, but it ends and does not panic.

use super::paths::{Paths, Place};
use crate::payload::string_length;

/// The values a payload holds at the places of a tree.
pub(super) struct Found<'a, 'p> {
    paths: &'p Paths,
    values: Vec<Option<Value<'a>>>,
}

/// A repeated name replaces what an earlier one held, with everything that was found beneath it. Throwing
/// that away at each repetition could cost far more than reading the payload. So each reading of a value has
/// a number, and what was found inside a value counts only while that reading of it does.
#[derive(Clone, Copy)]
struct Value<'a> {
    text: &'a str,
    reading: usize,
    inside: usize,
}

impl<'a, 'p> Found<'a, 'p> {
    /// Walks over the payload once.
    pub(super) fn read(payload: &'a str, paths: &'p Paths) -> Self {
        let found = Self { paths, values: vec![None; paths.len()] };
        let mut walk = Walk { rest: payload, readings: 0, found };
        walk.value(Place::ROOT, 0);
        walk.found
    }

    /// The text of the value at a place, if the payload has one there.
    pub(super) fn text(&self, place: Place) -> Option<&'a str> {
        let found = self.values[place.number()]?;
        let (mut place, mut value) = (place, found);
        while let Some(parent) = self.paths.parent(place) {
            let container = self.values[parent.number()]?;
            if container.reading != value.inside {
                return None;
            }
            (place, value) = (parent, container);
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
    /// Reads the value that comes next, as the one at `place`. Nests as deep as the tree, not the payload.
    fn value(&mut self, place: Place, inside: usize) {
        self.readings += 1;
        let reading = self.readings;
        let start = self.skip_blanks();
        match start.as_bytes().first() {
            Some(b'{') if self.found.paths.has_properties(place) => self.object(place, reading),
            Some(b'[') if self.found.paths.has_elements(place) => self.array(place, reading),
            _ => self.skip_value(),
        }
        let text = &start[..start.len() - self.rest.len()];
        self.found.values[place.number()] = Some(Value { text, reading, inside });
    }

    fn object(&mut self, place: Place, reading: usize) {
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
                    match self.property(place, name) {
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

    fn array(&mut self, place: Place, reading: usize) {
        self.skip(1);
        let mut index = 0;
        loop {
            match self.skip_blanks().as_bytes().first() {
                None => return,
                Some(b']') => return self.skip(1),
                Some(b',') => self.skip(1),
                Some(_) => {
                    match self.found.paths.element(place, index) {
                        Some(element) => self.value(element, reading),
                        None => self.skip_value(),
                    }
                    index += 1;
                }
            }
        }
    }

    /// The place that a name of the payload, escapes and all, leads to.
    fn property(&self, place: Place, name: &str) -> Option<Place> {
        if !name.contains('\\') {
            return self.found.paths.property(place, name);
        }
        // Half of a surrogate pair fails here. No mapping can name that, so it leads nowhere.
        let name = serde_json::from_str::<String>(&format!("\"{name}\"")).ok()?;
        self.found.paths.property(place, &name)
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

/// Splits text that starts with a string into what is between the quotes, escapes and all, and what follows.
pub(super) fn split_string(text: &str) -> (&str, &str) {
    let (string, after) = text.split_at(string_length(text.as_bytes()));
    (string_content(string), after)
}

/// What is between the quotes of a string, escapes and all.
pub(super) fn string_content(string: &str) -> &str {
    string.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::expression::Expression;
    use super::super::paths::PathsBuilder;
    use super::*;
    use proptest::prelude::*;

    fn read(payload: &str, expressions: &[&str]) -> Vec<Option<String>> {
        let mut builder = PathsBuilder::new();
        let places = expressions.iter().map(|text| {
            let mut expression = Expression::parse(text).expect("the expression is sound");
            builder.add(expression.operands.remove(0))
        });
        let places = places.collect::<Vec<_>>();
        let paths = builder.build();
        let found = Found::read(payload, &paths);
        places.into_iter().map(|place| found.text(place).map(str::to_owned)).collect()
    }

    #[test]
    fn a_value_and_what_is_inside_it_are_found_in_one_walk() {
        let found = read(r#" { "a" : { "b" : [ 1 , 2.50 ] } } "#, &["a", "a:b", "a:b[1]", "a:b[2]"]);
        let expected = [Some(r#"{ "b" : [ 1 , 2.50 ] }"#), Some("[ 1 , 2.50 ]"), Some("2.50"), None];
        assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn a_repeated_name_replaces_all_that_was_found_under_the_first() {
        let found = read(r#"{"a":{"b":{"c":1}},"x":0,"a":{"b":2}}"#, &["a:b:c", "a:b", "a", "x"]);
        let expected = [None, Some("2"), Some(r#"{"b":2}"#), Some("0")];
        assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn names_are_compared_by_meaning_not_by_escapes() {
        let found = read(r#"{"caf\u00e9":1,"q\"":2,"\ud800":3}"#, &["café", "q\""]);
        assert_eq!(found, [Some("1".to_owned()), Some("2".to_owned())]);
    }

    proptest! {
        /// The text was checked before, yet nothing may hang or panic if that check were ever forgotten.
        #[test]
        fn text_that_is_not_json_is_survived(text in r#"[{}\[\]":,\\a0 é]{0,40}"#) {
            read(&text, &["a", "a:a", "a[0]", "[0][0]:a", ":é"]);
        }
    }
}
