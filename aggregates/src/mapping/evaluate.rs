//! Evaluation of the expressions of a mapping on the values found in a payload.

use super::compact::{write_string_content, write_value};
use super::document::{Found, string_content};
use super::paths::NodeId;
use super::problem::shortened;
use super::{COPIED_BYTES_MAX, Entry, Shape};
use crate::payload::PayloadProblem;

/// Result of applying a mapping to a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The mapped object: compact JSON, its keys in the order of the mapping.
    pub bytes: Vec<u8>,
    /// Keys that were left out because the payload has no value for them, in the order of the mapping.
    pub missing: Vec<String>,
}

/// Reason why a mapping cannot be applied to a payload. The payload is then delivered unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingFailure {
    #[error("the payload cannot be parsed: {0}")]
    Payload(#[from] PayloadProblem),
    /// A sum exceeds the largest finite 64-bit float.
    #[error("the sum for key {} is too large for a number", shortened(.key))]
    SumTooLarge { key: String },
    /// The mapping copies more than [`COPIED_BYTES_MAX`] bytes beyond the size of the payload.
    #[error(
        "the result is too large: beyond the payload's own size, a mapping may copy {COPIED_BYTES_MAX} bytes"
    )]
    TooLarge,
}

/// Evaluates the entries of a mapping, which may copy at most `copied_bytes_max` bytes of the values found.
pub(super) fn evaluate(
    entries: &[Entry],
    found: &Found<'_, '_>,
    copied_bytes_max: usize,
) -> Result<Applied, MappingFailure> {
    let mut evaluation = Evaluation { found, copied_bytes_left: copied_bytes_max };
    let (mut out, mut missing) = (String::from("{"), Vec::new());
    for entry in entries {
        let before = out.len();
        if before > 1 {
            out.push(',');
        }
        out.push_str(&entry.quoted_key);
        out.push(':');
        match evaluation.entry(entry, &mut out) {
            Ok(true) => {}
            Ok(false) => {
                out.truncate(before);
                missing.push(entry.key.clone());
            }
            Err(Overrun::Size) => return Err(MappingFailure::TooLarge),
            Err(Overrun::Sum) => return Err(MappingFailure::SumTooLarge { key: entry.key.clone() }),
        }
    }
    out.push('}');
    Ok(Applied { bytes: out.into_bytes(), missing })
}

/// Limit that an evaluation exceeds.
enum Overrun {
    Size,
    Sum,
}

/// The value of an expression.
enum Value<'a> {
    Copy(&'a str),
    Sum(String),
    /// Content of a string, with the escapes of the payload.
    Text(String),
}

struct Evaluation<'e, 'a, 'p> {
    found: &'e Found<'a, 'p>,
    /// Every value counts with its length in the payload. So the limit bounds not only the result but also the
    /// work: adding numbers and skipping white space need no limits of their own.
    copied_bytes_left: usize,
}

impl<'a> Evaluation<'_, 'a, '_> {
    /// Appends the value of an entry to `out`. Returns false if it has none; `out` may then end in a part of it.
    fn entry(&mut self, entry: &Entry, out: &mut String) -> Result<bool, Overrun> {
        match &entry.shape {
            Shape::One(operands) => match self.value(operands)? {
                Some(value) => value.write(out),
                None => return Ok(false),
            },
            Shape::Many(expressions) => {
                out.push('[');
                for (index, operands) in expressions.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    match self.value(operands)? {
                        Some(value) => value.write(out),
                        None => out.push_str("null"),
                    }
                }
                out.push(']');
            }
        }
        Ok(true)
    }

    fn value(&mut self, operands: &[NodeId]) -> Result<Option<Value<'a>>, Overrun> {
        let texts = operands.iter().map(|node| self.found.text(*node).filter(|text| *text != "null"));
        let Some(texts) = texts.collect::<Option<Vec<_>>>() else { return Ok(None) };
        if texts.len() > 1 && !texts.iter().all(|text| is_number(text) || is_string(text)) {
            return Ok(None);
        }
        for text in &texts {
            self.copied_bytes_left = self.copied_bytes_left.checked_sub(text.len()).ok_or(Overrun::Size)?;
        }
        match texts[..] {
            [only] => Ok(Some(Value::Copy(only))),
            _ => combine(&texts).map(Some),
        }
    }
}

/// Combines numbers and strings from left to right: numbers are added up to the first string, then the sum and the
/// text of the remaining operands are joined. A number that is not added to another keeps its text.
fn combine<'a>(texts: &[&str]) -> Result<Value<'a>, Overrun> {
    let numbers = texts.iter().take_while(|text| is_number(text)).count();
    let (added, joined) = texts.split_at(numbers);
    let sum = match added {
        [] => String::new(),
        [only] => (*only).to_owned(),
        _ => sum(added)?,
    };
    if joined.is_empty() {
        return Ok(Value::Sum(sum));
    }
    let mut text = sum;
    for next in joined {
        text.push_str(if is_string(next) { string_content(next) } else { next });
    }
    Ok(Value::Text(text))
}

/// Adds numbers: integers exactly while the sum fits 64 bits, from there on as 64-bit floats.
fn sum(numbers: &[&str]) -> Result<String, Overrun> {
    let mut numbers = numbers.iter().peekable();
    let mut whole = 0_i64;
    while let Some(sum) = numbers.peek().and_then(|text| whole.checked_add(text.parse().ok()?)) {
        whole = sum;
        numbers.next();
    }
    if numbers.peek().is_none() {
        return Ok(whole.to_string());
    }
    #[expect(clippy::cast_precision_loss, reason = "floats are for numbers that cannot be exact")]
    let sum = numbers.fold(whole as f64, |sum, text| sum + text.parse::<f64>().unwrap_or(f64::NAN));
    if sum.is_finite() { Ok(float_text(sum)) } else { Err(Overrun::Sum) }
}

/// Returns the shortest text that parses to the same float. The bytes are signed and compared, so the notation is
/// fixed here: a library could change it between versions.
fn float_text(float: f64) -> String {
    /// 2^53: above it not every integer is a float, and an exponent shows that digits may be lost.
    const EXACT_BELOW: f64 = 9_007_199_254_740_992.0;
    let plain = float == 0.0 || (1e-6..EXACT_BELOW).contains(&float.abs());
    if plain { format!("{float}") } else { format!("{float:e}") }
}

impl Value<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Copy(json) => write_value(json, out),
            Self::Sum(number) => out.push_str(number),
            Self::Text(content) => {
                out.push('"');
                write_string_content(content, out);
                out.push('"');
            }
        }
    }
}

fn is_string(json: &str) -> bool {
    json.starts_with('"')
}

fn is_number(json: &str) -> bool {
    json.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}
