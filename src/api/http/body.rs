//! Reading JSON bodies, strictly and by hand.
//!
//! Clients of this API were written against another server and rely on how it read: names in any case,
//! unknown names ignored, a number also as a string, `null` as good as absent. A derived deserializer can
//! do neither that nor name every wrong field at once, so each field is fetched and judged on its own and
//! the verdicts are gathered. The body is read only when a handler asks for it, which is after it has
//! judged who asks for what: the order of the contract's checks.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use futures::StreamExt;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::api::http::problem::{FieldErrors, Kind, Problem};

/// Longest body of an ordinary request, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// How long a body may take to arrive.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(20);
/// How much of a body beyond its limit is read and thrown away, so that its sender gets to read the answer
/// instead of a broken connection.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// A body that nobody has read yet.
#[derive(Debug)]
pub(crate) struct UnreadBody {
    headers: HeaderMap,
    body: Body,
}

/// The fields of a JSON object, and what was found wrong with them so far.
#[derive(Debug)]
pub(crate) struct Fields {
    values: Vec<(String, Value)>,
    errors: FieldErrors,
}

impl<S: Send + Sync> FromRequest<S> for UnreadBody {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        Ok(Self { headers: parts.headers, body })
    }
}

impl UnreadBody {
    /// The fields of the JSON object that the body must be.
    pub(crate) async fn fields(self) -> Result<Fields, Problem> {
        self.fields_within(BODY_BYTES_MAX).await
    }

    /// As [`UnreadBody::fields`], for bodies that carry a payload.
    pub(crate) async fn fields_within(self, bytes_max: usize) -> Result<Fields, Problem> {
        Fields::read(&self.json(bytes_max).await?)
    }

    /// As [`UnreadBody::fields`], for bodies that may be left out: then there are no fields.
    pub(crate) async fn fields_if_any(self) -> Result<Fields, Problem> {
        let declared = self.headers.get(CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes()));
        let bytes = self.bytes(BODY_BYTES_MAX).await?;
        match (bytes.is_empty(), declared) {
            (true, _) => Ok(Fields { values: vec![], errors: FieldErrors::default() }),
            (false, false) => Err(not_json()),
            (false, true) => Fields::read(&bytes),
        }
    }

    /// The bytes of a body that is declared as JSON.
    pub(crate) async fn json(self, bytes_max: usize) -> Result<Bytes, Problem> {
        let declared = self.headers.get(CONTENT_TYPE).map(|value| is_json(value.as_bytes()));
        if declared == Some(false) {
            return Err(not_json());
        }
        let bytes = self.bytes(bytes_max).await?;
        if bytes.is_empty() {
            return Err(malformed("is required"));
        }
        if declared.is_none() {
            return Err(not_json());
        }
        Ok(bytes)
    }

    /// The bytes, whatever they are declared as.
    pub(crate) async fn bytes(self, bytes_max: usize) -> Result<Bytes, Problem> {
        match tokio::time::timeout(ARRIVAL_TIME_MAX, self.collect(bytes_max)).await {
            Ok(collected) => collected,
            Err(_) => Err(Problem::new(Kind::RequestTimeout, "The body did not arrive in time.")),
        }
    }

    async fn collect(self, bytes_max: usize) -> Result<Bytes, Problem> {
        let declared = self
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok())
            .and_then(|length| length.parse::<u64>().ok());
        let fits =
            declared.is_none_or(|length| usize::try_from(length).is_ok_and(|length| length <= bytes_max));
        if !fits && self.headers.contains_key(EXPECT) {
            // The sender waits for a word before it sends anything: the answer is that word.
            return Err(too_large(bytes_max));
        }
        let mut arriving = self.body.into_data_stream();
        let mut bytes = Vec::new();
        let mut discarded = 0;
        while let Some(chunk) = arriving.next().await {
            let chunk = chunk.map_err(|_| malformed("ended before it was complete"))?;
            if discarded == 0 && fits && bytes.len() + chunk.len() <= bytes_max {
                bytes.extend_from_slice(&chunk);
                continue;
            }
            discarded += chunk.len();
            if discarded > DISCARDED_BYTES_MAX {
                break;
            }
        }
        if discarded > 0 || !fits { Err(too_large(bytes_max)) } else { Ok(bytes.into()) }
    }
}

