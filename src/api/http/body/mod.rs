//! Reading the bodies of requests.
//!
//! A body is read only when a handler asks for it, after it has checked who asks for what: that is the order of
//! checks in the contract.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, EXPECT};
use futures::StreamExt;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use crate::api::http::admission::Admitted;
use crate::api::http::fields::{Field, RequestBody};
use crate::api::http::problem::{FieldErrors, Kind, Problem};

/// Longest body of an ordinary request, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest body of a request without credentials, and of one that only names things, in bytes.
pub(crate) const SMALL_BODY_BYTES_MAX: usize = 16 << 10;
/// Time within which the first part of a body must arrive and each further one, and rate at which the rest must arrive,
/// in bytes a second.
const ARRIVAL_TIME_MAX: Duration = Duration::from_secs(10);
const ARRIVAL_RATE_MIN: usize = 16 << 10;
/// How much of a body beyond its limit is read and discarded, so that the client reads the response instead of
/// finding a broken connection.
const DISCARDED_BYTES_MAX: usize = 16 << 20;

/// Body of a request that was not read yet.
#[derive(Debug)]
pub(crate) struct UnreadBody {
    headers: HeaderMap,
    admitted: Admitted,
    body: Body,
}

/// Fields of a JSON object, and the errors found in them so far.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    values: Vec<(String, Value)>,
    aliases: &'static [(&'static str, &'static str)],
    errors: FieldErrors,
}

impl<S: Send + Sync> FromRequest<S> for UnreadBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let admitted = Admitted::from_request_parts(&mut parts, state).await?;
        Ok(Self { headers: parts.headers, admitted, body })
    }
}

impl UnreadBody {
    /// Reads a body whose rules need no context.
    ///
    /// # Errors
    /// The body is not a JSON object within the limits, or fields of it are not valid.
    pub(crate) async fn read<B: RequestBody<()>>(self) -> Result<B, Problem> {
        self.read_with(&()).await
    }

    /// Reads a body whose rules depend on `context`.
    ///
    /// # Errors
    /// As [`UnreadBody::read`].
    pub(crate) async fn read_with<C, B: RequestBody<C>>(self, context: &C) -> Result<B, Problem> {
        B::parse(self.fields(BODY_BYTES_MAX).await?, context)
    }

    /// Reads a body of at most [`SMALL_BODY_BYTES_MAX`] bytes whose rules depend on `context`.
    ///
    /// # Errors
    /// As [`UnreadBody::read`].
    pub(crate) async fn read_small<C, B: RequestBody<C>>(self, context: &C) -> Result<B, Problem> {
        B::parse(self.fields(SMALL_BODY_BYTES_MAX).await?, context)
    }

    /// Reads the JSON object that the body must be, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// The body is not a JSON object within the limits.
    pub(crate) async fn fields(self, bytes_max: usize) -> Result<Fields, Problem> {
        Fields::read(&self.json(bytes_max).await?)
    }

    /// Reads a body that may be absent, and has no fields then.
    ///
    /// # Errors
    /// As [`UnreadBody::fields`].
    pub(crate) async fn fields_if_present(self) -> Result<Fields, Problem> {
        let declared = self.headers.get(CONTENT_TYPE).is_some_and(|value| is_json(value.as_bytes()));
        let bytes = self.bytes(SMALL_BODY_BYTES_MAX).await?;
        match (bytes.is_empty(), declared) {
            (true, _) => Ok(Fields::default()),
            (false, false) => Err(not_json()),
            (false, true) => Fields::read(&bytes),
        }
    }

    /// Reads the bytes of a body that is declared as JSON.
    ///
    /// # Errors
    /// The body is absent, too large, too slow or declared as something else.
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

    /// Reads the bytes, which may be declared as anything.
    ///
    /// # Errors
    /// The body is too large or too slow, or too many bytes of bodies are in memory.
    pub(crate) async fn bytes(self, bytes_max: usize) -> Result<Bytes, Problem> {
        let admitted = self.admitted.clone();
        self.admitted_bytes(bytes_max, |length| admitted.hold_bytes(length)).await
    }

