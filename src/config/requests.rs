//! Limits of concurrent requests.

use std::time::Duration;

use super::values::{bytes_between, duration_between, number_between};

/// Limits of concurrent requests of this process. One client address or tenant may have as many as are free, so
/// alone it gets half of them.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Concurrent requests")]
pub struct RequestSettings {
    /// Maximum number of concurrent requests to ingest webhooks.
    ///
    /// Further ones are refused with status 503, and those of a tenant that has as many as are free with 429. Lower:
    /// sources are refused while the database is slow. Higher: requests that wait use more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_INGEST_REQUESTS",
        value_name = "NUMBER",
        default_value = "4096",
        value_parser = number_between::<usize>(1, 1_000_000)
    )]
    pub ingest_requests: usize,

    /// Time after which a webhook that waits for its commit has waited for too long.
    ///
    /// When those of a tenant have waited for longer for a second, without an exception, the service is offered more than
    /// it can accept, or more than it can deliver: accepting slows down then. Until the queue is shorter again, further
    /// webhooks of that tenant are refused with status 429 if it has its share of `HOOKSENTRY_INGEST_WAITING`. Lower:
    /// sources are refused while commits are slow. Higher: in overload webhooks are accepted later.
    #[arg(
        long,
        env = "HOOKSENTRY_INGEST_DELAY",
        value_name = "DURATION",
        default_value = "50ms",
        value_parser = duration_between(Duration::from_millis(1), Duration::from_secs(60))
    )]
    pub ingest_delay: Duration,

    /// Number of webhooks that may wait for their commits while they wait for too long.
    ///
    /// The tenants that have any share it by their weights, and each may have at least 64. Payloads from 64 KiB on are not
    /// counted. Lower: in overload webhooks are accepted sooner, and more are refused. Higher: in overload more webhooks
    /// wait, in memory.
    #[arg(
        long,
        env = "HOOKSENTRY_INGEST_WAITING",
        value_name = "NUMBER",
        default_value = "512",
        value_parser = number_between::<usize>(64, 1_000_000)
    )]
    pub ingest_waiting: usize,

    /// Time for which the refusal of a webhook because of overload is held back; 0s means not at all.
    ///
    /// A source that sends again at once would take the processors that deliver. As many refusals as
    /// `HOOKSENTRY_INGEST_REQUESTS` are held back at most. Lower: refusals cost more. Higher: sources wait longer for them,
    /// and have more requests in progress.
    #[arg(
        long,
        env = "HOOKSENTRY_INGEST_REFUSAL_DELAY",
        value_name = "DURATION",
        default_value = "1s",
        value_parser = duration_between(Duration::ZERO, Duration::from_secs(10))
    )]
    pub ingest_refusal_delay: Duration,

    /// Maximum number of concurrent requests of users.
    ///
    /// Further ones are refused with status 503, and those of a tenant that has as many as are free with 429. Lower:
    /// users are refused while the database is slow. Higher: requests that wait use more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_MANAGEMENT_REQUESTS",
        value_name = "NUMBER",
        default_value = "1024",
        value_parser = number_between::<usize>(1, 1_000_000)
    )]
    pub management_requests: usize,

    /// Maximum number of concurrent requests without credentials, such as logins and registrations.
    ///
    /// Further ones are refused with status 503, and those of a client address that has as many as are free with 429.
    /// Lower: users cannot log in while many do. Higher: strangers cost more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_ANONYMOUS_REQUESTS",
        value_name = "NUMBER",
        default_value = "256",
        value_parser = number_between::<usize>(1, 1_000_000)
    )]
    pub anonymous_requests: usize,

    /// Maximum number of concurrent requests for pages of the dashboard.
    ///
    /// The requests to the API that a page makes count for their own limits as well. Further ones are refused with
    /// status 503, and those of a client address that has as many as are free with 429. Lower: pages are refused while
    /// the database is slow. Higher: pages that wait use more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_DASHBOARD_REQUESTS",
        value_name = "NUMBER",
        default_value = "256",
        value_parser = number_between::<usize>(1, 1_000_000)
    )]
    pub dashboard_requests: usize,

    /// Maximum size of all bodies of requests and answers in memory, in bytes.
    ///
    /// Payloads that ingest receives have a limit of their own. Beyond it, requests are refused with status 503, and
    /// those of a tenant or client address that has as many bytes as are free with 429. It must be at least twelve
    /// times `HOOKSENTRY_MAX_PAYLOAD_BYTES`. Lower: pages of events with large payloads are refused. Higher: clients
    /// that read slowly cost more memory.
    #[arg(
        long,
        env = "HOOKSENTRY_BODY_BYTES",
        value_name = "BYTES",
        default_value = "256MiB",
        value_parser = bytes_between(16 << 20, 1 << 40)
    )]
    pub body_bytes: usize,
}
