//! Classification of failed requests into outcomes of attempts.
//!
//! The causes of an error are distinguished by type. Their texts come from libraries and may change; they are
//! shown to people only.

use std::error::Error;
use std::io;
use std::time::Duration;

use aggregates::attempt_outcome::{AttemptReport, Outcome};

use super::address_guard::GuardRefusal;

/// A request without a response.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    pub(super) address: Option<String>,
}

impl Failure {
    pub(super) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), address: None }
    }

    pub(super) fn timeout(timeout: Duration) -> Self {
        Self::new(Outcome::Timeout, format!("no answer within {}", humantime::format_duration(timeout)))
    }

    /// Adds that this was the second request of the attempt.
    pub(super) fn of_second_request(self) -> Self {
        Self { detail: second_request(Some(self.detail)), ..self }
    }

    /// Adds the addresses to which the request may have been sent.
    pub(super) fn at(self, address: Option<String>) -> Self {
        Self { address, ..self }
    }

    /// Adds that the proxy may have failed. The address that the proxy connected to is unknown.
    pub(super) fn through_proxy(self) -> Self {
        match self.outcome {
            Outcome::Connect => Self { detail: format!("through the proxy: {}", self.detail), ..self },
            _ => self,
        }
    }

    pub(super) fn into_report(self, duration_ms: u64) -> AttemptReport {
        AttemptReport {
            address: self.address,
            ..AttemptReport::without_answer(self.outcome, duration_ms, Some(self.detail))
        }
    }
}

/// Returns the detail of an attempt in which a second request was sent with a new access token, because the first
/// was answered with 401.
pub(super) fn second_request(detail: Option<String>) -> String {
    let mut second =
        "the second request, with a new access token: the first was answered with 401".to_owned();
    if let Some(detail) = detail {
        second.push_str("; ");
        second.push_str(&detail);
    }
    second
}

impl From<GuardRefusal> for Failure {
    fn from(refusal: GuardRefusal) -> Self {
        of_refusal(&refusal)
    }
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // The query of the URL may contain a secret.
        let error = error.without_url();
        let mut http: Option<&hyper::Error> = None;
        let mut io: Option<&io::Error> = None;
        for cause in causes(&error) {
            if let Some(refusal) = cause.downcast_ref::<GuardRefusal>() {
                return of_refusal(refusal);
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::new(Outcome::Tls, tls_detail(tls));
            }
            http = http.or_else(|| cause.downcast_ref());
            io = cause.downcast_ref().or(io);
        }
        let innermost = causes(&error).last().map(ToString::to_string).unwrap_or_default();
        match (error.is_connect(), http, io) {
            // TCP cannot end before it has begun: this end came during the TLS handshake.
            (true, _, Some(io)) if io.kind() == io::ErrorKind::UnexpectedEof => {
                Self::new(Outcome::Tls, "the connection was closed during the TLS handshake")
            }
            (true, _, Some(io)) => Self::new(Outcome::Connect, io.kind().to_string()),
            (true, ..) => Self::new(Outcome::Connect, innermost),
            (false, Some(http), _)
                if http.is_incomplete_message() || http.is_closed() || http.is_canceled() =>
            {
                Self::new(Outcome::Protocol, "the connection was closed before the answer was complete")
            }
            (false, _, Some(io)) => {
                Self::new(Outcome::Protocol, format!("the connection broke: {}", io.kind()))
            }
            (false, Some(_), None) => {
                Self::new(Outcome::Protocol, format!("the answer is not valid HTTP: {innermost}"))
            }
            (false, None, None) => Self::new(Outcome::Unknown, innermost),
        }
    }
}

fn of_refusal(refusal: &GuardRefusal) -> Failure {
    let outcome = match refusal {
        GuardRefusal::BlockedAddress { .. } | GuardRefusal::BlockedName { .. } | GuardRefusal::NotHttps => {
            Outcome::BlockedAddress
        }
        GuardRefusal::LookupFailed { .. } | GuardRefusal::NoAddress { .. } => Outcome::Dns,
    };
    let detail = match refusal.source() {
        Some(source) => format!("{refusal}: {source}"),
        None => refusal.to_string(),
    };
    Failure::new(outcome, detail)
}

fn tls_detail(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => "the server does not use TLS on this port".to_owned(),
        other => other.to_string(),
    }
}

/// Returns an error and all its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'a (dyn Error + 'static)| {
        match error.downcast_ref::<io::Error>() {
            // The source of an I/O error that wraps another error is the source of that error, which would be
            // skipped.
            Some(io) => io.get_ref().map(|inner| inner as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}