impl Fields {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => {
                Ok(Self { values: object.into_iter().collect(), errors: FieldErrors::default() })
            }
            Ok(_) => Err(malformed("must be a JSON object")),
            Err(error) => Err(malformed(&format!("is not valid JSON: {error}"))),
        }
    }

    /// The value of an optional field, judged by `rule`; `None` when it is absent, `null` or refused.
    pub(crate) fn optional<T>(
        &mut self,
        name: &'static str,
        rule: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(name)?;
        let judged = rule(value);
        judged.map_err(|message| self.refuse(name, message)).ok()
    }

    /// The value of a required field, judged by `rule`; `None` when there is something wrong with it.
    pub(crate) fn required<T>(
        &mut self,
        name: &'static str,
        rule: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        if self.value(name).is_none() {
            self.refuse(name, "is required".to_owned());
            return None;
        }
        self.optional(name, rule)
    }

    /// The value of a field as it was sent; `None` when it is absent or `null`.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        // Of names that differ in case alone the last one counts, as of equal names.
        let found = self.values.iter().rev().find(|(sent, _)| sent.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// The value of an optional field of which `null` says something: that there is to be none.
    pub(crate) fn nullable<T>(
        &mut self,
        name: &'static str,
        rule: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let sent = self.values.iter().rev().find(|(sent, _)| sent.eq_ignore_ascii_case(name));
        match sent.is_some_and(|(_, value)| value.is_null()) {
            true => Some(None),
            false => self.optional(name, rule).map(Some),
        }
    }

    /// Whether a field has a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.value(name).is_some()
    }

    /// Notes what is wrong with a field.
    pub(crate) fn refuse(&mut self, name: &'static str, message: String) {
        self.errors.add(name, message);
    }

    /// What `build` makes of the fields, if nothing is wrong with any of them. `build` may answer `None`
    /// only where a field was refused.
    pub(crate) fn complete<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Problem> {
        if !self.errors.is_empty() {
            return Err(Problem::invalid(self.errors));
        }
        build().ok_or_else(|| Problem::internal("a field is missing and nobody refused it"))
    }
}

/// The fields of a JSON object, each value as the text it was sent as.
pub(crate) fn raw_fields(body: &[u8]) -> Result<BTreeMap<String, Box<RawValue>>, Problem> {
    serde_json::from_slice(body).map_err(|error| malformed(&format!("is not a JSON object: {error}")))
}

/// Whether a media type is JSON: `application/json` or `application/*+json`, in UTF-8.
fn is_json(content_type: &[u8]) -> bool {
    let Ok(content_type) = std::str::from_utf8(content_type) else { return false };
    let mut parts = content_type.split(';').map(|part| part.trim().to_ascii_lowercase());
    let Some(media_type) = parts.next() else { return false };
    let json = media_type == "application/json"
        || media_type.strip_prefix("application/").is_some_and(|subtype| subtype.ends_with("+json"));
    json && parts.all(|parameter| match parameter.strip_prefix("charset=") {
        Some(charset) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
        None => true,
    })
}

fn not_json() -> Problem {
    Problem::new(Kind::UnsupportedMediaType, "The body must be sent as application/json, in UTF-8.")
}

