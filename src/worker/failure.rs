//! Classification of failed requests into outcomes of attempts.
//!
//! The causes of an error are distinguished by type. Their texts come from libraries and may change; they are
//! shown to people only.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use aggregates::attempt_outcome::{AttemptReport, Outcome};

use super::address_guard::{GuardRefusal, OutboundContext};

/// A request without a response.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    pub(super) address: Option<String>,
    /// Why there is no connection, if the system says so.
    pub(super) connect_error: Option<io::ErrorKind>,
}

impl Failure {
    pub(super) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self { outcome, detail: detail.into(), address: None, connect_error: None }
    }

    pub(super) fn timeout(timeout: Duration) -> Self {
        Self::new(Outcome::Timeout, format!("no answer within {}", humantime::format_duration(timeout)))
    }

    /// Adds that this was the second request of the attempt.
    pub(super) fn of_second_request(self) -> Self {
        Self { detail: second_request(Some(self.detail)), ..self }
    }

    /// Adds the address to which the request was sent.
    pub(super) fn at(self, address: Option<String>) -> Self {
        Self { address, ..self }
    }

    /// Adds the addresses to which the request may have been sent, at `port`.
    pub(super) fn at_candidates(self, context: &OutboundContext, port: Option<u16>) -> Self {
        let no_address = self.connect_error == Some(io::ErrorKind::AddrNotAvailable);
        // For an IPv6 address the error can mean that the worker has none itself, which does not pass.
        if no_address && context.addresses().iter().all(IpAddr::is_ipv4) {
            return Self::new(Outcome::NotSent, "the worker has no port left for a connection");
        }
        self.at(context.describe(port))
    }

    /// Adds that the proxy may have failed. The address that the proxy connected to is unknown.
    pub(super) fn through_proxy(self) -> Self {
        use io::ErrorKind as Kind;
        match (self.outcome, self.connect_error) {
            // An error of TCP before the tunnel exists: the proxy itself cannot be reached.
            (
                Outcome::Connect,
                Some(
                    Kind::ConnectionRefused
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::TimedOut
                    | Kind::AddrNotAvailable,
                ),
            ) => Self::new(Outcome::NotSent, format!("the proxy cannot be reached: {}", self.detail)),
            (Outcome::Connect, _) => Self { detail: format!("through the proxy: {}", self.detail), ..self },
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
            (true, _, Some(io)) if is_own_shortage(io) => {
                Self::new(Outcome::NotSent, "the worker has no file or memory left for a connection")
            }
            (true, _, Some(io)) => {
                Self { connect_error: Some(io.kind()), ..Self::new(Outcome::Connect, io.kind().to_string()) }
            }
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
        GuardRefusal::Target(_) => Outcome::BlockedAddress,
        GuardRefusal::UnusableName { .. } => Outcome::Dns,
        GuardRefusal::OwnShortage(_) => Outcome::NotSent,
    };
    Failure::new(outcome, refusal.to_string())
}

/// Whether the machine of the worker had no file or no memory for a connection.
fn is_own_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| shortages.iter().any(|errno| errno.raw_os_error() == code))
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use aggregates::ids::TenantId;
    use reqwest::dns::{Name, Resolve, Resolving};
    use uuid::Uuid;

    use super::*;

    /// A resolver that fails with an error of the system.
    struct Failing(i32);

    impl Resolve for Failing {
        fn resolve(&self, _: Name) -> Resolving {
            let error = io::Error::from_raw_os_error(self.0);
            Box::pin(async move { Err(error.into()) })
        }
    }

    /// Returns the failure of a connection that ends with this error.
    async fn failure_of(errno: rustix::io::Errno) -> Failure {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().dns_resolver(Failing(errno.raw_os_error())).build().unwrap();
        client.get("http://a.example/").send().await.unwrap_err().into()
    }

    #[tokio::test]
    async fn a_shortage_of_files_or_memory_is_not_a_failure_of_the_destination() {
        use rustix::io::Errno;
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert_eq!(failure_of(errno).await.outcome, Outcome::NotSent, "{errno}");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::TIMEDOUT] {
            assert_eq!(failure_of(errno).await.outcome, Outcome::Connect, "{errno}");
        }
    }

    #[tokio::test]
    async fn a_shortage_of_ports_is_told_from_a_missing_address_family() {
        for (address, outcome) in [("192.0.2.1", Outcome::NotSent), ("2001:db8::1", Outcome::Connect)] {
            let context = OutboundContext::of(TenantId(Uuid::nil()));
            let address: IpAddr = address.parse().unwrap();
            context.record(&[address]);
            let failure = failure_of(rustix::io::Errno::ADDRNOTAVAIL).await;
            let failure = failure.at_candidates(&context, Some(443));
            assert_eq!(failure.outcome, outcome, "{address:?}");
            let target = Some(SocketAddr::new(address, 443).to_string());
            assert_eq!(failure.address, target.filter(|_| outcome == Outcome::Connect));
        }
    }
}
