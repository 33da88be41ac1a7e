//! Fields that are texts: names, email addresses, passwords, tokens.

use aggregates::email::{EMAIL_CHARS_MAX, Email};
use aggregates::sealed::TokenHash;
use aggregates::text::{
    self, API_KEY_NAME_CHARS_MAX, ERASURE_REASON_CHARS_MAX, IDEMPOTENCY_KEY_CHARS_MAX, NAME_CHARS_MAX,
    TextProblem,
};
use secrecy::SecretString;
use serde_json::Value;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat};

use super::{Field, field, properties, string};
use crate::secrets::passwords::{PASSWORD_BYTES_MAX, Passwords};
use crate::secrets::recovery_codes;
use crate::secrets::token::TOKEN_CHARS_MAX;
use crate::secrets::totp::{CODE_DIGITS, TotpCode};

field! {
    /// Email address of a user.
    EmailText: Email {
        schema: string(Some(EMAIL_CHARS_MAX))
            .pattern(Some(r"^\s*[^\s@\u0000-\u001f\u007f-\u009f][^@\u0000-\u001f\u007f-\u009f]*@[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f]\s*$"))
            .description(Some("Email address, unique in the installation. It is trimmed and converted to lower case."))
            .examples(["owner@acme.com"]),
        parse: |value| Email::parse(bounded(value, EMAIL_CHARS_MAX)?).map_err(|problem| problem.to_string()),
    }
    /// Name of a tenant.
    NameText: String {
        schema: name_schema(NAME_CHARS_MAX).examples(["Acme Inc"]),
        parse: |value| name(value, NAME_CHARS_MAX),
    }
    /// Name of an API key.
    ApiKeyNameText: String {
        schema: name_schema(API_KEY_NAME_CHARS_MAX).examples(["Production Key"]),
        parse: |value| name(value, API_KEY_NAME_CHARS_MAX),
    }
    /// Label of a portal link.
    PortalLinkLabelText: String {
        schema: name_schema(NAME_CHARS_MAX).examples(["Shop Ltd"]),
        parse: |value| name(value, NAME_CHARS_MAX),
    }
    /// Reason for erasing payloads.
    ErasureReasonText: String {
        schema: name_schema(ERASURE_REASON_CHARS_MAX)
            .description(Some(
                "Reason, which is trimmed and must not be blank. It is recorded permanently, so it should name no person.",
            ))
            .examples(["Request 2026-114 of a data subject"]),
        parse: |value| name(value, ERASURE_REASON_CHARS_MAX),
    }
    /// Label of a sender, which may be empty.
    LabelText: String {
        schema: string(Some(NAME_CHARS_MAX))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*$"))
            .examples(["GitHub Webhooks"]),
        parse: |value| text::label(any_text(value)?, NAME_CHARS_MAX).map_err(|problem| problem.to_string()),
    }
    /// Token that a client presents.
    TokenText: SecretString {
        schema: string(Some(TOKEN_CHARS_MAX))
            .pattern(Some(r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$")),
        parse: |value| token(any_text(value)?).map(SecretString::from),
    }
    /// Password to log in with.
    PasswordText: SecretString {
        schema: string(Some(PASSWORD_BYTES_MAX))
            .min_length(Some(1))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
            .description(Some("Password of at most 1,024 bytes. The installation may require a minimum length."))
            .examples(["correct horse battery staple"]),
        parse: |value, _context: ()| password(value),
    }
}

field! {
    /// Password that the user has now.
    CurrentPasswordText: SecretString {
        schema: string(Some(PASSWORD_BYTES_MAX))
            .min_length(Some(1))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password))),
        parse: |value| password(value),
    }
}

field! {
    /// Code of an authenticator app.
    TotpCodeText: TotpCode {
        schema: string(Some(CODE_DIGITS)).pattern(Some("^[0-9]{6}$")).examples(["492039"]),
        parse: |value| TotpCode::parse(any_text(value)?).ok_or_else(|| "must be six digits".to_owned()),
    }
    /// Recovery code of a second factor.
    RecoveryCodeText: TokenHash {
        schema: string(Some(29))
            .pattern(Some("^[A-Za-z2-7]{4}(-?[A-Za-z2-7]{4}){5}$"))
            .examples(["QRX3-VVEC-7HNT-K5WA-2PLD-ZM4Y"]),
        parse: |value| recovery_codes::hash(any_text(value)?)
            .ok_or_else(|| "must be six groups of four letters and digits 2 to 7".to_owned()),
    }
}

/// With the password policy as its context a password is one to be set.
impl Field<Passwords> for PasswordText {
    type Value = SecretString;

    fn parse(value: &Value, passwords: &Passwords) -> Result<SecretString, String> {
        let password = password(value)?;
        passwords.check(&password).map_err(|problem| problem.to_string())?;
        Ok(password)
    }
}

impl<C> Field<C> for String {
    type Value = Self;

    fn parse(value: &Value, _: &C) -> Result<Self, String> {
        any_text(value).map(ToOwned::to_owned)
    }
}

impl<C> Field<C> for bool {
    type Value = Self;

    fn parse(value: &Value, _: &C) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| "must be true or false".to_owned())
    }
}

properties! { String, bool }

/// Returns the text of a value.
///
/// # Errors
/// The value is not a string.
pub(crate) fn any_text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "must be a string".to_owned())
}

/// Checks the form of a token, in a body or in a path.
///
/// # Errors
/// The token is blank, too long or has control characters.
pub(crate) fn token(token: &str) -> Result<&str, String> {
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

/// Checks the form of an idempotency key, in a header or in a query.
///
/// # Errors
/// The key is empty, too long or has control characters.
pub(crate) fn idempotency_key(key: &str) -> Result<&str, &'static str> {
    if key.is_empty() {
        Err("must not be empty")
    } else if key.chars().any(char::is_control) {
        Err("must not contain control characters")
    } else if key.chars().count() > IDEMPOTENCY_KEY_CHARS_MAX {
        Err("must be at most 255 characters")
    } else {
        Ok(key)
    }
}

/// The length is that of the text as it was sent, including white space that will be trimmed.
fn bounded(value: &Value, chars_max: usize) -> Result<&str, String> {
    let text = any_text(value)?;
    match text.chars().count() > chars_max {
        true => Err(TextProblem::TooLong(chars_max).to_string()),
        false => Ok(text),
    }
}

fn name(value: &Value, chars_max: usize) -> Result<String, String> {
    text::name(bounded(value, chars_max)?, chars_max).map_err(|problem| problem.to_string())
}

fn name_schema(chars_max: usize) -> ObjectBuilder {
    string(Some(chars_max))
        .pattern(Some(r"^\s*[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?\s*$"))
        .description(Some("Text without control characters. It is trimmed and must not be blank."))
}

fn password(value: &Value) -> Result<SecretString, String> {
    let password = any_text(value)?;
    if password.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(format!("must be at most {PASSWORD_BYTES_MAX} bytes"));
    }
    Ok(password.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_and_passwords_are_bounded() {
        let token = |value| <TokenText as Field<()>>::parse(&value, &());
        assert!(token(json!("x".repeat(512))).is_ok());
        for value in
            [json!("x".repeat(513)), json!(""), json!("  "), json!("a\nb"), json!("a\u{0}b"), json!(1)]
        {
            assert!(token(value.clone()).is_err(), "{value}");
        }
        assert!(password(&json!(" ")).is_ok(), "a password may be blank");
        assert!(password(&json!("é".repeat(513))).is_err());
    }
}