    /// Reads the bytes, like [`UnreadBody::bytes`], as long as `admit` admits the length of each part.
    ///
    /// # Errors
    /// The body is too large or too slow, or `admit` refuses a part.
    pub(crate) async fn admitted_bytes(
        self,
        bytes_max: usize,
        mut admit: impl FnMut(usize) -> Result<(), Problem>,
    ) -> Result<Bytes, Problem> {
        let declared = self
            .headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok())
            .and_then(|length| length.parse::<u64>().ok());
        let fits =
            declared.is_none_or(|length| usize::try_from(length).is_ok_and(|length| length <= bytes_max));
        if !fits && self.headers.contains_key(EXPECT) {
            // The client waits for a response before it sends the body.
            return Err(too_large(bytes_max));
        }
        let mut arriving = self.body.into_data_stream();
        let began = Instant::now();
        let mut bytes = Vec::new();
        let mut discarded = 0;
        let mut refusal = None;
        loop {
            // What is discarded gains no time.
            let late =
                began + ARRIVAL_TIME_MAX + Duration::from_secs((bytes.len() / ARRIVAL_RATE_MIN) as u64);
            let deadline = late.min(Instant::now() + ARRIVAL_TIME_MAX);
            let arrived = match timeout_at(deadline, arriving.next()).await {
                Ok(arrived) => arrived,
                Err(_) if fits && discarded == 0 => return Err(too_slow()),
                // The body was refused already.
                Err(_) => break,
            };
            let Some(chunk) = arrived else { break };
            let chunk = chunk.map_err(|_| malformed("ended before it was complete"))?;
            if discarded == 0 && fits && bytes.len() + chunk.len() <= bytes_max {
                match admit(chunk.len()) {
                    Ok(()) => {
                        bytes.extend_from_slice(&chunk);
                        continue;
                    }
                    Err(problem) => {
                        bytes = Vec::new();
                        refusal = Some(problem);
                    }
                }
            }
            discarded += chunk.len();
            if discarded > DISCARDED_BYTES_MAX {
                break;
            }
        }
        match refusal {
            Some(problem) => Err(problem),
            None if discarded > 0 || !fits => Err(too_large(bytes_max)),
            None => Ok(bytes.into()),
        }
    }
}

impl Fields {
    fn read(body: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => Ok(Self { values: object.into_iter().collect(), ..Self::default() }),
            Ok(_) => Err(malformed("must be a JSON object")),
            Err(error) => Err(malformed(&format!("is not valid JSON: {error}"))),
        }
    }

    /// Accepts other names for fields, given as pairs of name and alias, where the first of the names is absent
    /// and its alias is not.
    pub(crate) fn with_aliases(mut self, aliases: &'static [(&'static str, &'static str)]) -> Self {
        if let [(name, alias), ..] = aliases
            && self.value(name).is_none()
            && self.value(alias).is_some()
        {
            self.aliases = aliases;
        }
        self
    }

    /// Reads an optional field. Returns `None` if it is absent or was refused.
    pub(crate) fn optional<F: Field<C>, C>(&mut self, name: &'static str, context: &C) -> Option<F::Value> {
        match self.sent(name)? {
            Value::Null => F::null(),
            value => match F::parse(value, context) {
                Ok(value) => Some(value),
                Err(message) => {
                    self.refuse(name, message);
                    None
                }
            },
        }
    }

    /// Reads a required field. Returns `None` if it was refused.
    pub(crate) fn required<F: Field<C>, C>(&mut self, name: &'static str, context: &C) -> Option<F::Value> {
        if self.value(name).is_none() {
            self.refuse(name, "is required".to_owned());
            return None;
        }
        self.optional::<F, C>(name, context)
    }

    /// Returns the value of a field as it was sent; `None` if it is absent or `null`.
    pub(crate) fn value(&self, name: &'static str) -> Option<&Value> {
        self.sent(name).filter(|value| !value.is_null())
    }

    /// Notes what is wrong with a field, as a clause that follows its name.
    pub(crate) fn refuse(&mut self, name: &'static str, message: String) {
        self.errors.add(self.alias(name), message);
    }

    /// Builds a body from the fields, if nothing is wrong with any of them. `build` may return `None` only
    /// where a field was refused.
    pub(crate) fn complete<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Problem> {
        if !self.errors.is_empty() {
            return Err(Problem::invalid(self.errors));
        }
        build().ok_or_else(|| Problem::internal("a field is missing and was not refused"))
    }

    /// Of names that differ only in case the last one counts, as of equal names.
    fn sent(&self, name: &'static str) -> Option<&Value> {
        let name = self.alias(name);
        self.values.iter().rev().find(|(sent, _)| sent.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn alias(&self, name: &'static str) -> &'static str {
        self.aliases.iter().find(|(of, _)| *of == name).map_or(name, |(_, alias)| alias)
    }
}

/// Returns the fields of a JSON object, each value as the text that was sent.
///
/// # Errors
/// The body is not a JSON object.
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

fn too_slow() -> Problem {
    let detail = format!(
        "A body must begin to arrive within {} seconds, and arrive at {ARRIVAL_RATE_MIN} bytes a second or more.",
        ARRIVAL_TIME_MAX.as_secs()
    );
    Problem::new(Kind::RequestTimeout, detail)
}

fn too_large(bytes_max: usize) -> Problem {
    Problem::new(Kind::BodyTooLarge, format!("The body must not be larger than {bytes_max} bytes."))
}
