//! Parser of expressions.
//!
//! ```text
//! expression = operand *( "+" operand )
//! operand    = path, white space around it ignored
//! path       = segment *( ":" segment )
//! segment    = name *( "[" index "]" )
//! name       = any text without ":" "[" "+"; it may be empty
//! index      = decimal digits, white space around them ignored; the first element is 0
//! ```
//!
//! A segment that consists of indexes only, as in `grid[0]:[1]`, applies to the value of the segment before it, so
//! it means the same as `grid[0][1]`. A `+` at the start of the expression belongs to the first name, as there is
//! no operand before it. Any other `+` separates operands, so a name with a `+` further in cannot be addressed.

use crate::payload::NESTING_MAX;

/// Operands to be added or joined. A single operand is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) operands: Vec<Path>,
}

/// Path from the root of a payload to one value.
pub(super) type Path = Vec<Step>;

/// Step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// To a property of an object.
    Name(String),
    /// To an element of an array; the first one is 0.
    Index(u32),
}

/// Reason why an expression cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("character {position}: {rule}")]
pub struct ExpressionProblem {
    /// Character at which the rule is broken; the first one is 1.
    pub position: usize,
    pub rule: ExpressionRule,
}

/// Rule that an expression breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionRule {
    /// `tags[0`
    #[error("this '[' has no matching ']' in its part of the path")]
    UnclosedBracket,
    /// `tags[x]`, `tags[]`, `tags[-1]`
    #[error("an index is a whole number, where 0 is the first element, as in tags[0]")]
    BadIndex,
    /// `tags[99999999999]`
    #[error("the index is greater than {}", u32::MAX)]
    IndexTooLarge,
    /// `tags[0]zzz`
    #[error("only '[', ':' or '+' may follow ']'")]
    TextAfterBracket,
    /// `price+tax` where one path is expected.
    #[error("this must be one path, without '+'")]
    MoreThanOnePath,
    /// `a:a:a:...`, deeper than a payload can be.
    #[error("the path has more than {NESTING_MAX} steps, deeper than a payload may be")]
    TooManySteps,
}

impl Expression {
    /// Parses an expression.
    pub(super) fn parse(text: &str) -> Result<Self, ExpressionProblem> {
        let operands = Parser { text }.expression();
        operands.map(|operands| Self { operands }).map_err(|(offset, rule)| {
            let position = text[..offset].chars().count() + 1;
            ExpressionProblem { position, rule }
        })
    }
}

/// Byte offset at which a rule is broken, and the rule.
type Broken = (usize, ExpressionRule);

struct Parser<'a> {
    text: &'a str,
}

impl<'a> Parser<'a> {
    fn expression(&self) -> Result<Vec<Path>, Broken> {
        let start = self.offset(self.text.trim_start());
        let mut operands = Vec::new();
        let mut rest = &self.text[start..];
        // The first character is never a separator.
        let mut searched = rest.chars().next().map_or(0, char::len_utf8);
        while let Some(plus) = rest[searched..].find('+') {
            let (operand, after) = rest.split_at(searched + plus);
            operands.push(self.path(operand.trim())?);
            rest = &after[1..];
            searched = 0;
        }
        operands.push(self.path(rest.trim())?);
        Ok(operands)
    }

    fn path(&self, text: &'a str) -> Result<Path, Broken> {
        let mut steps = Path::new();
        for segment in text.split(':') {
            self.segment(segment, &mut steps)?;
            if steps.len() > NESTING_MAX {
                return Err((self.offset(segment), ExpressionRule::TooManySteps));
            }
        }
        Ok(steps)
    }

    fn segment(&self, text: &'a str, steps: &mut Path) -> Result<(), Broken> {
        let (name, mut indexes) = text.split_at(text.find('[').unwrap_or(text.len()));
        if !name.is_empty() || indexes.is_empty() {
            steps.push(Step::Name(name.to_owned()));
        }
        while !indexes.is_empty() {
            let Some(inside) = indexes.strip_prefix('[') else {
                return Err((self.offset(indexes), ExpressionRule::TextAfterBracket));
            };
            let Some((index, rest)) = inside.split_once(']') else {
                return Err((self.offset(indexes), ExpressionRule::UnclosedBracket));
            };
            steps.push(Step::Index(self.index(index)?));
            indexes = rest;
        }
        Ok(())
    }

    fn index(&self, text: &'a str) -> Result<u32, Broken> {
        let digits = text.trim();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err((self.offset(digits), ExpressionRule::BadIndex));
        }
        digits.parse().map_err(|_| (self.offset(digits), ExpressionRule::IndexTooLarge))
    }

    /// Returns the byte offset of `part`, which must be a slice of the text.
    fn offset(&self, part: &str) -> usize {
        part.as_ptr().addr() - self.text.as_ptr().addr()
    }
}
