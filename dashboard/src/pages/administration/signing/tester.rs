//! A tester of signatures: whether those of a delivery are right, and why not.

use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};

use super::show;
use crate::api::problem::ApiError;
use crate::api::tenant::SignedPayload;
use crate::clock;
use crate::pages::Refusal;
use crate::session::Session;
use crate::text::times::duration;
use crate::web::error::PageError;
use crate::web::form::Form;

const PLAIN: &str = "X-HookSentry-Signature";
const STANDARD: &str = "webhook-signature";
/// Age at which receivers refuse the standard signature.
const AGE_MAX: TimeDelta = TimeDelta::minutes(5);
const HEX_DIGITS: usize = 64;
const LABELS: [(&str, &str); 2] = [("payload", "Body"), ("signature", "Headers")];

/// What was typed.
#[derive(Clone, Debug, Default)]
pub(super) struct Tested {
    pub(super) body: String,
    pub(super) headers: String,
}

/// What is to be said of one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) header: &'static str,
    pub(super) is_right: bool,
    pub(super) explanation: String,
}

/// Tests the signatures of a delivery.
///
/// # Errors
/// The API does not answer. A refusal is explained on the page.
pub(crate) async fn submit(session: Session, form: Form) -> Result<Response, PageError> {
    // Browsers send line breaks of a text area as two characters, whatever was pasted; words: keep
    let body = form.raw("body").replace("\r\n", "\n");
    let tested = Tested { body, headers: form.text("headers").to_owned() };
    let headers = Headers::read(&tested.headers);
    let result = match headers.plain.is_none() && headers.standard.is_none() {
        true => {
            let message = format!("must have a line of {PLAIN} or of {STANDARD}");
            return Ok(refused(&session, tested, Refusal::of_field("signature", message)));
        }
        false => findings(&session, &headers, &tested.body).await,
    };
    match result {
        Ok(findings) => Ok(show(&session, tested, findings, None)),
        Err(error) => {
            let refusal = Refusal::of(error)?;
            Ok(refused(&session, tested, refusal))
        }
    }
}

fn refused(session: &Session, tested: Tested, refusal: Refusal) -> Response {
    show(session, tested, vec![], Some(refusal.in_form("tester", &LABELS)))
}

async fn findings(session: &Session, headers: &Headers<'_>, body: &str) -> Result<Vec<Finding>, ApiError> {
    let tenant = session.claims.tenant_id;
    let mut findings = vec![];
    if let Some(signature) = headers.plain {
        let signed =
            |payload| SignedPayload { payload, signature, webhook_id: None, webhook_timestamp: None };
        let is_right = session.api.verify_signature(tenant, signed(body)).await?;
        let without_break = body.trim_end_matches('\n');
        let has_break = !is_right
            && without_break.len() < body.len()
            && session.api.verify_signature(tenant, signed(without_break)).await?;
        findings.push(Finding {
            header: PLAIN,
            is_right,
            explanation: plain(signature, is_right, has_break),
        });
    }
    if let Some(signature) = headers.standard {
        let (id, timestamp) = (headers.id, headers.timestamp);
        let signed = SignedPayload { payload: body, signature, webhook_id: id, webhook_timestamp: timestamp };
        let is_complete = id.is_some() && timestamp.is_some();
        let is_right = is_complete && session.api.verify_signature(tenant, signed).await?;
        let explanation = match (is_complete, is_right) {
            (false, _) => {
                "It also signs webhook-id and webhook-timestamp: paste both lines as well.".to_owned()
            }
            (true, true) => age(timestamp.unwrap_or_default(), clock::now()),
            (true, false) => OTHER.to_owned(),
        };
        findings.push(Finding { header: STANDARD, is_right, explanation });
    }
    Ok(findings)
}

const OTHER: &str = "It is not that of this body with the secret in force. Either the body was changed, for instance \
    parsed and written again by a framework: verify the bytes as they were received. Or it was signed with another secret.";

/// Returns what is to be said of `X-HookSentry-Signature`.
fn plain(signature: &str, is_right: bool, has_break: bool) -> String {
    let hex = signature.strip_prefix("sha256=");
    if is_right {
        "The body is as it was sent, and was signed with the secret in force.".to_owned()
    } else if has_break {
        "It is right for the body without the line break at its end: the delivery has none.".to_owned()
    } else if hex.is_none() {
        "It must begin with sha256=.".to_owned()
    } else if hex.is_some_and(|hex| hex.len() != HEX_DIGITS) {
        format!("After sha256= it must have {HEX_DIGITS} hexadecimal digits.")
    } else if hex.is_some_and(|hex| hex.bytes().any(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'f'))) {
        "Its hexadecimal digits must be 0 to 9 and a to f, in lower case.".to_owned()
    } else {
        OTHER.to_owned()
    }
}

/// Returns what is to be said of the age of a standard signature that is right.
fn age(timestamp: &str, now: DateTime<Utc>) -> String {
    let right = "Body, id and time are as they were sent, and were signed with the secret in force.";
    let at = timestamp.parse().ok().and_then(DateTime::from_timestamp_secs);
    match at.map(|at| now - at) {
        Some(age) if age.abs() > AGE_MAX => format!(
            "{right} It was signed {} ago: receivers refuse it now, because it is older than {}.",
            duration(age),
            duration(AGE_MAX)
        ),
        _ => right.to_owned(),
    }
}

/// Headers of a delivery, as they were pasted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Headers<'a> {
    plain: Option<&'a str>,
    standard: Option<&'a str>,
    id: Option<&'a str>,
    timestamp: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Reads lines of a name, a colon and a value. A value without a name is that of the plain signature.
    fn read(text: &'a str) -> Self {
        let mut headers = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').unwrap_or((PLAIN, line));
            let value = Some(value.trim());
            match name.trim().to_ascii_lowercase().as_str() {
                "x-hooksentry-signature" => headers.plain = value,
                "webhook-signature" => headers.standard = value,
                "webhook-id" => headers.id = value,
                "webhook-timestamp" => headers.timestamp = value,
                _ => {}
            }
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_in_any_case_and_order() {
        let text = "Content-Type: application/json\r\nWEBHOOK-ID: 7\n webhook-timestamp :1750000000\nwebhook-signature: v1,a v1,b\nX-HookSentry-Signature: sha256=00\n";
        let headers = Headers {
            plain: Some("sha256=00"),
            standard: Some("v1,a v1,b"),
            id: Some("7"),
            timestamp: Some("1750000000"),
        };
        assert_eq!(Headers::read(text), headers);
        assert_eq!(Headers::read("sha256=00").plain, Some("sha256=00"));
        assert_eq!(Headers::read("Host: a\n"), Headers::default());
    }

    #[test]
    fn a_wrong_signature_is_explained() {
        let digits = "a".repeat(64);
        for (signature, words) in [
            (digits.clone(), "begin with sha256="),
            ("sha256=00".to_owned(), "64 hexadecimal digits"),
            (format!("sha256={}", digits.to_uppercase()), "lower case"),
            (format!("sha256={digits}"), "the bytes as they were received"),
        ] {
            assert!(plain(&signature, false, false).contains(words), "{signature}");
        }
        assert!(plain("sha256=", false, true).contains("line break"));
    }

    #[test]
    fn an_old_signature_is_right_but_refused_by_receivers() {
        let now = DateTime::from_timestamp(1_750_000_600, 0).unwrap();
        assert!(age("1750000000", now).contains("10 min ago"));
        assert!(!age("1750000500", now).contains("ago"));
        assert!(!age("", now).contains("ago"));
    }
}
