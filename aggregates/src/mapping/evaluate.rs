//! From the values found in a payload to the mapped object.

use super::compact::{write_string_content, write_value};
use super::document::{Found, string_content};
use super::paths::Place;
use super::problem::shortened;
use super::{COPIED_BYTES_MAX, Entry, Shape};
use crate::payload::PayloadProblem;

/// What a mapping makes of a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The mapped object: compact JSON, its keys in the order of the mapping.
    pub bytes: Vec<u8>,
    /// The keys that were left out because the payload has nothing for them, in the order of the mapping.
    pub missing: Vec<String>,
}

/// Why a mapping makes nothing of a payload. The payload itself is delivered then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingFailure {
    /// What came in is no payload to begin with.
    #[error("the payload cannot be read: {0}")]
    Payload(#[from] PayloadProblem),
    /// A sum beyond the largest number there is.
    #[error("the sum for key {} is too large for a number", shortened(.key))]
    SumTooLarge {
        /// The key of the mapping.
        key: String,
    },
    /// More text than [`COPIED_BYTES_MAX`] allows.
    #[error(
        "the result is too large: beyond the payload's own size, a mapping may copy {COPIED_BYTES_MAX} bytes"
    )]
    TooLarge,
}

/// Evaluates the entries of a mapping, copying at most `copied_bytes_max` of what was found.
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

/// What stops an evaluation.
enum Overrun {
    Size,
    Sum,
}

/// The value of an expression.
enum Value<'a> {
    Copy(&'a str),
    Sum(String),
    /// What goes between the quotes, escapes as they were.
    Text(String),
}

struct Evaluation<'e, 'a, 'p> {
    found: &'e Found<'a, 'p>,
    /// Everything is paid for by the length it has in the payload. So the limit bounds not only the result
    /// but also the work, of which adding numbers and leaving out blanks would otherwise need their own.
    copied_bytes_left: usize,
}

impl<'a> Evaluation<'_, 'a, '_> {
    /// Writes the value of an entry, or answers false if it has none.
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

    fn value(&mut self, operands: &[Place]) -> Result<Option<Value<'a>>, Overrun> {
        let texts = operands.iter().map(|place| self.found.text(*place).filter(|text| *text != "null"));
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

/// Folds numbers and strings from left to right: numbers add up until a string appears, from then on the
/// text of everything is joined. A number that was not added to anything keeps its text.
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

/// Adds up numbers: whole ones exactly while 64 bits hold them, anything else as a 64-bit float.
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

/// The shortest text that reads back as the same float. Bytes are signed and compared, so this does not
/// leave the choice of notation to a library that may change its mind.
fn float_text(float: f64) -> String {
    /// From here on not every whole number is a float, and an exponent says that digits may be lost.
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
