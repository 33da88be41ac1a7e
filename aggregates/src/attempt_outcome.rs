//! Outcome of one attempt, as facts record it.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::stored_enum;

stored_enum! {
    /// How an attempt ended.
    pub enum Outcome {
        /// A 2xx response.
        Succeeded = 0 => "succeeded",
        /// A response of any other status.
        RefusedStatus = 1 => "refused_status",
        /// No response within the timeout.
        Timeout = 2 => "timeout",
        /// The connection could not be established.
        Connect = 3 => "connect",
        /// The TLS handshake failed, or the certificate is not trusted.
        Tls = 4 => "tls",
        /// The host name did not resolve to an address that requests may reach.
        Dns = 5 => "dns",
        /// The URL has a literal address, or a scheme, that requests must not use.
        BlockedAddress = 6 => "blocked_address",
        /// The token endpoint issued no access token.
        TokenEndpoint = 7 => "token_endpoint",
        /// The response was not valid HTTP, or exceeded a limit.
        Protocol = 8 => "protocol",
        /// No request was sent: the destination's credentials could not be decrypted.
        Credentials = 9 => "credentials",
        /// The worker disappeared; whether the request arrived is not known.
        Unknown = 10 => "unknown",
        /// No request was sent: the payload of the event does not exist any more.
        PayloadErased = 11 => "payload_erased",
        /// No request was sent, because of the worker: it was held up for too long after it claimed the attempt, or it
        /// lacked a file, a port, a name lookup or its proxy.
        NotSent = 12 => "not_sent",
    }
}

impl Outcome {
    /// Whether the destination accepted the webhook event.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Succeeded
    }

    /// Whether the attempt uses up one of the event's attempts (the tenant's `maxTrys`) and counts for the
    /// circuit breaker. A worker that disappeared, was held up or lacked something of its own, and an erased
    /// payload, say nothing about the destination.
    /// Several unknown outcomes in a row use up attempts all the same, which is a rule of the webhook event.
    #[must_use]
    pub fn counts_as_failure(self) -> bool {
        !matches!(self, Self::Succeeded | Self::Unknown | Self::PayloadErased | Self::NotSent)
    }

    /// Whether no further attempt may follow: the event is delivered, or never can be.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::PayloadErased)
    }
}

/// Value of the response header `Retry-After` (RFC 9110, section 10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RetryAfter {
    /// Seconds after the response.
    Seconds(u64),
    At(DateTime<Utc>),
}

impl RetryAfter {
    /// Parses the header: seconds, or any of the three forms of an HTTP date.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let header = header.trim();
        if !header.is_empty() && header.bytes().all(|byte| byte.is_ascii_digit()) {
            // A number that does not fit means "never", and so does the largest that does.
            return Some(Self::Seconds(header.parse().unwrap_or(u64::MAX)));
        }
        httpdate::parse_http_date(header).ok().map(|time| Self::At(time.into()))
    }

    /// Returns the requested time, for a response that arrived at `now`.
    #[must_use]
    pub fn time(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(time) => time,
            Self::Seconds(seconds) => i64::try_from(seconds)
                .ok()
                .and_then(TimeDelta::try_seconds)
                .and_then(|wait| now.checked_add_signed(wait))
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
        }
    }
}

/// Report of one attempt, of bounded size and without secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptReport {
    pub outcome: Outcome,
    /// HTTP status; `None` without a response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Duration of the whole attempt, in milliseconds.
    pub duration_ms: u64,
    /// `None` if the receiver did not ask for a certain time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<RetryAfter>,
    /// HMAC-SHA256 of what is kept of the response, with a salt as key, in lower-case hex. The text and the salt are in
    /// the table `attempt_responses`, and can be erased. `None` if nothing is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_hmac_sha256: Option<String>,
    /// IP address to which the request was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Reason in plain text of bounded length, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl AttemptReport {
    /// Returns the report of an attempt that got no response.
    #[must_use]
    pub fn without_answer(outcome: Outcome, duration_ms: u64, detail: Option<String>) -> Self {
        Self {
            outcome,
            status: None,
            duration_ms,
            retry_after: None,
            response_hmac_sha256: None,
            address: None,
            detail,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let at = RetryAfter::At("1994-11-06T08:49:37Z".parse().unwrap());
        for (header, expected) in [
            ("120", Some(RetryAfter::Seconds(120))),
            (" 0 ", Some(RetryAfter::Seconds(0))),
            ("99999999999999999999999", Some(RetryAfter::Seconds(u64::MAX))),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(at)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(at)),
            ("Sun Nov  6 08:49:37 1994", Some(at)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(RetryAfter::parse(header), expected, "{header:?}");
        }
    }
}
