//! The HTTP client for requests to destinations: pooled, guarded, bounded, and independent of environment
//! variables.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aggregates::ids::TenantId;
use aggregates::target_rules::TargetRules;
use reqwest::{Certificate, Proxy, redirect};
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::address_guard::{AddressGuard, OutboundContext, ProxyOnly};
use super::failure::Failure;
use super::name_lookup::{LookupLimits, NameLookup, NameResolver, SystemLookup};
use super::token_cache::TokenCache;
use crate::config::{OutboundProxy, Settings};

/// Idle timeout of pooled connections. Many servers close theirs after five seconds, and a request on a
/// connection that is being closed fails; so the client must close first.
const POOL_IDLE: Duration = Duration::from_secs(4);

/// Maximum number of idle connections to a host. The attempts that one commit claims are sent at once, so a
/// busy destination needs as many connections as it has concurrent requests. Lower: every burst opens and
/// closes connections.
const POOL_IDLE_MAX_PER_HOST: usize = 512;

/// Maximum number of header fields of a response. This is hyper's default, explicit because memory depends on
/// it; the size of an HTTP/1 head is bounded by hyper's read buffer of about 400 KiB.
const RESPONSE_HEADERS_MAX: usize = 100;

/// Maximum size of the header fields of an HTTP/2 response in bytes.
const RESPONSE_HEADER_BYTES_MAX: u32 = 32 * 1024;

/// Flow-control windows of an HTTP/2 stream and connection in bytes. At most 64 KiB of a response are read,
/// so more would only use memory.
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Interval and timeout of HTTP/2 pings. One connection serves all requests to a host, and all would fail on
/// a dead connection until TCP times out after many minutes.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(10);
const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Settings of requests to destinations.
#[derive(Clone, Debug)]
pub struct OutboundSettings {
    /// Timeout of an attempt, from its start to the end of the response's body. Lower: slow receivers get
    /// events several times. Higher: dead receivers occupy workers for longer.
    pub timeout: Duration,
    pub rules: TargetRules,
    /// Forward proxy, `HOOKSENTRY_OUTBOUND_PROXY`. `HTTP_PROXY` and similar variables are never read: the
    /// environment of a shell must not decide where a tenant's data is sent.
    pub proxy: Option<OutboundProxy>,
    /// Limits of name lookups.
    pub lookups: LookupLimits,
    /// Certificate authorities that are trusted in addition to those of the system, for receivers in the
    /// operator's network.
    pub extra_roots: Vec<Certificate>,
}

impl Default for OutboundSettings {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            rules: TargetRules::default(),
            proxy: None,
            lookups: LookupLimits::default(),
            extra_roots: Vec::new(),
        }
    }
}

impl From<&Settings> for OutboundSettings {
    fn from(settings: &Settings) -> Self {
        let delivery = &settings.delivery;
        Self {
            timeout: delivery.timeout,
            rules: settings.targets.rules(),
            proxy: delivery.outbound_proxy.clone(),
            lookups: LookupLimits::from(delivery),
            extra_roots: Vec::new(),
        }
    }
}

/// HTTP client for destinations. Clones share connections and tokens.
#[derive(Clone)]
pub struct OutboundClient {
    pub(super) http: reqwest::Client,
    pub(super) timeout: Duration,
    pub(super) tokens: Arc<TokenCache>,
    guard: AddressGuard,
    proxied: bool,
}

impl OutboundClient {
    /// Returns a client that uses the system's resolver.
    ///
    /// # Errors
    /// When no trusted certificate authorities are found.
    pub fn new(settings: &OutboundSettings) -> Result<Self, reqwest::Error> {
        Self::with_lookup(settings, Arc::new(SystemLookup::default()))
    }

    /// Returns a client with another resolver.
    ///
    /// # Errors
    /// When no trusted certificate authorities are found.
    pub fn with_lookup(
        settings: &OutboundSettings,
        lookup: Arc<dyn NameLookup>,
    ) -> Result<Self, reqwest::Error> {
        // Fails when it is installed already. It is the same one in the whole program.
        let _ = rustls::crypto::ring::default_provider().install_default();

        let resolver = NameResolver::new(lookup, settings.lookups);
        let guard = AddressGuard::new(resolver.clone(), settings.rules.clone());
        let builder = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .https_only(!settings.rules.plain_http)
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
            Some(proxy) => builder.proxy(Proxy::all(proxy.url().clone())?).dns_resolver(ProxyOnly {
                host: proxy.url().host_str().unwrap_or_default().to_owned(),
                resolver,
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

    /// Sends a request of a tenant and waits for the head of the response.
    ///
    /// # Errors
    /// When the address is refused, or there is no response before the deadline.
    pub(super) async fn send(
        &self,
        tenant_id: TenantId,
        request: reqwest::Request,
        deadline: Instant,
    ) -> Result<reqwest::Response, Failure> {
        let context = OutboundContext::of(tenant_id);
        let port = request.url().port_or_known_default();
        let sending = async {
            self.guard.check_target(request.url(), &context)?;
            if self.proxied
                && let Some(Host::Domain(name)) = request.url().host()
            {
                self.guard.resolve_checked(name, &context).await?;
            }
            Ok(self.http.execute(request).await?)
        };
        let failure: Failure = match timeout_at(deadline, context.scope(sending)).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::timeout(self.timeout),
        };
        Err(if self.proxied { failure.through_proxy() } else { failure.at_candidates(&context, port) })
    }

    /// Returns the address that sent a response; `None` behind a proxy.
    pub(super) fn remote_address(&self, response: &reqwest::Response) -> Option<String> {
        if self.proxied { None } else { response.remote_addr().map(|address| address.to_string()) }
    }
}

impl fmt::Debug for OutboundClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OutboundClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
