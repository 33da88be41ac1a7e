//! Settings of the HTTP server.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::HeaderValue;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::metrics::{MetricsAccess, MetricsToken};
use super::values::{Networks, address, boolean, bytes_between, networks, number_between, origin};

/// Address, limits and trusted peers of the HTTP server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "HTTP API")]
pub struct HttpSettings {
    /// IP address and port to listen on.
    ///
    /// Every process listens, those without the role api only for /health and /metrics, so each process on
    /// one machine needs a different port. Addresses other than `127.0.0.1` and `[::1]` can be reached from other
    /// machines and need a proxy that terminates TLS.
    #[arg(long, env = "HOOKSENTRY_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:5143", value_parser = address)]
    pub listen: SocketAddr,

    /// IP address and port to listen on for /health and /metrics only.
    ///
    /// If it is set, /metrics is not served on HOOKSENTRY_LISTEN, which still serves /health. Requests on this
    /// address are not limited, so it must not be reachable by strangers.
    #[arg(long, env = "HOOKSENTRY_ADMIN_LISTEN", value_name = "ADDRESS", value_parser = address)]
    pub admin_listen: Option<SocketAddr>,

    /// Bearer token that requests for /metrics must have.
    ///
    /// If it is not set, everyone who can reach the address reads the metrics, which show how much is accepted and
    /// delivered.
    #[arg(long, env = "HOOKSENTRY_METRICS_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub metrics_token: Option<MetricsToken>,

    /// Whether /docs serves a page to try the API.
    ///
    /// /openapi.json is served in any case.
    #[arg(
        long,
        env = "HOOKSENTRY_DOCS",
        value_name = "true|false",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_parser = boolean
    )]
    pub docs: bool,

    /// Whether the processes with the role api serve the dashboard.
    ///
    /// Its pages are at / and do what the API allows their user. Without it, those who use the API lose nothing.
    #[arg(
        long,
        env = "HOOKSENTRY_DASHBOARD",
        value_name = "true|false",
        default_value = "true",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set,
        value_parser = boolean
    )]
    pub dashboard: bool,

    /// Maximum number of concurrent connections to the HTTP port.
    ///
    /// Further ones wait until others are closed. Every connection is an open file, and the process raises its limit
    /// of open files accordingly. Lower: callers wait. Higher: connections use more memory, up to about 1 MiB each.
    #[arg(
        id = "http-connections",
        long = "connections",
        env = "HOOKSENTRY_CONNECTIONS",
        value_name = "NUMBER",
        default_value = "8192",
        value_parser = number_between::<usize>(16, 1_000_000)
    )]
    pub connections: usize,

    /// Maximum number of concurrent connections from one IPv4 address or IPv6 /64 network.
    ///
    /// Further ones are refused with status 429. Loopback addresses and the proxies in HOOKSENTRY_TRUSTED_PROXIES
    /// have no such limit. Lower: a proxy that is not listed there, or a busy source, is refused. Higher: fewer
    /// addresses can take all connections.
    #[arg(
        long,
        env = "HOOKSENTRY_CONNECTIONS_PER_PEER",
        value_name = "NUMBER",
        default_value = "256",
        value_parser = number_between::<usize>(1, 1_000_000)
    )]
    pub connections_per_peer: usize,

    /// Maximum size of the payload of a webhook event, in bytes.
    ///
    /// Lower: larger payloads are refused with status 413, and their senders may drop them. Higher:
    /// concurrent requests use more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_MAX_PAYLOAD_BYTES",
        value_name = "BYTES",
        default_value = "1MiB",
        value_parser = bytes_between(1 << 10, 64 << 20)
    )]
    pub max_payload_bytes: usize,

    /// Maximum size of all payloads that are received and not stored yet, in bytes.
    ///
    /// Beyond it, ingest answers 503. One tenant may use a quarter of it. It must be at least four times
    /// `HOOKSENTRY_MAX_PAYLOAD_BYTES`. Lower: a burst of large payloads is refused earlier. Higher: it uses more
    /// memory while the database is slow.
    #[arg(
        long,
        env = "HOOKSENTRY_INGEST_PAYLOAD_BYTES",
        value_name = "BYTES",
        default_value = "256MiB",
        value_parser = bytes_between(1 << 20, 1 << 40)
    )]
    pub ingest_payload_bytes: usize,

    /// Origin of the website whose scripts may use the management API.
    ///
    /// An origin such as `https://dashboard.example.com`. If it is not set, browsers allow only the pages of
    /// the API itself. Ingest is open to every origin.
    #[arg(long, env = "HOOKSENTRY_CORS_ORIGIN", value_name = "ORIGIN", value_parser = origin)]
    pub cors_origin: Option<HeaderValue>,

    /// Networks of the proxies whose X-Forwarded-For header is trusted.
    ///
    /// Networks such as 10.0.0.0/8,fd00::/8. If it is not set, the peer of the connection is the client:
    /// behind a proxy all clients share its limits of connections and requests. If it is too wide, a client can
    /// choose its address and evade the limits.
    #[arg(long, env = "HOOKSENTRY_TRUSTED_PROXIES", value_name = "NETWORKS", value_parser = networks)]
    pub trusted_proxies: Option<Networks>,
}

impl HttpSettings {
    /// Returns who may read the metrics at `listen`.
    #[must_use]
    pub fn metrics(&self) -> MetricsAccess {
        match self.admin_listen {
            Some(_) => MetricsAccess::Hidden,
            None => self.admin_metrics(),
        }
    }

    /// Returns who may read the metrics at `admin_listen`.
    #[must_use]
    pub fn admin_metrics(&self) -> MetricsAccess {
        self.metrics_token.clone().map_or(MetricsAccess::Open, MetricsAccess::WithToken)
    }

    /// Returns the peers that connect on behalf of others: trusted proxies, and proxies on the same machine.
    #[must_use]
    pub fn unlimited_peers(&self) -> Vec<IpNet> {
        let mut networks = self.trusted_proxies.clone().unwrap_or_default().0;
        networks.push(Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8).into());
        networks.push(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128).into());
        networks
    }
}
