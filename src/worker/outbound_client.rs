//! The one HTTP client with which the platform reaches out: pooled, guarded, bounded, and deaf to the
//! environment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aggregates::destination_url::Insecure;
use reqwest::{Certificate, Proxy, redirect};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::address_guard::{AddressGuard, Candidates, NameLookup, ProxyOnly, SystemLookup};
use super::failure::Failure;
use super::token_cache::TokenCache;

/// How long a connection waits for its next request. Many servers close theirs after five seconds, and
/// a request that meets a connection while it is being closed fails; ours has to be the first to let
/// go.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// Waiting connections a host. What one commit announces is sent at once, so a busy destination needs as
/// many as it has requests at once; fewer, and connections are made and closed again for every burst.
const POOL_IDLE_MAX_PER_HOST: usize = 512;

/// Header fields of an answer. hyper's own bound, stated because memory depends on it; the bytes of an
/// HTTP/1 head are bounded by hyper's read buffer of about 400 KiB.
const RESPONSE_HEADERS_MAX: usize = 100;

/// Bytes of an HTTP/2 answer's header fields.
const RESPONSE_HEADER_BYTES_MAX: u32 = 32 * 1024;

/// What one HTTP/2 answer, and all answers of one connection, may send ahead of our reading. We read 64
/// KiB of an answer at most, so more would only fill memory.
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// An HTTP/2 connection serves all requests to its host, so a dead one would fail them all until TCP
/// notices, which takes many minutes. Pings notice sooner.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(10);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How the platform reaches out.
#[derive(Clone, Debug)]
pub struct OutboundSettings {
    /// The most one attempt may take, from its first step to the end of the answer's body. Too low and
    /// slow receivers get everything several times; too high and dead ones keep workers waiting.
    pub timeout: Duration,
    /// Whether http and private addresses are allowed.
    pub insecure: Insecure,
    /// The forward proxy, `HOOKSENTRY_OUTBOUND_PROXY`. `HTTP_PROXY` and its kin are never read: what a
    /// shell happens to have set must not decide where a tenant's data goes.
    pub proxy: Option<OutboundProxy>,
    /// Authorities that are trusted besides those of the system, for receivers in the operator's own
    /// network.
    pub extra_roots: Vec<Certificate>,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            insecure: Insecure::Forbidden,
            proxy: None,
            extra_roots: Vec::new(),
        }
    }
}

/// An HTTP forward proxy.
#[derive(Clone)]
pub struct OutboundProxy {
    url: Url,
}

/// Why a proxy setting is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a URL such as http://proxy.internal:3128")]
pub struct OutboundProxyProblem;

impl OutboundProxy {
    /// Reads `http://[user:password@]host[:port]`.
    pub fn parse(given: &str) -> Result<Self, OutboundProxyProblem> {
        let url = Url::parse(given).map_err(|_| OutboundProxyProblem)?;
        if url.scheme() == "http" && url.has_host() && url.path() == "/" && url.query().is_none() {
            Ok(Self { url })
        } else {
            Err(OutboundProxyProblem)
        }
    }
}

impl fmt::Debug for OutboundProxy {
    /// Without the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.host_str().unwrap_or_default();
        write!(
            formatter,
            "OutboundProxy(http://{host}:{})",
            self.url.port_or_known_default().unwrap_or_default()
        )
    }
}

/// Sends requests; cheap to clone, and all clones share connections and tokens.
#[derive(Clone)]
pub struct OutboundClient {
    pub(super) http: reqwest::Client,
    pub(super) timeout: Duration,
    pub(super) tokens: Arc<TokenCache>,
    guard: AddressGuard,
    proxied: bool,
}

impl OutboundClient {
    /// A client that resolves names as the system does. Fails when no trusted certificate authorities
    /// are found.
    pub fn new(settings: &OutboundSettings) -> Result<Self, reqwest::Error> {
        Self::with_lookup(settings, Arc::new(SystemLookup::default()))
    }

    /// A client with a source of addresses of the caller's own.
    pub fn with_lookup(
        settings: &OutboundSettings,
        lookup: Arc<dyn NameLookup>,
    ) -> Result<Self, reqwest::Error> {
        // Whoever comes first installs it; it is the same one everywhere in this program.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let guard = AddressGuard::new(Arc::clone(&lookup), settings.insecure);
        let builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .https_only(settings.insecure == Insecure::Forbidden)
            .tls_certs_merge(settings.extra_roots.iter().cloned())
            .tcp_nodelay(true)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_MAX_PER_HOST)
            .http1_max_headers(RESPONSE_HEADERS_MAX)
            .http2_max_header_list_size(RESPONSE_HEADER_BYTES_MAX)
            .http2_initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .http2_initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .http2_keep_alive_interval(HTTP2_PING_INTERVAL)
            .http2_keep_alive_timeout(HTTP2_PING_TIMEOUT);
        let builder = match &settings.proxy {
            None => builder.dns_resolver(guard.clone()),
            Some(proxy) => builder.proxy(Proxy::all(proxy.url.clone())?).dns_resolver(ProxyOnly {
                host: proxy.url.host_str().unwrap_or_default().to_owned(),
                lookup,
            }),
        };
        Ok(Self {
            http: builder.build()?,
            timeout: settings.timeout,
            tokens: Arc::new(TokenCache::default()),
            guard,
            proxied: settings.proxy.is_some(),
        })
    }

    /// Sends a request and waits for the headers of the answer.
    pub(super) async fn send(
        &self,
        request: reqwest::Request,
        deadline: Instant,
    ) -> Result<reqwest::Response, Failure> {
        let candidates = Candidates::default();
        let port = request.url().port_or_known_default();
        let sending = async {
            self.guard.judge_target(request.url())?;
            if self.proxied
                && let Some(Host::Domain(name)) = request.url().host()
            {
                self.guard.resolve_checked(name).await?;
            }
            Ok(self.http.execute(request).await?)
        };
        let failure: Failure = match timeout_at(deadline, candidates.watch(sending)).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::timeout(self.timeout),
        };
        Err(if self.proxied { failure.through_proxy() } else { failure.at(candidates.describe(port)) })
    }

    /// Where an answer came from; behind a proxy only the proxy knows.
    pub(super) fn remote_address(&self, response: &reqwest::Response) -> Option<String> {
        if self.proxied { None } else { response.remote_addr().map(|address| address.to_string()) }
    }
}

impl fmt::Debug for OutboundClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OutboundClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_an_http_url_and_keeps_its_password_to_itself() {
        let proxy = OutboundProxy::parse("http://me:s3cret@proxy.internal:3128").unwrap();
        assert_eq!(format!("{proxy:?}"), "OutboundProxy(http://proxy.internal:3128)");
        for refused in ["", "proxy:3128", "https://proxy", "socks5://proxy", "http://proxy/path", "http://"] {
            assert_eq!(OutboundProxy::parse(refused).unwrap_err(), OutboundProxyProblem, "{refused}");
        }
    }
}
