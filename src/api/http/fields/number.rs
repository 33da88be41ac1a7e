//! Fields that are whole numbers, sent as a number or as its digits in a string.

use aggregates::portal_link::PORTAL_LINK_VALIDITY_MAX;
use aggregates::tenant::RETENTION_DAYS_MAX;
use serde_json::Value;
use utoipa::openapi::schema::{AnyOfBuilder, ObjectBuilder, Type};

use super::{field, string};

/// Largest integer of the contract: its clients have 32 bits.
const INTEGER_MAX: u32 = i32::MAX.unsigned_abs();

/// Longest validity of an invite, in days.
const VALIDITY_DAYS_MAX: u32 = 30;

/// Longest time for which a replaced webhook secret may keep signing, in seconds: 30 days. With a longer one,
/// replacing a leaked secret would protect nothing.
const OVERLAP_SECONDS_MAX: u32 = 30 * 86_400;

/// Longest validity of a portal link, in seconds.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "90 days are a small number")]
const PORTAL_LINK_SECONDS_MAX: u32 = PORTAL_LINK_VALIDITY_MAX.num_seconds() as u32;

field! {
    /// Whole number from 1.
    PositiveNumber: u32 {
        schema: number_schema(INTEGER_MAX),
        parse: |value| number(value, INTEGER_MAX),
    }
    /// Days for which an invite is valid.
    ValidityDays: u32 {
        schema: number_schema(VALIDITY_DAYS_MAX),
        parse: |value| number(value, VALIDITY_DAYS_MAX),
    }
    /// Seconds for which a replaced webhook secret keeps signing.
    OverlapSeconds: u32 {
        schema: number_schema(OVERLAP_SECONDS_MAX),
        parse: |value| number(value, OVERLAP_SECONDS_MAX),
    }
    /// Seconds after which a portal link expires.
    PortalLinkSeconds: u32 {
        schema: number_schema(PORTAL_LINK_SECONDS_MAX),
        parse: |value| number(value, PORTAL_LINK_SECONDS_MAX),
    }
    /// Days for which something is kept; `null`: without limit.
    RetentionDays: Option<u32> {
        schema: number_schema(RETENTION_DAYS_MAX),
        parse: |value| number(value, RETENTION_DAYS_MAX).map(Some),
        null: None,
    }
}

/// Reads a whole number from 1 to `max`.
fn number(value: &Value, max: u32) -> Result<u32, String> {
    whole_number(value)
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (1..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from 1 to {max}"))
}

/// Reads a whole number. JSON has one kind of number, so `5.0` is as whole as `5`.
#[expect(clippy::cast_possible_truncation, reason = "what is not exactly an integer is filtered out")]
pub(super) fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() < 9.0e15).then_some(float as i64)
        }),
        Value::String(text) => decimal(text),
        _ => None,
    }
}

/// Reads a number in its shortest decimal form: without leading zeros, white space or a plus sign.
pub(crate) fn decimal(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn number_schema(max: u32) -> AnyOfBuilder {
    let number =
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1_i64)).maximum(Some(i64::from(max)));
    let digits = string(None).pattern(Some(digits_up_to(max)));
    AnyOfBuilder::new().item(number).item(digits).examples([5])
}

/// Regular expression for the decimal forms of the numbers from 1 to `max`.
fn digits_up_to(max: u32) -> String {
    let max = max.to_string();
    let any = |count: usize| match count {
        0 => String::new(),
        1 => r"\d".to_owned(),
        count => format!(r"\d{{{count}}}"),
    };
    let mut alternatives = match max.len() {
        1 => vec![],
        2 => vec!["[1-9]".to_owned()],
        3 => vec![r"[1-9]\d?".to_owned()],
        length => vec![format!(r"[1-9]\d{{0,{}}}", length - 2)],
    };
    // As long as `max`, and equal to it up to some digit that is less.
    for (index, digit) in max.bytes().enumerate() {
        let least = if index == 0 { b'1' } else { b'0' };
        let greatest = if index + 1 == max.len() { digit } else { digit - 1 };
        let class = match greatest.checked_sub(least) {
            None => continue,
            Some(0) => char::from(least).to_string(),
            Some(1) => format!("[{}{}]", char::from(least), char::from(greatest)),
            Some(_) => format!("[{}-{}]", char::from(least), char::from(greatest)),
        };
        alternatives.push(format!("{}{class}{}", &max[..index], any(max.len() - index - 1)));
    }
    format!("^({})$", alternatives.join("|"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_whole_number_comes_as_a_number_or_as_a_string() {
        for value in [json!(5), json!("5"), json!(5.0), json!(5e0)] {
            assert_eq!(number(&value, INTEGER_MAX), Ok(5), "{value}");
        }
        for value in [
            json!(0),
            json!(-1),
            json!(5.5),
            json!("5.0"),
            json!(" 5"),
            json!("+5"),
            json!("05"),
            json!(""),
            json!(true),
            json!([5]),
            json!({}),
            json!(2_147_483_648_u64),
            json!(u64::MAX),
            json!(1e300),
            json!("99999999999999999999"),
        ] {
            let refusal = Err("must be a whole number from 1 to 2147483647".to_owned());
            assert_eq!(number(&value, INTEGER_MAX), refusal, "{value}");
        }
        assert_eq!(number(&json!(2_147_483_647), INTEGER_MAX), Ok(INTEGER_MAX));
    }

    #[test]
    fn the_pattern_allows_the_numbers_up_to_the_maximum() {
        for (max, pattern) in [
            (30, r"^([1-9]|[12]\d|30)$"),
            (OVERLAP_SECONDS_MAX, r"^([1-9]\d{0,5}|1\d{6}|2[0-4]\d{5}|25[0-8]\d{4}|259[01]\d{3}|2592000)$"),
            (RETENTION_DAYS_MAX, r"^([1-9]\d{0,3}|[12]\d{4}|3[0-5]\d{3}|36[0-4]\d{2}|36500)$"),
            (7, "^([1-7])$"),
        ] {
            assert_eq!(digits_up_to(max), pattern);
        }
    }
}