fn malformed(what: &str) -> Problem {
    Problem::new(Kind::MalformedBody, format!("The body {what}.")).with_errors(FieldErrors::of("body", what))
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("The body must not be larger than {bytes_max} bytes."))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::http::validation;

    fn body(content_type: Option<&'static str>, text: impl Into<Body>) -> UnreadBody {
        let headers = content_type.map(|value| (CONTENT_TYPE, axum::http::HeaderValue::from_static(value)));
        UnreadBody { headers: headers.into_iter().collect(), body: text.into() }
    }

    async fn kind_of(body: UnreadBody) -> Option<Kind> {
        body.fields().await.err().map(|problem| problem.kind())
    }

    #[tokio::test]
    async fn a_body_must_be_there_and_be_a_json_object_and_be_declared_as_json() {
        let json = Some("application/json");
        assert_eq!(kind_of(body(json, "{}")).await, None);
        assert_eq!(kind_of(body(Some("Application/JSON; Charset=\"UTF-8\""), "{}")).await, None);
        assert_eq!(kind_of(body(Some("application/merge-patch+json"), "{}")).await, None);
        for broken in ["", "{", "{}x", "[]", "5", "null", "{\"a\":\"\u{1}\"}", "\u{feff}{}"] {
            assert_eq!(kind_of(body(json, broken)).await, Some(Kind::MalformedBody), "{broken:?}");
        }
        assert_eq!(kind_of(body(None, "")).await, Some(Kind::MalformedBody));
        for other in [None, Some("text/plain"), Some("application/json; charset=utf-16"), Some("json")] {
            assert_eq!(kind_of(body(other, "{}")).await, Some(Kind::UnsupportedMediaType), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_body_that_may_be_left_out_is_read_as_strictly_when_it_is_there() {
        let json = Some("application/json");
        for absent in [json, None, Some("text/plain")] {
            assert!(body(absent, "").fields_if_any().await.is_ok(), "{absent:?}");
        }
        assert!(body(json, "{\"a\":1}").fields_if_any().await.unwrap().has("a"));
        let kind = async |unread: UnreadBody| unread.fields_if_any().await.unwrap_err().kind();
        assert_eq!(kind(body(json, "[")).await, Kind::MalformedBody);
        assert_eq!(kind(body(json, "null")).await, Kind::MalformedBody);
        assert_eq!(kind(body(None, "{}")).await, Kind::UnsupportedMediaType);
    }

    #[tokio::test]
    async fn nesting_and_size_are_bounded() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(kind_of(body(Some("application/json"), deep)).await, Some(Kind::MalformedBody));
        let at_limit = format!("{{\"a\":\"{}\"}}", "x".repeat(BODY_BYTES_MAX - 8));
        assert_eq!(kind_of(body(Some("application/json"), at_limit.clone())).await, None);
        let above = at_limit.replacen('{', "{ ", 1);
        assert_eq!(kind_of(body(Some("application/json"), above)).await, Some(Kind::BodyTooLarge));
    }

    #[tokio::test]
    async fn names_are_read_in_any_case_and_the_last_one_counts() {
        let text = r#"{"NAME":"a","other":1,"name":"b","Limit":"5","gone":null}"#;
        let mut fields = body(Some("application/json"), text).fields().await.unwrap();
        assert_eq!(fields.optional("Name", validation::text).as_deref(), Some("b"));
        assert_eq!(fields.required("limit", |value| validation::integer(value, 1, 9)), Some(5));
        assert!(!fields.has("gone"));
        assert_eq!(fields.nullable("gone", validation::text), Some(None));
        assert_eq!(fields.nullable("absent", validation::text), None);
        assert_eq!(fields.nullable("name", validation::text), Some(Some("b".to_owned())));
        assert_eq!(fields.optional("gone", validation::text), None);
        assert!(fields.complete(|| Some(())).is_ok());
    }

    #[tokio::test]
    async fn every_wrong_field_is_named_at_once() {
        let text = json!({ "name": 5, "limit": -1 }).to_string();
        let mut fields = body(Some("application/json"), text).fields().await.unwrap();
        fields.required("name", validation::text);
        fields.optional("limit", |value| validation::integer(value, 1, 9));
        fields.required("email", validation::email);
        let problem = fields.complete(|| Some(())).unwrap_err();
        let response = axum::response::IntoResponse::into_response(problem);
        let body = axum::body::to_bytes(response.into_body(), 9_999).await.unwrap();
        let errors = serde_json::from_slice::<Value>(&body).unwrap()["errors"].clone();
        assert_eq!(
            errors,
            json!({
                "email": ["is required"],
                "limit": ["must be a whole number from 1 to 9"],
                "name": ["must be a string"],
            })
        );
    }
}
