//! What a value in a body must be, field by field. Each rule answers with the parsed value or with what
//! is wrong, in words that follow the field's name.

use aggregates::email::{EMAIL_CHARS_MAX, Email};
use aggregates::role::{Role, UserStatus};
use aggregates::tenant::RETENTION_DAYS_MAX;
use aggregates::text;
use secrecy::SecretString;
use serde_json::Value;

use crate::secrets::passwords::{PASSWORD_BYTES_MAX, Passwords};
use crate::secrets::token::TOKEN_CHARS_MAX;

/// Largest integer of the contract: its clients have 32 bits.
pub(crate) const INTEGER_MAX: u32 = i32::MAX.unsigned_abs();

type Judged<T> = Result<T, String>;

/// Any text.
pub(crate) fn text(value: &Value) -> Judged<String> {
    borrowed(value).map(ToOwned::to_owned)
}

fn borrowed(value: &Value) -> Judged<&str> {
    value.as_str().ok_or_else(|| "must be a string".to_owned())
}

/// Text of a bounded length as it was sent, blanks included that will be trimmed.
fn bounded(value: &Value, chars_max: usize) -> Judged<&str> {
    let text = borrowed(value)?;
    if text.chars().count() > chars_max {
        return Err(text::TextProblem::TooLong(chars_max).to_string());
    }
    Ok(text)
}

/// A name that is not blank.
pub(crate) fn name(value: &Value, chars_max: usize) -> Judged<String> {
    text::name(bounded(value, chars_max)?, chars_max).map_err(|problem| problem.to_string())
}

/// A label, which may be empty.
pub(crate) fn label(value: &Value) -> Judged<String> {
    text::label(borrowed(value)?, text::NAME_CHARS_MAX).map_err(|problem| problem.to_string())
}

/// An email.
pub(crate) fn email(value: &Value) -> Judged<Email> {
    Email::parse(bounded(value, EMAIL_CHARS_MAX)?).map_err(|problem| problem.to_string())
}

/// A password to log in with.
pub(crate) fn password(value: &Value) -> Judged<SecretString> {
    let password = borrowed(value)?;
    if password.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("must be at most {PASSWORD_BYTES_MAX} bytes"));
    }
    Ok(password.into())
}

/// A password to be set.
pub(crate) fn new_password(value: &Value, passwords: &Passwords) -> Judged<SecretString> {
    let password = password(value)?;
    passwords.check(&password).map_err(|problem| problem.to_string())?;
    Ok(password)
}

/// A token as it is presented.
pub(crate) fn token(value: &Value) -> Judged<SecretString> {
    token_text(borrowed(value)?).map(SecretString::from)
}

/// A token as it is presented, in a body or in a path.
pub(crate) fn token_text(token: &str) -> Judged<&str> {
    if token.trim().is_empty() {
        Err("must not be blank".to_owned())
    } else if token.chars().any(char::is_control) {
        Err("must not contain control characters".to_owned())
    } else if token.chars().count() > TOKEN_CHARS_MAX {
        Err(format!("must be at most {TOKEN_CHARS_MAX} characters"))
    } else {
        Ok(token)
    }
}

/// `true` or `false`.
pub(crate) fn boolean(value: &Value) -> Judged<bool> {
    value.as_bool().ok_or_else(|| "must be true or false".to_owned())
}

/// A whole number within bounds, as a number or as a string.
pub(crate) fn integer(value: &Value, min: u32, max: u32) -> Judged<u32> {
    let number = whole_number(value).ok_or_else(|| format!("must be a whole number from {min} to {max}"))?;
    u32::try_from(number)
        .ok()
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

/// A whole number from 1.
pub(crate) fn positive(value: &Value) -> Judged<u32> {
    integer(value, 1, INTEGER_MAX)
}

/// Days that something is kept.
pub(crate) fn retention_days(value: &Value) -> Judged<u32> {
    integer(value, 1, RETENTION_DAYS_MAX)
}

/// A role, by name in any case or by number.
pub(crate) fn role(value: &Value) -> Judged<Role> {
    named_or_numbered(value, Role::from_name, Role::from_number)
        .ok_or_else(|| "must be Developer (0), Admin (1), Owner (10) or Viewer (20)".to_owned())
}

/// The state of a user, by name in any case or by number.
pub(crate) fn user_status(value: &Value) -> Judged<UserStatus> {
    named_or_numbered(value, UserStatus::from_name, UserStatus::from_number)
        .ok_or_else(|| "must be Active (0) or Inactive (1)".to_owned())
}

fn named_or_numbered<T>(
    value: &Value,
    by_name: impl FnOnce(&str) -> Option<T>,
    by_number: impl FnOnce(i64) -> Option<T>,
) -> Option<T> {
    match whole_number(value) {
        Some(number) => by_number(number),
        None => by_name(value.as_str()?),
    }
}

/// JSON knows one kind of number, so `5.0` is as whole as `5`.
#[expect(clippy::cast_possible_truncation, reason = "what is not exactly an integer is filtered out")]
fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64().or_else(|| {
            let float = number.as_f64()?;
            (float.fract() == 0.0 && float.abs() < 9.0e15).then_some(float as i64)
        }),
        Value::String(text) => decimal(text),
        _ => None,
    }
}

/// The number that a text spells plainly: no sign but a minus, no needless zeros, no blanks.
pub(crate) fn decimal(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_whole_number_comes_as_a_number_or_as_a_string() {
        for value in [json!(5), json!("5"), json!(5.0), json!(5e0)] {
            assert_eq!(positive(&value), Ok(5), "{value}");
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
            assert_eq!(
                positive(&value),
                Err("must be a whole number from 1 to 2147483647".to_owned()),
                "{value}"
            );
        }
        assert_eq!(positive(&json!(2_147_483_647)), Ok(INTEGER_MAX));
    }

    #[test]
    fn an_enum_comes_by_name_in_any_case_or_by_number() {
        for value in [json!("owner"), json!("OWNER"), json!(10), json!("10")] {
            assert_eq!(role(&value), Ok(Role::Owner), "{value}");
        }
        for value in [json!("boss"), json!(2), json!(-1), json!(""), json!([]), json!(true), json!("1O")] {
            assert!(role(&value).is_err(), "{value}");
        }
        assert_eq!(user_status(&json!("inactive")), Ok(UserStatus::Inactive));
        assert_eq!(user_status(&json!(2)), Err("must be Active (0) or Inactive (1)".to_owned()));
    }

    #[test]
    fn tokens_and_passwords_are_bounded() {
        assert!(token(&json!("x".repeat(512))).is_ok());
        for value in
            [json!("x".repeat(513)), json!(""), json!("  "), json!("a\nb"), json!("a\u{0}b"), json!(1)]
        {
            assert!(token(&value).is_err(), "{value}");
        }
        assert!(password(&json!(" ")).is_ok(), "a password is whatever its owner says it is");
        assert!(password(&json!("é".repeat(513))).is_err());
    }
}
