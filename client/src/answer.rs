//! Answers of the API, and the errors of reading them.

use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use thiserror::Error;

/// Answer to one request, of any status.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// The body if it is JSON, else `null`.
    pub body: Value,
}

/// Error of a call of the API.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The connection failed, or the timeout elapsed before the answer was complete.
    #[error("the API does not answer")]
    NoAnswer(#[from] reqwest::Error),
    /// The answer is a problem (RFC 9457), or another answer that is not a success.
    #[error("the API answered {status}: {detail}")]
    Refused {
        status: StatusCode,
        /// `detail` of the problem, or its `title`.
        detail: String,
    },
    #[error("the API's answer does not have the expected form")]
    UnexpectedAnswer(#[from] serde_json::Error),
}

impl Answer {
    /// Reads the whole answer.
    ///
    /// # Errors
    ///
    /// As [`ApiClient::send`](crate::ApiClient::send).
    pub async fn read(response: Response) -> Result<Self, ApiError> {
        let (status, headers) = (response.status(), response.headers().clone());
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // A stream of events has no end, so its body is not read.
        let text = if media_type.contains("event-stream") { String::new() } else { response.text().await? };
        let body = if is_json(media_type) { serde_json::from_str(&text)? } else { Value::Null };
        Ok(Self { status, headers, text, body })
    }

    /// Returns the answer if its status is a success.
    ///
    /// # Errors
    ///
    /// [`ApiError::Refused`] for any other status.
    pub fn success(self) -> Result<Self, ApiError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let detail = self.body["detail"].as_str().or_else(|| self.body["title"].as_str());
        Err(ApiError::Refused { status: self.status, detail: detail.unwrap_or("no reason given").to_owned() })
    }
}

impl ApiError {
    /// Returns the status of an answer that was not a success.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::NoAnswer(_) | Self::UnexpectedAnswer(_) => None,
        }
    }

    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::NoAnswer(error) if error.is_timeout())
    }
}

/// Returns whether a body of this type is one JSON value. Lines of JSON are not.
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim_end();
    essence.ends_with("/json") || essence.ends_with("+json")
}
