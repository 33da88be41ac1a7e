//! The paths of a mapping, merged into one tree.
//!
//! With the tree, one pass over a payload finds every value that a mapping refers to, however many expressions
//! refer to it and even if one path is a prefix of another.

use super::expression::{Path, Step};
use std::collections::HashMap;

/// Tree of paths. It is never empty: its first node is the root of the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PathTree {
    nodes: Vec<Node>,
}

/// Identifies a node of the tree that returned it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(usize);

impl NodeId {
    pub(super) const ROOT: Self = Self(0);

    /// Index for tables with one entry for each node.
    pub(super) fn number(self) -> usize {
        self.0
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    parent: Option<NodeId>,
    /// Sorted by name.
    properties: Vec<(String, NodeId)>,
    /// Sorted by index.
    elements: Vec<(u32, NodeId)>,
}

impl PathTree {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.nodes[node.0].parent
    }

    pub(super) fn has_properties(&self, node: NodeId) -> bool {
        !self.nodes[node.0].properties.is_empty()
    }

    pub(super) fn has_elements(&self, node: NodeId) -> bool {
        !self.nodes[node.0].elements.is_empty()
    }

    pub(super) fn property(&self, node: NodeId, name: &str) -> Option<NodeId> {
        let properties = &self.nodes[node.0].properties;
        let found = properties.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        Some(properties[found].1)
    }

    pub(super) fn element(&self, node: NodeId, index: usize) -> Option<NodeId> {
        let index = u32::try_from(index).ok()?;
        let elements = &self.nodes[node.0].elements;
        let found = elements.binary_search_by_key(&index, |(other, _)| *other).ok()?;
        Some(elements[found].1)
    }
}

/// Builder of a [`PathTree`], path by path.
pub(super) struct PathTreeBuilder {
    nodes: Vec<Node>,
    /// Children by step. They are sorted into the nodes at the end: a mapping may have tens of thousands of paths,
    /// and inserting each into sorted lists would take quadratic time.
    children: HashMap<(NodeId, Step), NodeId>,
}

impl PathTreeBuilder {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default()], children: HashMap::new() }
    }

    /// Adds a path, unless the tree has it, and returns the node it ends at.
    pub(super) fn add(&mut self, path: Path) -> NodeId {
        path.into_iter().fold(NodeId::ROOT, |parent, step| {
            *self.children.entry((parent, step)).or_insert_with(|| {
                self.nodes.push(Node { parent: Some(parent), ..Node::default() });
                NodeId(self.nodes.len() - 1)
            })
        })
    }

    pub(super) fn build(self) -> PathTree {
        let mut nodes = self.nodes;
        for ((parent, step), child) in self.children {
            let Node { properties, elements, .. } = &mut nodes[parent.0];
            match step {
                Step::Name(name) => properties.push((name, child)),
                Step::Index(index) => elements.push((index, child)),
            }
        }
        for Node { properties, elements, .. } in &mut nodes {
            properties.sort_unstable();
            elements.sort_unstable();
        }
        PathTree { nodes }
    }
}
