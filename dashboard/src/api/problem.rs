//! Refusals of the API.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use axum::http::StatusCode;
use serde::Deserialize;

/// Reason why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("the API refused: {0}")]
    Problem(Problem),
    #[error("the answer of the API cannot be read: {0}")]
    Unreadable(Box<dyn Error + Send + Sync>),
}

/// Refusal of a request (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    /// Last part of the `type`, such as `invalid-input`.
    pub(crate) kind: String,
    pub(crate) title: String,
    pub(crate) detail: String,
    /// Errors of each field, as clauses that follow its name.
    pub(crate) errors: BTreeMap<String, Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "type")]
    uri: String,
    title: String,
    detail: String,
    errors: BTreeMap<String, Vec<String>>,
}

impl ApiError {
    pub(crate) fn unreadable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unreadable(cause.into())
    }

    /// Returns the problem if it is of this kind.
    pub(crate) fn is(&self, kind: &str) -> bool {
        matches!(self, Self::Problem(problem) if problem.kind == kind)
    }
}

impl Problem {
    pub(crate) fn read(status: StatusCode, body: &[u8]) -> Self {
        let Body { uri, title, detail, errors } = serde_json::from_slice(body).unwrap_or_default();
        let kind = uri.rsplit('/').next().unwrap_or_default().to_owned();
        Self { status, kind, title, detail, errors }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.kind, self.detail)
    }
}
