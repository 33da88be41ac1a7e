//! A path of the mapping language by itself.

use super::document::Found;
use super::expression::{Expression, ExpressionProblem, ExpressionRule};
use super::paths::{NodeId, PathTree, PathTreeBuilder};

/// Path to one value of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadPath {
    paths: PathTree,
    node: NodeId,
}

impl PayloadPath {
    /// Parses a path, such as `items[0]:sku`.
    ///
    /// # Errors
    /// If it is not one path.
    pub fn parse(text: &str) -> Result<Self, ExpressionProblem> {
        let mut operands = Expression::parse(text)?.operands;
        let path = operands.pop().filter(|_| operands.is_empty()).ok_or_else(|| {
            let position = text.chars().skip(1).position(|letter| letter == '+').map_or(1, |index| index + 2);
            ExpressionProblem { position, rule: ExpressionRule::MoreThanOnePath }
        })?;
        let mut builder = PathTreeBuilder::new();
        let node = builder.add(path);
        Ok(Self { paths: builder.build(), node })
    }

    /// Returns the JSON text of the value at the path; `None`: the payload has none there.
    #[must_use]
    pub fn value<'a>(&self, payload: &'a str) -> Option<&'a str> {
        Found::read(payload, &self.paths).text(self.node)
    }
}
