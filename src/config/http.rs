//! The HTTP API.

use std::net::SocketAddr;

use axum::http::HeaderValue;

use super::values::{Networks, address, bytes_between, networks, origin};

/// What the API listens to and whom it believes.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "HTTP API")]
pub struct HttpSettings {
    /// The address and port to listen to.
    ///
    /// Every process listens, those without the role api only for /health and /metrics; on one machine
    /// each needs a port of its own. Anything but `127.0.0.1` or `[::1]` can be reached from other machines:
    /// put TLS in front of it.
    #[arg(long, env = "HOOKSENTRY_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:5143", value_parser = address)]
    pub listen: SocketAddr,

    /// Largest payload of a webhook event, in bytes.
    ///
    /// Larger ones are answered with 413. Too low and sources lose events for good; too high and a few
    /// requests at once fill the memory.
    #[arg(
        long,
        env = "HOOKSENTRY_MAX_PAYLOAD_BYTES",
        value_name = "BYTES",
        default_value = "1MiB",
        value_parser = bytes_between(1 << 10, 64 << 20)
    )]
    pub max_payload_bytes: usize,

    /// The website whose scripts may use the management API.
    ///
    /// An origin such as `https://dashboard.example.com`. Without it browsers let none but the API's own
    /// pages. Ingest is open to every origin.
    #[arg(long, env = "HOOKSENTRY_CORS_ORIGIN", value_name = "ORIGIN", value_parser = origin)]
    pub cors_origin: Option<HeaderValue>,

    /// Proxies whose X-Forwarded-For is believed.
    ///
    /// Networks such as 10.0.0.0/8,fd00::/8. Without them the peer of the connection is the client, so
    /// behind a proxy everybody shares one limit; too wide and a client can invent its address and escape
    /// the limits.
    #[arg(long, env = "HOOKSENTRY_TRUSTED_PROXIES", value_name = "NETWORKS", value_parser = networks)]
    pub trusted_proxies: Option<Networks>,
}
