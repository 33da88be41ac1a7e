//! All paths of a mapping, merged into one tree.
//!
//! With the tree, one walk over a payload finds every value that a mapping asks for, however many
//! expressions ask for it and whether or not one path is the beginning of another.

use super::expression::{Path, Step};
use std::collections::HashMap;

/// The tree. It is never empty: its first place is the payload's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paths {
    places: Vec<PlaceInPayload>,
}

/// Names a place in the tree it was handed out by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(usize);

impl Place {
    pub(super) const ROOT: Self = Self(0);

    /// For tables that hold something for each place.
    pub(super) fn number(self) -> usize {
        self.0
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct PlaceInPayload {
    parent: Option<Place>,
    properties: Vec<(String, Place)>,
    elements: Vec<(u32, Place)>,
}

impl Paths {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn parent(&self, place: Place) -> Option<Place> {
        self.places[place.0].parent
    }

    pub(super) fn has_properties(&self, place: Place) -> bool {
        !self.places[place.0].properties.is_empty()
    }

    pub(super) fn has_elements(&self, place: Place) -> bool {
        !self.places[place.0].elements.is_empty()
    }

    pub(super) fn property(&self, place: Place, name: &str) -> Option<Place> {
        let properties = &self.places[place.0].properties;
        let found = properties.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        Some(properties[found].1)
    }

    pub(super) fn element(&self, place: Place, index: usize) -> Option<Place> {
        let index = u32::try_from(index).ok()?;
        let elements = &self.places[place.0].elements;
        let found = elements.binary_search_by_key(&index, |(other, _)| *other).ok()?;
        Some(elements[found].1)
    }
}

/// Builds the tree path by path.
pub(super) struct PathsBuilder {
    places: Vec<PlaceInPayload>,
    /// What `places` will say once it is sorted: a mapping may name tens of thousands of paths, and keeping
    /// the lists sorted all along would cost the square of that.
    steps: HashMap<(Place, Step), Place>,
}

impl PathsBuilder {
    pub(super) fn new() -> Self {
        Self { places: vec![PlaceInPayload::default()], steps: HashMap::new() }
    }

    /// Adds a path unless it is there, and names the place it leads to.
    pub(super) fn add(&mut self, path: Path) -> Place {
        path.into_iter().fold(Place::ROOT, |parent, step| {
            *self.steps.entry((parent, step)).or_insert_with(|| {
                self.places.push(PlaceInPayload { parent: Some(parent), ..PlaceInPayload::default() });
                Place(self.places.len() - 1)
            })
        })
    }

    pub(super) fn build(self) -> Paths {
        let mut places = self.places;
        for ((parent, step), place) in self.steps {
            let PlaceInPayload { properties, elements, .. } = &mut places[parent.0];
            match step {
                Step::Name(name) => properties.push((name, place)),
                Step::Index(index) => elements.push((index, place)),
            }
        }
        for PlaceInPayload { properties, elements, .. } in &mut places {
            properties.sort_unstable();
            elements.sort_unstable();
        }
        Paths { places }
    }
}
